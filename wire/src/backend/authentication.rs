//! The steps of a login as the server takes them.

use std::fmt;

use crate::read::Reader;
use crate::{DecodeError, Text};

pub(super) const OK: i32 = 0;
const CLEARTEXT_PASSWORD: i32 = 3;
const MD5_PASSWORD: i32 = 5;
pub(super) const SASL: i32 = 10;
pub(super) const SASL_CONTINUE: i32 = 11;
pub(super) const SASL_FINAL: i32 = 12;

/// What the server wants to see next, or that it is content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// The client is let in.
    Ok,
    /// The password, as it is.
    CleartextPassword,
    /// The password, hashed with this salt.
    Md5Password {
        /// The salt.
        salt: [u8; 4],
    },
    /// A SASL exchange by one of these mechanisms.
    Sasl(Mechanisms<'a>),
    /// The next step of a SASL exchange, in the mechanism's own words.
    SaslContinue(&'a [u8]),
    /// The last step of a SASL exchange, in the mechanism's own words.
    SaslFinal(&'a [u8]),
    /// A method that is not spoken here (Kerberos, GSSAPI, SSPI).
    Other {
        /// The method's number.
        method: i32,
        /// Its data.
        data: &'a [u8],
    },
}

impl<'a> Authentication<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Authentication", body);
        match reader.i32("method")? {
            OK => reader.end().map(|()| Self::Ok),
            CLEARTEXT_PASSWORD => reader.end().map(|()| Self::CleartextPassword),
            MD5_PASSWORD => {
                let salt = reader.array("salt")?;
                reader.end().map(|()| Self::Md5Password { salt })
            }
            SASL => Mechanisms::read(reader).map(Self::Sasl),
            SASL_CONTINUE => Ok(Self::SaslContinue(reader.rest())),
            SASL_FINAL => Ok(Self::SaslFinal(reader.rest())),
            method => Ok(Self::Other {
                method,
                data: reader.rest(),
            }),
        }
    }
}

/// The names of SASL mechanisms, the server's favourite first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Mechanisms<'a>(&'a [u8]);

impl<'a> Mechanisms<'a> {
    fn read(mut reader: Reader<'a>) -> Result<Self, DecodeError> {
        let names = reader.rest();
        while !reader.text("mechanism")?.is_empty() {}
        reader.end()?;
        Ok(Self(names))
    }

    /// The names.
    pub fn iter(self) -> impl Iterator<Item = Text<'a>> {
        let names = self.0.split(|byte| *byte == 0);
        names.take_while(|name| !name.is_empty()).map(Text::new)
    }

    /// Whether this one is offered.
    #[must_use]
    pub fn contains(self, name: &str) -> bool {
        self.iter().any(|offered| offered == name)
    }
}

impl fmt::Debug for Mechanisms<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.iter()).finish()
    }
}
