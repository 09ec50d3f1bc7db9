//! The first packet of a client, which has no tag: a wish for encryption, a cancel request, or the
//! startup parameters.

use std::fmt;

use bytes::Bytes;

use crate::limits::MAX_STARTUP_BYTES;
use crate::read::{Reader, cancel_secret};
use crate::{DecodeError, SqlState};

/// The protocol's major version.
pub const MAJOR: u16 = 3;

/// The protocol's minor version that every peer speaks.
pub const MINOR: u16 = 0;

/// The byte that answers a request for encryption with yes; the handshake follows.
pub const ENCRYPTION_ACCEPTED: u8 = b'S';

/// The byte that answers a request for encryption with no; the client goes on in clear or leaves.
pub const ENCRYPTION_REFUSED: u8 = b'N';

/// Names with this prefix ask for extensions of the protocol.
pub const EXTENSION_PREFIX: &str = "_pq_.";

pub(crate) const CANCEL_CODE: u32 = 80_877_102;
pub(crate) const SSL_CODE: u32 = 80_877_103;
pub(crate) const GSSENC_CODE: u32 = 80_877_104;

const LENGTH_BYTES: usize = 4;
const CODE_BYTES: usize = 4;

/// What a client opens a connection with.
#[derive(Clone, PartialEq, Eq)]
pub enum Startup {
    /// It would like TLS, and asks again afterwards.
    Ssl,
    /// It would like GSSAPI encryption, and asks again afterwards.
    GssEnc,
    /// It wants the running query of another connection cancelled, and expects no answer.
    Cancel {
        /// The process id that the other connection was told.
        process_id: i32,
        /// The secret that the other connection was told.
        secret: Bytes,
    },
    /// It wants a session.
    Parameters(Parameters),
}

impl Startup {
    /// Reads the packet at the front of `bytes` and says how long it is; `None` if it isn't all
    /// there yet.
    ///
    /// # Errors
    /// A length out of range, a protocol that is not version 3, or a malformed packet.
    pub fn decode(bytes: &[u8]) -> Result<Option<(Self, usize)>, StartupError> {
        let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(*length);
        let body_bytes = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_sub(LENGTH_BYTES))
            .filter(|body_bytes| (CODE_BYTES..=MAX_STARTUP_BYTES).contains(body_bytes));
        let Some(body_bytes) = body_bytes else {
            return Err(StartupError::BadLength { length });
        };
        let Some(body) = rest.get(..body_bytes) else {
            return Ok(None);
        };
        Ok(Some((Self::decode_body(body)?, LENGTH_BYTES + body_bytes)))
    }

    fn decode_body(body: &[u8]) -> Result<Self, StartupError> {
        let code = Reader::new("startup", body).u32("protocol version")?;
        match code {
            SSL_CODE => Self::bare("SSLRequest", body, Self::Ssl),
            GSSENC_CODE => Self::bare("GSSENCRequest", body, Self::GssEnc),
            CANCEL_CODE => Self::cancel(body),
            version => Ok(Self::Parameters(Parameters::decode(version, body)?)),
        }
    }

    fn bare(message: &'static str, body: &[u8], request: Self) -> Result<Self, StartupError> {
        let mut reader = Reader::new(message, body);
        reader.u32("request code")?;
        reader.end()?;
        Ok(request)
    }

    fn cancel(body: &[u8]) -> Result<Self, StartupError> {
        let mut reader = Reader::new("CancelRequest", body);
        reader.u32("request code")?;
        let process_id = reader.i32("process id")?;
        let secret = Bytes::copy_from_slice(cancel_secret(&reader)?);
        Ok(Self::Cancel { process_id, secret })
    }
}

/// Who knows the secret of a cancel request can cancel queries, so it isn't shown.
impl fmt::Debug for Startup {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssl => formatter.write_str("Ssl"),
            Self::GssEnc => formatter.write_str("GssEnc"),
            Self::Cancel {
                process_id,
                secret: _,
            } => {
                write!(formatter, "Cancel {{ process_id: {process_id}, .. }}")
            }
            Self::Parameters(parameters) => parameters.fmt(formatter),
        }
    }
}

/// What a client says about the session it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// The minor version of protocol 3 that it would like.
    pub minor: u16,
    /// Names and values in the order they came.
    pub params: Vec<(String, String)>,
}

impl Parameters {
    fn decode(version: u32, body: &[u8]) -> Result<Self, StartupError> {
        let [major_high, major_low, minor_high, minor_low] = version.to_be_bytes();
        let major = u16::from_be_bytes([major_high, major_low]);
        let minor = u16::from_be_bytes([minor_high, minor_low]);
        if major != MAJOR {
            return Err(StartupError::UnsupportedVersion { major, minor });
        }
        let mut reader = Reader::new("startup", body);
        reader.u32("protocol version")?;
        let mut params = Vec::new();
        loop {
            let name = reader.text("parameter name")?;
            if name.is_empty() {
                break;
            }
            let value = reader.text("parameter value")?;
            let utf8 = |_| StartupError::NotUtf8 {
                parameter: name.to_lossy().into_owned(),
            };
            let value = value.as_str().map_err(utf8)?.to_owned();
            params.push((name.as_str().map_err(utf8)?.to_owned(), value));
        }
        reader.end()?;
        Ok(Self { minor, params })
    }

    /// The value of a parameter; the last one counts where a name comes twice.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .params
            .iter()
            .rev()
            .find(|(candidate, _)| candidate == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The user, which every session needs.
    ///
    /// # Errors
    /// There is none, or it is empty.
    pub fn user(&self) -> Result<&str, StartupError> {
        self.get("user")
            .filter(|user| !user.is_empty())
            .ok_or(StartupError::NoUser)
    }

    /// The database, which is named like the user where none is given.
    ///
    /// # Errors
    /// As [`user`](Self::user).
    pub fn database(&self) -> Result<&str, StartupError> {
        match self.get("database") {
            Some(database) if !database.is_empty() => Ok(database),
            Some(_) | None => self.user(),
        }
    }

    /// The extensions asked for, none of which is known here.
    pub fn extensions(&self) -> impl Iterator<Item = &str> {
        let names = self.params.iter().map(|(name, _)| name.as_str());
        names.filter(|name| name.starts_with(EXTENSION_PREFIX))
    }

    /// Whether the answer must begin with `NegotiateProtocolVersion`.
    #[must_use]
    pub fn needs_negotiation(&self) -> bool {
        self.minor > MINOR || self.extensions().next().is_some()
    }
}

/// A first packet that can't be answered with a session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartupError {
    /// Another protocol, most often: the first bytes of HTTP or TLS read as a length.
    #[error("startup packet has the impossible length {length}")]
    BadLength {
        /// What the length field says.
        length: u32,
    },
    /// A protocol version before or after 3.
    #[error("unsupported frontend protocol {major}.{minor}: version 3 is supported")]
    UnsupportedVersion {
        /// The major version asked for.
        major: u16,
        /// The minor version asked for.
        minor: u16,
    },
    /// A name or value that can't be kept as a string.
    #[error("startup parameter {parameter:?} is not valid UTF-8")]
    NotUtf8 {
        /// The parameter's name as far as it can be read.
        parameter: String,
    },
    /// A session without a user.
    #[error("no user name is specified in the startup packet")]
    NoUser,
    /// The packet's fields don't fill it.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
}

impl StartupError {
    /// The code to answer with before closing.
    #[must_use]
    pub fn sqlstate(&self) -> SqlState {
        match self {
            Self::BadLength { .. } => SqlState::PROTOCOL_VIOLATION,
            Self::UnsupportedVersion { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            Self::NotUtf8 { .. } => SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            Self::NoUser => SqlState::INVALID_AUTHORIZATION,
            Self::Malformed(error) => error.sqlstate(),
        }
    }
}

#[cfg(test)]
mod tests;
