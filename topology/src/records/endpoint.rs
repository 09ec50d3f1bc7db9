//! A PostgreSQL server's address as stored: host, port and database, never a password. It may list
//! several servers, of which the one that takes writes is meant.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::percent::{escape, unescape};

/// Most servers that one address may list.
pub const MAX_SERVERS: usize = 16;

/// `postgres://host:port/database`, without user or password; or, as libpq writes it,
/// `postgres://host:port,host:port/database?target_session_attrs=read-write`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    host: String,
    port: u16,
    /// The servers after the first one.
    others: Vec<(String, u16)>,
    database: String,
}

/// Why a text is not an endpoint. Never holds the text itself, which may carry a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("endpoint is not valid: {rule}; use postgres://host:port/database")]
pub struct InvalidEndpoint {
    /// The rule that it breaks.
    pub rule: &'static str,
}

fn invalid(rule: &'static str) -> InvalidEndpoint {
    InvalidEndpoint { rule }
}

impl Endpoint {
    /// Reads a URL; a user or password in it is dropped, since credentials come from the
    /// environment. Parameters are refused: `sslmode` or a host passed over in silence would
    /// connect otherwise than was asked for. A list of servers has to say, by
    /// `target_session_attrs=read-write`, that the one is meant that takes writes.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] names what is missing or wrong.
    pub fn try_new(text: &str) -> Result<Self, InvalidEndpoint> {
        let Some((before, servers, after)) = list_of(text) else {
            return Self::single(text);
        };
        let (path, query) = after.split_once('?').unwrap_or((after, ""));
        if !matches!(
            query,
            "target_session_attrs=read-write" | "target_session_attrs=primary"
        ) {
            return Err(invalid(
                "a list of servers needs ?target_session_attrs=read-write and takes no other \
                 parameter",
            ));
        }
        let mut all = Vec::new();
        for server in servers.split(',') {
            if all.len() == MAX_SERVERS {
                return Err(invalid("it lists more than 16 servers"));
            }
            let one = Self::single(&format!("{before}{server}{path}"))?;
            if all.contains(&one) {
                return Err(invalid("it lists a server twice"));
            }
            all.push(one);
        }
        let mut all = all.into_iter();
        let first = all.next().ok_or_else(|| invalid("it names no host"))?;
        let others = all.map(|one| (one.host, one.port)).collect();
        Ok(Self { others, ..first })
    }

    fn single(text: &str) -> Result<Self, InvalidEndpoint> {
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
            others: Vec::new(),
            database,
        })
    }

    /// Host name or address; of a list, the first one's.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// TCP port; of a list, the first one's.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Database name, without escapes.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Whether it lists several servers.
    #[must_use]
    pub fn is_list(&self) -> bool {
        !self.others.is_empty()
    }

    /// Each of its servers by itself; one unless it is a list.
    #[must_use]
    pub fn servers(&self) -> Vec<Self> {
        let first = (self.host.clone(), self.port);
        let all = std::iter::once(first).chain(self.others.iter().cloned());
        let single = |(host, port)| Self {
            host,
            port,
            others: Vec::new(),
            database: self.database.clone(),
        };
        all.map(single).collect()
    }

    /// Whether the two have a server in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let others = other.servers();
        self.servers().iter().any(|one| others.contains(one))
    }
}

/// A text that lists several servers: what comes before them, with user and password, the servers,
/// and what comes after them.
fn list_of(text: &str) -> Option<(&str, &str, &str)> {
    let start = text.find("://")? + 3;
    let rest = text.get(start..)?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let authority = rest.get(..end)?;
    let user = authority.rfind('@').map_or(0, |at| at + 1);
    let servers = authority.get(user..)?;
    let is_list = servers.contains(',') || rest.contains("?target_session_attrs=");
    is_list.then_some((text.get(..start + user)?, servers, rest.get(end..)?))
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let server = |f: &mut fmt::Formatter<'_>, host: &str, port: u16| {
            if host.contains(':') {
                write!(f, "[{host}]:{port}")
            } else {
                write!(f, "{host}:{port}")
            }
        };
        f.write_str("postgres://")?;
        server(f, &self.host, self.port)?;
        for (host, port) in &self.others {
            f.write_str(",")?;
            server(f, host, *port)?;
        }
        write!(f, "/{}", escape(&self.database))?;
        if self.is_list() {
            f.write_str("?target_session_attrs=read-write")?;
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_servers_is_read_back_from_its_own_text() {
        let text = "postgres://a:1,[fd00::7]:2,c/my%20app?target_session_attrs=read-write";
        let list = Endpoint::try_new(&text.replace("://", "://me:se,cret@")).unwrap();
        let written = text.replace(",c/", ",c:5432/");
        assert_eq!(list.to_string(), written);
        assert_eq!(Endpoint::try_new(&written), Ok(list.clone()));
        let servers: Vec<String> = list.servers().iter().map(ToString::to_string).collect();
        let single = |server| format!("postgres://{server}/my%20app");
        assert_eq!(servers, ["a:1", "[fd00::7]:2", "c:5432"].map(single));
        assert!(list.overlaps(&Endpoint::try_new("postgres://a:1/my%20app").unwrap()));
        assert!(!list.overlaps(&Endpoint::try_new("postgres://a:1/app").unwrap()));
    }

    #[test]
    fn a_list_that_does_not_say_which_server_is_meant_is_refused() {
        for text in [
            "postgres://a:1,b:2/app",
            "postgres://a:1,b:2/app?target_session_attrs=any",
            "postgres://a:1,b:2/app?target_session_attrs=read-write&sslmode=disable",
            "postgres://a:1,a:1/app?target_session_attrs=read-write",
            "postgres://a:1,/app?target_session_attrs=read-write",
            "postgres://a:1,b:2?target_session_attrs=read-write",
            "postgres://a:1/app?sslmode=disable",
        ] {
            assert!(Endpoint::try_new(text).is_err(), "{text}");
        }
        let one = Endpoint::try_new("postgres://a:1/app?target_session_attrs=read-write").unwrap();
        assert_eq!(one.to_string(), "postgres://a:1/app");
    }
}
