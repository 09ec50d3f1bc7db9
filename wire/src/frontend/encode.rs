//! Writing what a client sends: for the router's own sessions with its backends.
//!
//! Each function appends one message. Where it returns an error, nothing was appended.

use bytes::{BufMut, BytesMut};

use crate::frontend::{TargetKind, tag};
use crate::limits::{MAX_CANCEL_SECRET_BYTES, MAX_STARTUP_BYTES};
use crate::startup::{CANCEL_CODE, GSSENC_CODE, MAJOR, MINOR, SSL_CODE};
use crate::write::{count, formats, frame, text, try_frame, try_untagged, value};
use crate::{EncodeError, Format};

/// The startup packet of protocol 3.0 with these names and values. An empty name would end it.
///
/// # Errors
/// A string holds a zero byte, or the packet is longer than a server takes.
pub fn startup(out: &mut BytesMut, params: &[(&str, &str)]) -> Result<(), EncodeError> {
    let max = MAX_STARTUP_BYTES;
    try_untagged(out, |out| {
        let start = out.len();
        out.put_u16(MAJOR);
        out.put_u16(MINOR);
        for (name, parameter) in params {
            text(out, name.as_bytes(), "parameter name")?;
            text(out, parameter.as_bytes(), "parameter value")?;
        }
        out.put_u8(0);
        let bytes = out.len() - start;
        if bytes > max {
            return Err(EncodeError::TooLong { bytes, max });
        }
        Ok(())
    })
}

/// The request for TLS.
pub fn ssl_request(out: &mut BytesMut) {
    out.put_i32(8);
    out.put_u32(SSL_CODE);
}

/// The request for GSSAPI encryption.
pub fn gssenc_request(out: &mut BytesMut) {
    out.put_i32(8);
    out.put_u32(GSSENC_CODE);
}

/// The request to cancel what another connection runs.
///
/// # Errors
/// The secret is longer than any server's.
pub fn cancel_request(
    out: &mut BytesMut,
    process_id: i32,
    secret: &[u8],
) -> Result<(), EncodeError> {
    let (bytes, max) = (secret.len(), MAX_CANCEL_SECRET_BYTES);
    if bytes > max {
        return Err(EncodeError::TooLong { bytes, max });
    }
    try_untagged(out, |out| {
        out.put_u32(CANCEL_CODE);
        out.put_i32(process_id);
        out.put_slice(secret);
        Ok(())
    })
}

/// Query.
///
/// # Errors
/// The text holds a zero byte or is too long.
pub fn query(out: &mut BytesMut, sql: &[u8]) -> Result<(), EncodeError> {
    try_frame(out, tag::QUERY, |out| text(out, sql, "query string"))
}

/// Parse. A type of 0 is left for the server to infer.
///
/// # Errors
/// A string holds a zero byte, or there are too many types.
pub fn parse(
    out: &mut BytesMut,
    name: &[u8],
    sql: &[u8],
    parameter_types: &[u32],
) -> Result<(), EncodeError> {
    try_frame(out, tag::PARSE, |out| {
        text(out, name, "statement name")?;
        text(out, sql, "query string")?;
        count(out, parameter_types.len(), "parameter types")?;
        for oid in parameter_types {
            out.put_u32(*oid);
        }
        Ok(())
    })
}

/// Bind. Formats are none (text), one for all, or one for each.
///
/// # Errors
/// A name holds a zero byte, or there is too much of something.
pub fn bind(
    out: &mut BytesMut,
    portal: &[u8],
    statement: &[u8],
    parameter_formats: &[Format],
    parameters: &[Option<&[u8]>],
    result_formats: &[Format],
) -> Result<(), EncodeError> {
    try_frame(out, tag::BIND, |out| {
        text(out, portal, "portal name")?;
        text(out, statement, "statement name")?;
        formats(out, parameter_formats, "parameter formats")?;
        count(out, parameters.len(), "parameters")?;
        for parameter in parameters {
            value(out, *parameter)?;
        }
        formats(out, result_formats, "result formats")
    })
}

/// Describe.
///
/// # Errors
/// The name holds a zero byte.
pub fn describe(out: &mut BytesMut, kind: TargetKind, name: &[u8]) -> Result<(), EncodeError> {
    target(out, tag::DESCRIBE, kind, name)
}

/// Close.
///
/// # Errors
/// The name holds a zero byte.
pub fn close(out: &mut BytesMut, kind: TargetKind, name: &[u8]) -> Result<(), EncodeError> {
    target(out, tag::CLOSE, kind, name)
}

fn target(out: &mut BytesMut, tag: u8, kind: TargetKind, name: &[u8]) -> Result<(), EncodeError> {
    try_frame(out, tag, |out| {
        out.put_u8(kind.byte());
        text(out, name, "name")
    })
}

/// Execute. No limit of rows at 0.
///
/// # Errors
/// The name holds a zero byte.
pub fn execute(out: &mut BytesMut, portal: &[u8], max_rows: i32) -> Result<(), EncodeError> {
    try_frame(out, tag::EXECUTE, |out| {
        text(out, portal, "portal name")?;
        out.put_i32(max_rows);
        Ok(())
    })
}

/// Sync.
pub fn sync(out: &mut BytesMut) {
    frame(out, tag::SYNC, |_| ());
}

/// Flush.
pub fn flush(out: &mut BytesMut) {
    frame(out, tag::FLUSH, |_| ());
}

/// Terminate.
pub fn terminate(out: &mut BytesMut) {
    frame(out, tag::TERMINATE, |_| ());
}

/// `CopyData`.
///
/// # Errors
/// The data is too long.
pub fn copy_data(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
    try_frame(out, tag::COPY_DATA, |out| {
        out.put_slice(data);
        Ok(())
    })
}

/// `CopyDone`.
pub fn copy_done(out: &mut BytesMut) {
    frame(out, tag::COPY_DONE, |_| ());
}

/// `CopyFail`.
///
/// # Errors
/// The reason holds a zero byte.
pub fn copy_fail(out: &mut BytesMut, reason: &str) -> Result<(), EncodeError> {
    try_frame(out, tag::COPY_FAIL, |out| {
        text(out, reason.as_bytes(), "reason")
    })
}

/// `PasswordMessage`, for a cleartext or an MD5 password.
///
/// # Errors
/// The password holds a zero byte.
pub fn password(out: &mut BytesMut, password: &[u8]) -> Result<(), EncodeError> {
    try_frame(out, tag::PASSWORD, |out| text(out, password, "password"))
}

/// `SASLInitialResponse`.
///
/// # Errors
/// The mechanism holds a zero byte, or the data is too long.
pub fn sasl_initial_response(
    out: &mut BytesMut,
    mechanism: &str,
    data: Option<&[u8]>,
) -> Result<(), EncodeError> {
    try_frame(out, tag::PASSWORD, |out| {
        text(out, mechanism.as_bytes(), "mechanism")?;
        value(out, data)
    })
}

/// `SASLResponse`.
///
/// # Errors
/// The data is too long.
pub fn sasl_response(out: &mut BytesMut, data: &[u8]) -> Result<(), EncodeError> {
    try_frame(out, tag::PASSWORD, |out| {
        out.put_slice(data);
        Ok(())
    })
}

#[cfg(test)]
mod tests;
