//! The tags of what servers send.

use crate::TagSet;

/// Authentication requests and `AuthenticationOk`.
pub const AUTHENTICATION: u8 = b'R';
/// `BackendKeyData`.
pub const BACKEND_KEY_DATA: u8 = b'K';
/// `BindComplete`.
pub const BIND_COMPLETE: u8 = b'2';
/// `CloseComplete`.
pub const CLOSE_COMPLETE: u8 = b'3';
/// `CommandComplete`.
pub const COMMAND_COMPLETE: u8 = b'C';
/// `CopyBothResponse`.
pub const COPY_BOTH_RESPONSE: u8 = b'W';
/// `CopyData`.
pub const COPY_DATA: u8 = b'd';
/// `CopyDone`.
pub const COPY_DONE: u8 = b'c';
/// `CopyInResponse`.
pub const COPY_IN_RESPONSE: u8 = b'G';
/// `CopyOutResponse`.
pub const COPY_OUT_RESPONSE: u8 = b'H';
/// `DataRow`.
pub const DATA_ROW: u8 = b'D';
/// `EmptyQueryResponse`.
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
/// `ErrorResponse`.
pub const ERROR_RESPONSE: u8 = b'E';
/// `FunctionCallResponse`.
pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
/// `NegotiateProtocolVersion`.
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
/// `NoData`.
pub const NO_DATA: u8 = b'n';
/// `NoticeResponse`.
pub const NOTICE_RESPONSE: u8 = b'N';
/// `NotificationResponse`.
pub const NOTIFICATION_RESPONSE: u8 = b'A';
/// `ParameterDescription`.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// `ParameterStatus`.
pub const PARAMETER_STATUS: u8 = b'S';
/// `ParseComplete`.
pub const PARSE_COMPLETE: u8 = b'1';
/// `PortalSuspended`.
pub const PORTAL_SUSPENDED: u8 = b's';
/// `ReadyForQuery`.
pub const READY_FOR_QUERY: u8 = b'Z';
/// `RowDescription`.
pub const ROW_DESCRIPTION: u8 = b'T';

/// Every tag that a server may send.
pub const ALL: TagSet = TagSet::of(&[
    AUTHENTICATION,
    BACKEND_KEY_DATA,
    BIND_COMPLETE,
    CLOSE_COMPLETE,
    COMMAND_COMPLETE,
    COPY_BOTH_RESPONSE,
    COPY_DATA,
    COPY_DONE,
    COPY_IN_RESPONSE,
    COPY_OUT_RESPONSE,
    DATA_ROW,
    EMPTY_QUERY_RESPONSE,
    ERROR_RESPONSE,
    FUNCTION_CALL_RESPONSE,
    NEGOTIATE_PROTOCOL_VERSION,
    NO_DATA,
    NOTICE_RESPONSE,
    NOTIFICATION_RESPONSE,
    PARAMETER_DESCRIPTION,
    PARAMETER_STATUS,
    PARSE_COMPLETE,
    PORTAL_SUSPENDED,
    READY_FOR_QUERY,
    ROW_DESCRIPTION,
]);
