//! What servers send: borrowed views of each message, and in [`encode`] the way back for what a
//! router answers itself.

mod authentication;
mod diagnostic;
pub mod encode;
mod report;
mod row;
mod session;
pub mod tag;

pub use authentication::{Authentication, Mechanisms};
pub use diagnostic::{Diagnostic, field};
pub use report::{Report, Severity};
pub use row::{Column, Columns, DataRow, RowDescription};
pub use session::{
    BackendKeyData, CommandComplete, CopyResponse, NegotiateProtocolVersion, NotificationResponse,
    ParameterStatus, TransactionStatus, function_result, parameter_description, ready_for_query,
};

use crate::read::empty;
use crate::{DecodeError, Oids, Reason};

/// Any message of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// A step of the login.
    Authentication(Authentication<'a>),
    /// What a cancel request has to name.
    BackendKeyData(BackendKeyData<'a>),
    /// Bind is done.
    BindComplete,
    /// Close is done.
    CloseComplete,
    /// A statement is done.
    CommandComplete(CommandComplete<'a>),
    /// Both sides may send copy data.
    CopyBoth(CopyResponse<'a>),
    /// Bytes of COPY.
    CopyData(&'a [u8]),
    /// The end of COPY.
    CopyDone,
    /// The server waits for copy data.
    CopyIn(CopyResponse<'a>),
    /// Copy data follows.
    CopyOut(CopyResponse<'a>),
    /// A row.
    DataRow(DataRow<'a>),
    /// The query text held no statement.
    EmptyQueryResponse,
    /// A statement or the session came to an end by an error.
    ErrorResponse(Diagnostic<'a>),
    /// The result of a function call; `None` is NULL.
    FunctionCallResponse(Option<&'a [u8]>),
    /// The server knows less than the client asked for.
    NegotiateProtocolVersion(NegotiateProtocolVersion<'a>),
    /// What was described gives no rows.
    NoData,
    /// Something to be shown to a person.
    NoticeResponse(Diagnostic<'a>),
    /// Another session called NOTIFY.
    NotificationResponse(NotificationResponse<'a>),
    /// The types of a statement's parameters.
    ParameterDescription(Oids<'a>),
    /// A setting's value.
    ParameterStatus(ParameterStatus<'a>),
    /// Parse is done.
    ParseComplete,
    /// Execute reached its limit of rows.
    PortalSuspended,
    /// The server waits for the next request.
    ReadyForQuery(TransactionStatus),
    /// The columns of the rows to come.
    RowDescription(RowDescription<'a>),
}

impl<'a> Message<'a> {
    /// Reads a body by its tag.
    ///
    /// # Errors
    /// An unknown tag or a malformed body.
    pub fn decode(tag: u8, body: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match tag {
            tag::AUTHENTICATION => Self::Authentication(Authentication::decode(body)?),
            tag::BACKEND_KEY_DATA => Self::BackendKeyData(BackendKeyData::decode(body)?),
            tag::COMMAND_COMPLETE => Self::CommandComplete(CommandComplete::decode(body)?),
            tag::COPY_BOTH_RESPONSE => {
                Self::CopyBoth(CopyResponse::decode("CopyBothResponse", body)?)
            }
            tag::COPY_DATA => Self::CopyData(body),
            tag::COPY_IN_RESPONSE => Self::CopyIn(CopyResponse::decode("CopyInResponse", body)?),
            tag::COPY_OUT_RESPONSE => Self::CopyOut(CopyResponse::decode("CopyOutResponse", body)?),
            tag::DATA_ROW => Self::DataRow(DataRow::decode(body)?),
            tag::ERROR_RESPONSE => Self::ErrorResponse(Diagnostic::decode("ErrorResponse", body)?),
            tag::FUNCTION_CALL_RESPONSE => Self::FunctionCallResponse(function_result(body)?),
            tag::NEGOTIATE_PROTOCOL_VERSION => {
                Self::NegotiateProtocolVersion(NegotiateProtocolVersion::decode(body)?)
            }
            tag::NOTICE_RESPONSE => {
                Self::NoticeResponse(Diagnostic::decode("NoticeResponse", body)?)
            }
            tag::NOTIFICATION_RESPONSE => {
                Self::NotificationResponse(NotificationResponse::decode(body)?)
            }
            tag::PARAMETER_DESCRIPTION => Self::ParameterDescription(parameter_description(body)?),
            tag::PARAMETER_STATUS => Self::ParameterStatus(ParameterStatus::decode(body)?),
            tag::READY_FOR_QUERY => Self::ReadyForQuery(ready_for_query(body)?),
            tag::ROW_DESCRIPTION => Self::RowDescription(RowDescription::decode(body)?),
            bare => return Self::decode_bare(bare, body),
        })
    }

    /// Reads the messages that are nothing but their tag.
    fn decode_bare(tag: u8, body: &[u8]) -> Result<Self, DecodeError> {
        let (name, message) = match tag {
            tag::BIND_COMPLETE => ("BindComplete", Self::BindComplete),
            tag::CLOSE_COMPLETE => ("CloseComplete", Self::CloseComplete),
            tag::COPY_DONE => ("CopyDone", Self::CopyDone),
            tag::EMPTY_QUERY_RESPONSE => ("EmptyQueryResponse", Self::EmptyQueryResponse),
            tag::NO_DATA => ("NoData", Self::NoData),
            tag::PARSE_COMPLETE => ("ParseComplete", Self::ParseComplete),
            tag::PORTAL_SUSPENDED => ("PortalSuspended", Self::PortalSuspended),
            tag => {
                let reason = Reason::UnknownTag { tag };
                return Err(DecodeError {
                    message: "backend",
                    reason,
                });
            }
        };
        empty(name, body)?;
        Ok(message)
    }
}

#[cfg(test)]
mod tests;
