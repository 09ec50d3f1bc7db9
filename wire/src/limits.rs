//! Every bound that the codec sets, by name.
//!
//! They are `PostgreSQL`'s own where it has one, so that nothing is refused that a server would
//! take. A caller may pass smaller ones where a function asks for a limit.

/// The largest length a startup packet may announce, without its length field.
pub const MAX_STARTUP_BYTES: usize = 10_000;

/// The largest body of any message: the server's largest allocation.
pub const MAX_MESSAGE_BYTES: usize = 0x3fff_ffff;

/// The largest body of client messages that carry names and numbers only (Execute, Sync and their
/// like). The server's limit counts the four bytes of the length field too; one byte more and it
/// would drop the connection.
pub const MAX_SMALL_MESSAGE_BYTES: usize = 10_000 - 4;

/// The largest body of a password or SASL message.
pub const MAX_AUTHENTICATION_BYTES: usize = 65_535;

/// The most parameters a statement may have: its count travels as sixteen bits.
pub const MAX_PARAMETERS: usize = 65_535;

/// The most columns a row may have on the wire; a server stops at 1,664.
pub const MAX_COLUMNS: usize = 65_535;

/// The largest secret of a cancel request; servers before protocol 3.2 use four bytes.
pub const MAX_CANCEL_SECRET_BYTES: usize = 256;

/// The smallest secret of a cancel request.
pub const MIN_CANCEL_SECRET_BYTES: usize = 4;

/// The most fields that one report of our own carries beside its severity, code and message; each
/// field that the protocol knows, once.
pub const MAX_REPORT_FIELDS: usize = 16;

/// The longest text that an encoder of our own answers writes; what is longer is cut.
pub const MAX_ANSWER_TEXT_BYTES: usize = 1 << 20;
