//! A PostgreSQL server's address as stored: host, port and database, never a password.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::percent::{escape, unescape};

/// `postgres://host:port/database`, without user or password.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: String,
    port: u16,
    database: String,
}

/// Why a text is not an endpoint. Never holds the text itself, which may carry a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint is not valid: {rule}; use postgres://host:port/database")]
pub struct InvalidEndpoint {
    /// The rule that it breaks.
    pub rule: &'static str,
}

impl Endpoint {
    /// Reads a URL; a user or password in it is dropped, since credentials come from the
    /// environment. Parameters are refused: `sslmode` or a host passed over in silence would
    /// connect otherwise than was asked for.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] names what is missing or wrong.
    pub fn try_new(text: &str) -> Result<Self, InvalidEndpoint> {
        let invalid = |rule| InvalidEndpoint { rule };
        let parsed = url::Url::parse(text).map_err(|_| invalid("it is not a URL"))?;
        if !matches!(parsed.scheme(), "postgres" | "postgresql") {
            return Err(invalid("its scheme is not postgres"));
        }
        let host = parsed.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| invalid("it names no host"))?;
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(invalid("it has parameters"));
        }
        let database = parsed.path().strip_prefix('/').unwrap_or_default();
        if database.is_empty() || database.contains('/') {
            return Err(invalid("it does not name one database"));
        }
        let database = unescape(database).filter(|name| !name.contains('\0'));
        let database = database.ok_or_else(|| invalid("its database's name cannot be read"))?;
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: parsed.port().unwrap_or(5432),
            database,
        })
    }

    /// Host name or address.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Database name, without escapes.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') {
            ("[", "]")
        } else {
            ("", "")
        };
        write!(
            f,
            "postgres://{open}{}{close}:{}/{}",
            self.host,
            self.port,
            escape(&self.database)
        )
    }
}

impl TryFrom<String> for Endpoint {
    type Error = InvalidEndpoint;
    fn try_from(text: String) -> Result<Self, InvalidEndpoint> {
        Self::try_new(&text)
    }
}

impl From<Endpoint> for String {
    fn from(endpoint: Endpoint) -> Self {
        endpoint.to_string()
    }
}
