//! The address by which the other processes of a system reach this one.

use std::collections::BTreeMap;

/// The host that is listened on, if it is one; else the host's name, which containers set in the
/// variable `HOSTNAME`; else loopback.
#[must_use]
pub fn host(listened: &str, env: &BTreeMap<String, String>) -> String {
    let is_any = matches!(listened, "" | "0.0.0.0" | "::" | "[::]");
    if !is_any {
        return listened.trim_matches(['[', ']']).to_owned();
    }
    let name = env.get("HOSTNAME").filter(|name| !name.is_empty());
    name.cloned().unwrap_or_else(|| "127.0.0.1".to_owned())
}

/// `host:port`, with brackets around an IPv6 address.
#[must_use]
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// The parts of `host:port`; none for anything else.
#[must_use]
pub fn split(address: &str) -> Option<(&str, u16)> {
    let is_authority = address.parse::<http::uri::Authority>().is_ok() && !address.contains('@');
    let (host, port) = address.rsplit_once(':').filter(|_| is_authority)?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    let host = host.trim_matches(['[', ']']);
    (!host.is_empty()).then_some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_joined_is_split_again() {
        for host in ["127.0.0.1", "::1", "router-0.internal"] {
            assert_eq!(split(&join(host, 6432)), Some((host, 6432)));
        }
    }

    #[test]
    fn what_is_no_address_is_not_split() {
        for text in [
            "",
            "host",
            "host:",
            ":6432",
            "host:0",
            "host:65536",
            "a@b:1",
            "[]:1",
        ] {
            assert_eq!(split(text), None, "{text}");
        }
    }
}
