//! A PostgreSQL server's address as stored: host, port and database, never a password.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// environment.
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
        let database = parsed.path().trim_start_matches('/');
        if database.is_empty() || database.contains('/') {
            return Err(invalid("it names no database"));
        }
        Ok(Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: parsed.port().unwrap_or(5432),
            database: database.to_owned(),
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

    /// Database name.
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
            self.host, self.port, self.database
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
