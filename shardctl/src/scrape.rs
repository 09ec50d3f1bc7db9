//! Asks routers and managers for `/metrics`: in clear or under TLS, as each of them speaks.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use platform::tls::client::{ClientConfig, Connector, Identity, Mode};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::args::Global;
use crate::error::Error;
use crate::metrics::Samples;

/// A program with 1,000 shards shows less.
const MAX_BYTES: usize = 32 << 20;

/// A program that runs answers in milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// Reads metrics; clones share what they know of TLS.
#[derive(Debug, Clone)]
pub struct Scraper {
    /// None where no authority is known.
    tls: Option<Arc<Connector>>,
}

/// How to speak to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Clear,
    Secured,
    /// In clear, and under TLS where that is not understood.
    Either,
}

/// Why there are no metrics.
enum Failed {
    /// Whoever is there speaks no HTTP.
    Foreign,
    Other(String),
}

impl Failed {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Other(error.to_string())
    }
}

impl Scraper {
    /// Trusts and shows what managers are trusted by and shown.
    ///
    /// # Errors
    /// A file that cannot be used.
    pub fn try_new(global: &Global) -> Result<Self, Error> {
        let Some(ca) = &global.ca else {
            return Ok(Self { tls: None });
        };
        let identity = global.cert.clone().zip(global.key.clone());
        let files = ClientConfig {
            mode: Mode::VerifyFull,
            root_cert_path: Some(ca.clone()),
            identity: identity.map(|(cert_path, key_path)| Identity {
                cert_path,
                key_path,
            }),
        };
        let bad = |path: &Path, reason: String| Error::BadCa {
            path: path.display().to_string(),
            reason,
        };
        let tls = Connector::for_http(&files).map_err(|error| bad(ca, error.to_string()))?;
        Ok(Self {
            tls: tls.map(Arc::new),
        })
    }

    /// The metrics of a program at `HOST:PORT`, with or without `http://` or `https://`.
    ///
    /// # Errors
    /// Why they cannot be read, in words.
    pub async fn read(&self, address: &str) -> Result<Samples, String> {
        let late = |_| format!("no answer within {}", humantime::format_duration(LIMIT));
        let asked = timeout(LIMIT, self.ask(address)).await.map_err(late)?;
        asked.map_err(|failed| match failed {
            Failed::Foreign if self.tls.is_none() => {
                "it does not speak HTTP; if it speaks TLS, name its authority with --ca".to_owned()
            }
            Failed::Foreign => "it does not speak HTTP".to_owned(),
            Failed::Other(text) => text,
        })
    }

    async fn ask(&self, address: &str) -> Result<Samples, Failed> {
        let (manner, place) = manner_of(address);
        let clear = match manner {
            Manner::Secured => Err(Failed::Foreign),
            Manner::Clear | Manner::Either => exchange(connect(place).await?, place).await,
        };
        match (clear, &self.tls) {
            (Err(Failed::Foreign), Some(tls)) if manner != Manner::Clear => {
                let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
                let stream = tls.connect(host, connect(place).await?).await;
                exchange(stream.map_err(Failed::of)?, place).await
            }
            (Err(Failed::Foreign), None) if manner == Manner::Secured => Err(Failed::Other(
                "https needs the authority of its certificate: --ca".to_owned(),
            )),
            (asked, _) => asked,
        }
    }
}

fn manner_of(address: &str) -> (Manner, &str) {
    if let Some(place) = address.strip_prefix("https://") {
        return (Manner::Secured, place.trim_end_matches('/'));
    }
    match address.strip_prefix("http://") {
        Some(place) => (Manner::Clear, place.trim_end_matches('/')),
        None => (Manner::Either, address),
    }
}

async fn connect(place: &str) -> Result<TcpStream, Failed> {
    TcpStream::connect(place).await.map_err(Failed::of)
}

async fn exchange<S>(stream: S, place: &str) -> Result<Samples, Failed>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| failure(&error))?;
    // Ends with this function, at the latest.
    let mut driving = JoinSet::new();
    driving.spawn(connection);
    let request = Request::get("/metrics").header(HOST, place);
    let request = request.body(Empty::<Bytes>::new()).map_err(Failed::of)?;
    let answer = sender.send_request(request).await;
    let answer = answer.map_err(|error| failure(&error))?;
    if answer.status() != StatusCode::OK {
        return Err(Failed::Other(format!("it answers {}", answer.status())));
    }
    let body = Limited::new(answer.into_body(), MAX_BYTES).collect().await;
    let bytes = body.map_err(Failed::of)?.to_bytes();
    Ok(Samples::parse(&String::from_utf8_lossy(&bytes)))
}

/// A TLS server that is asked in clear says so in TLS, or hangs up.
fn failure(error: &hyper::Error) -> Failed {
    if error.is_parse() || error.is_incomplete_message() || error.is_closed() {
        Failed::Foreign
    } else {
        Failed::of(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheme_says_how_to_speak_and_none_tries_both() {
        assert_eq!(manner_of("h:9090"), (Manner::Either, "h:9090"));
        assert_eq!(manner_of("http://h:9090"), (Manner::Clear, "h:9090"));
        assert_eq!(manner_of("https://h:9090/"), (Manner::Secured, "h:9090"));
    }
}
