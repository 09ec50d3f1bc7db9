//! What a container's health check asks: this machine's own process, without a client program in
//! the image.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

/// What connecting, asking and answering may take each.
const LIMIT: Duration = Duration::from_secs(3);

/// More than a status line needs.
const MAX_ANSWER_BYTES: u64 = 1024;

/// Why a process is not healthy.
#[derive(Debug, thiserror::Error)]
pub enum Unhealthy {
    /// Nobody answers.
    #[error("{address} does not answer")]
    Silent {
        /// Who was asked.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The answer is not 200.
    #[error("{address}{path} answers {status:?}")]
    Answered {
        /// Who was asked.
        address: String,
        /// What for.
        path: &'static str,
        /// The status line.
        status: String,
    },
}

/// Asks the process on this machine whose metrics are on `port` whether it serves. `host` is where
/// it listens; the port takes no tokens, and speaks TLS only where that was asked for: then no more
/// is looked at than that somebody accepts.
///
/// # Errors
/// When it does not.
pub fn ask((host, port): (&str, u16), is_tls: bool, path: &'static str) -> Result<(), Unhealthy> {
    let host = match host {
        "0.0.0.0" => "127.0.0.1",
        "::" | "[::]" => "::1",
        host => host,
    };
    let address = format!("{host}:{port}");
    let silent = |source| Unhealthy::Silent {
        address: address.clone(),
        source,
    };
    if is_tls {
        return connect(host, port).map(drop).map_err(silent);
    }
    let status = status(host, port, path).map_err(silent)?;
    if status.split_whitespace().nth(1) == Some("200") {
        return Ok(());
    }
    Err(Unhealthy::Answered {
        address,
        path,
        status,
    })
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = (host, port).to_socket_addrs()?;
    let address = addresses.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
    TcpStream::connect_timeout(&address, LIMIT)
}

fn status(host: &str, port: u16, path: &str) -> io::Result<String> {
    let mut socket = connect(host, port)?;
    socket.set_read_timeout(Some(LIMIT))?;
    socket.set_write_timeout(Some(LIMIT))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    socket.take(MAX_ANSWER_BYTES).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server of one answer.
    fn answering(answer: &'static str) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut socket, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let read = socket.read(&mut request).unwrap();
            assert!(request[..read].starts_with(b"GET /v1/health HTTP/1.1\r\n"));
            socket.write_all(answer.as_bytes()).unwrap();
        });
        port
    }

    #[test]
    fn only_200_is_healthy() {
        let port = answering("HTTP/1.1 200 OK\r\n\r\n");
        assert!(ask(("0.0.0.0", port), false, "/v1/health").is_ok());
        let port = answering("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let refused = ask(("127.0.0.1", port), false, "/v1/health").unwrap_err();
        assert!(refused.to_string().contains("503"), "{refused}");
    }

    #[test]
    fn nobody_is_not_healthy() {
        let free = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        assert!(matches!(
            ask(("127.0.0.1", port), false, "/v1/health"),
            Err(Unhealthy::Silent { .. })
        ));
    }
}
