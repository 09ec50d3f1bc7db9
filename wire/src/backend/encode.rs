//! Writing what a server sends: for what a router answers itself.
//!
//! Each function appends one message. Texts that come as `&str` to functions without an error are
//! cut at a zero byte and at [`MAX_ANSWER_TEXT_BYTES`](crate::limits::MAX_ANSWER_TEXT_BYTES).
//! Errors and notices are built with [`Report`](crate::backend::Report).

use bytes::{BufMut, BytesMut};

use crate::backend::authentication::{OK, SASL, SASL_CONTINUE, SASL_FINAL};
use crate::backend::{Column, TransactionStatus, tag};
use crate::startup::{MAJOR, MINOR};
use crate::write::{count, cut_text, frame, text, try_frame, value};
use crate::{EncodeError, Format};

/// `AuthenticationOk`.
pub fn authentication_ok(out: &mut BytesMut) {
    frame(out, tag::AUTHENTICATION, |out| out.put_i32(OK));
}

/// `AuthenticationSASL`, the preferred mechanism first.
///
/// # Errors
/// A name holds a zero byte.
pub fn authentication_sasl(out: &mut BytesMut, mechanisms: &[&str]) -> Result<(), EncodeError> {
    try_frame(out, tag::AUTHENTICATION, |out| {
        out.put_i32(SASL);
        for mechanism in mechanisms {
            text(out, mechanism.as_bytes(), "mechanism")?;
        }
        out.put_u8(0);
        Ok(())
    })
}

/// `AuthenticationSASLContinue`.
///
/// # Errors
/// The data is too long.
pub fn authentication_sasl_continue(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
    sasl_step(out, SASL_CONTINUE, data)
}

/// `AuthenticationSASLFinal`.
///
/// # Errors
/// The data is too long.
pub fn authentication_sasl_final(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
    sasl_step(out, SASL_FINAL, data)
}

fn sasl_step(out: &mut BytesMut, step: i32, data: &[u8]) -> Result<(), EncodeError> {
    try_frame(out, tag::AUTHENTICATION, |out| {
        out.put_i32(step);
        out.put_slice(data);
        Ok(())
    })
}

/// `NegotiateProtocolVersion`: protocol 3.0 and none of these options.
///
/// # Errors
/// An option holds a zero byte, or there are too many.
pub fn negotiate_protocol_version<'a>(
    out: &mut BytesMut,
    unknown_options: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), EncodeError> {
    try_frame(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        out.put_u16(MAJOR);
        out.put_u16(MINOR);
        let options = unknown_options.clone().count();
        let max = usize::from(u16::MAX);
        let too_many = EncodeError::TooMany {
            field: "options",
            count: options,
            max,
        };
        out.put_u32(u32::from(u16::try_from(options).map_err(|_| too_many)?));
        for option in unknown_options {
            text(out, option.as_bytes(), "option")?;
        }
        Ok(())
    })
}

/// `BackendKeyData`.
///
/// # Errors
/// The secret is too long.
pub fn backend_key_data(
    out: &mut BytesMut,
    process_id: i32,
    secret: &[u8],
) -> Result<(), EncodeError> {
    try_frame(out, tag::BACKEND_KEY_DATA, |out| {
        out.put_i32(process_id);
        out.put_slice(secret);
        Ok(())
    })
}

/// `ParameterStatus`.
pub fn parameter_status(out: &mut BytesMut, name: &str, value: &str) {
    frame(out, tag::PARAMETER_STATUS, |out| {
        cut_text(out, name);
        cut_text(out, value);
    });
}

/// `ReadyForQuery`.
pub fn ready_for_query(out: &mut BytesMut, status: TransactionStatus) {
    frame(out, tag::READY_FOR_QUERY, |out| out.put_u8(status.byte()));
}

/// `CommandComplete`.
pub fn command_complete(out: &mut BytesMut, command_tag: &str) {
    frame(out, tag::COMMAND_COMPLETE, |out| cut_text(out, command_tag));
}

/// `EmptyQueryResponse`.
pub fn empty_query_response(out: &mut BytesMut) {
    frame(out, tag::EMPTY_QUERY_RESPONSE, |_| ());
}

/// `ParseComplete`.
pub fn parse_complete(out: &mut BytesMut) {
    frame(out, tag::PARSE_COMPLETE, |_| ());
}

/// `BindComplete`.
pub fn bind_complete(out: &mut BytesMut) {
    frame(out, tag::BIND_COMPLETE, |_| ());
}

/// `CloseComplete`.
pub fn close_complete(out: &mut BytesMut) {
    frame(out, tag::CLOSE_COMPLETE, |_| ());
}

/// `NoData`.
pub fn no_data(out: &mut BytesMut) {
    frame(out, tag::NO_DATA, |_| ());
}

/// `PortalSuspended`.
pub fn portal_suspended(out: &mut BytesMut) {
    frame(out, tag::PORTAL_SUSPENDED, |_| ());
}

/// `ParameterDescription`.
///
/// # Errors
/// There are too many types.
pub fn parameter_description(out: &mut BytesMut, types: &[u32]) -> Result<(), EncodeError> {
    try_frame(out, tag::PARAMETER_DESCRIPTION, |out| {
        count(out, types.len(), "parameter types")?;
        for oid in types {
            out.put_u32(*oid);
        }
        Ok(())
    })
}

/// `RowDescription`.
///
/// # Errors
/// A name holds a zero byte, or there are too many columns.
pub fn row_description(out: &mut BytesMut, columns: &[Column<'_>]) -> Result<(), EncodeError> {
    try_frame(out, tag::ROW_DESCRIPTION, |out| {
        count(out, columns.len(), "columns")?;
        for column in columns {
            text(out, column.name.as_bytes(), "column name")?;
            out.put_u32(column.table_oid);
            out.put_i16(column.table_column);
            out.put_u32(column.type_oid);
            out.put_i16(column.type_bytes);
            out.put_i32(column.type_modifier);
            out.put_i16(column.format.code());
        }
        Ok(())
    })
}

/// `DataRow`, each value spelled in its column's format.
///
/// # Errors
/// There are too many values, or they are too long.
pub fn data_row(out: &mut BytesMut, values: &[Option<&[u8]>]) -> Result<(), EncodeError> {
    try_frame(out, tag::DATA_ROW, |out| {
        count(out, values.len(), "columns")?;
        for column in values {
            value(out, *column)?;
        }
        Ok(())
    })
}

/// `CopyInResponse`: the client may send copy data.
///
/// # Errors
/// There are too many columns.
pub fn copy_in_response(
    out: &mut BytesMut,
    format: Format,
    columns: &[Format],
) -> Result<(), EncodeError> {
    try_frame(out, tag::COPY_IN_RESPONSE, |out| {
        out.put_u8(u8::from(format == Format::Binary));
        crate::write::formats(out, columns, "columns")
    })
}

#[cfg(test)]
mod tests;
