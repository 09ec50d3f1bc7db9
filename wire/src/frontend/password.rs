//! The answers to authentication requests, which share one tag: what was asked says how to read
//! them.

use std::fmt;

use crate::read::Reader;
use crate::{DecodeError, Text};

/// An answer to an authentication request, not yet read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Password<'a>(&'a [u8]);

impl<'a> Password<'a> {
    /// Takes the body as it is.
    #[must_use]
    pub fn new(body: &'a [u8]) -> Self {
        Self(body)
    }

    /// Read as the answer to a request for a cleartext or MD5 password. The [`Text`] is shown by
    /// `{:?}`, so it must not get near a log.
    ///
    /// # Errors
    /// It is malformed.
    pub fn password(self) -> Result<Text<'a>, DecodeError> {
        let mut reader = Reader::new("PasswordMessage", self.0);
        let password = reader.text("password")?;
        reader.end()?;
        Ok(password)
    }

    /// Read as the first answer in a SASL exchange.
    ///
    /// # Errors
    /// It is malformed.
    pub fn sasl_initial_response(self) -> Result<SaslInitialResponse<'a>, DecodeError> {
        let mut reader = Reader::new("SASLInitialResponse", self.0);
        let mechanism = reader.text("mechanism")?;
        let data = reader.value("initial response")?;
        reader.end()?;
        Ok(SaslInitialResponse { mechanism, data })
    }

    /// Read as a later answer in a SASL exchange, which is the mechanism's own data.
    #[must_use]
    pub fn sasl_response(self) -> &'a [u8] {
        self.0
    }
}

/// A password must not get into a log by way of `{:?}`.
impl fmt::Debug for Password<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Password({} bytes)", self.0.len())
    }
}

/// The choice of a SASL mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaslInitialResponse<'a> {
    /// The mechanism's name.
    pub mechanism: Text<'a>,
    /// The mechanism's first data, if the client sends it along.
    pub data: Option<&'a [u8]>,
}
