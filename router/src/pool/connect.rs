//! Logs in to a shard over the raw wire and gives a backend.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use platform::Secret;
use postgres_protocol::authentication::{md5_hash, sasl};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use topology::{Endpoint, Epoch};
use wire::Header;
use wire::backend::{Authentication, Message};
use wire::frontend::encode;

use super::backend::{Backend, CancelTarget, Held};
use super::dial::Dialer;
use super::heir::{self, Heirs};
use super::presence::Presence;
use super::settings::Settings;
use crate::stream::Stream;

/// Longest message that a shard sends before it is ready.
const MAX_LOGIN_MESSAGE_BYTES: usize = 64 << 10;

/// User and password for the shards.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user; every session runs as it.
    pub user: String,
    /// Its password; none where the shards ask for none.
    pub password: Option<Secret>,
}

/// Why a shard gave no backend. Holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// No attempt has been made.
    #[error("no attempt was made")]
    Never,
    /// The network said no.
    #[error("{0}")]
    Io(String),
    /// The TLS handshake came to nothing.
    #[error("TLS handshake: {0}")]
    Tls(String),
    /// The time-out passed.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The shard refused the login.
    #[error("{message} (SQLSTATE {sqlstate})")]
    Refused {
        /// Its SQLSTATE.
        sqlstate: String,
        /// Its message.
        message: String,
    },
    /// The shard asks for something that the router does not do.
    #[error("{0}")]
    Unsupported(&'static str),
    /// The shard reads strings otherwise than the router.
    #[error(
        "the shard has standard_conforming_strings off for the router's login: reset it in \
         postgresql.conf, for the database and for the role"
    )]
    EscapeStrings,
    /// The server does not take the shard's writes.
    #[error("not the primary: {0}")]
    NotPrimary(String),
    /// A manager keeps this router away from the shard.
    #[error("a manager has shut this router out of the shard")]
    ShutOut,
    /// This router knows an older topology than the shard asks for.
    #[error("this router has applied epoch {known} of the topology, the shard asks for {horizon}")]
    Outdated {
        /// What this router knows.
        known: Epoch,
        /// What the shard asks for.
        horizon: Epoch,
    },
    /// The shard broke the protocol.
    #[error("protocol violation during login: {0}")]
    Protocol(String),
}

impl From<wire::EncodeError> for ConnectError {
    fn from(error: wire::EncodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<std::io::Error> for ConnectError {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// How backends of one server are made.
#[derive(Debug, Clone)]
pub(super) struct Login {
    /// The servers, and which of them is wanted.
    pub(super) heirs: Arc<Heirs>,
    pub(super) credentials: Credentials,
    pub(super) dialer: Dialer,
    pub(super) timeout: Duration,
    pub(super) max_prepared_statements: u32,
    /// Whether transactions only read unless they say otherwise.
    pub(super) read_only: bool,
    /// Who asks.
    pub(super) presence: Presence,
}

impl Login {
    pub(super) async fn run(&self) -> Result<Backend, ConnectError> {
        let mut last = ConnectError::Never;
        for (place, server) in self.heirs.in_turn() {
            let login = tokio::time::timeout(self.timeout, self.log_in(server)).await;
            match login.unwrap_or(Err(ConnectError::Timeout(self.timeout))) {
                Ok(backend) => {
                    self.heirs.found(place);
                    return Ok(backend);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Where it logs in, for the log.
    pub(super) fn address(&self) -> String {
        let servers = self.heirs.in_turn();
        let servers: Vec<String> = servers.map(|(_, server)| server.to_string()).collect();
        servers.join(", ")
    }

    async fn log_in(&self, server: &Endpoint) -> Result<Backend, ConnectError> {
        let (host, port) = (server.host(), server.port());
        let mut wire = Conversation {
            stream: self.dialer.dial(host, port).await?,
            inbound: BytesMut::new(),
            outbound: BytesMut::new(),
        };
        let mut parameters = vec![
            ("user", self.credentials.user.as_str()),
            ("database", server.database()),
            ("client_encoding", "UTF8"),
        ];
        if self.read_only {
            parameters.push(("default_transaction_read_only", "on"));
        }
        encode::startup(&mut wire.outbound, &parameters)?;
        wire.send().await?;
        self.authenticate(&mut wire).await?;
        self.await_ready(wire, server).await
    }

    /// Tells the shard whose backend it is.
    async fn present(
        &self,
        wire: &mut Conversation,
        server: &Endpoint,
    ) -> Result<(), ConnectError> {
        let mut question = self.presence.question();
        if self.heirs.asks() {
            question.push_str(heir::QUESTION);
        }
        encode::query(&mut wire.outbound, question.as_bytes())?;
        wire.send().await?;
        let mut answer = Vec::new();
        loop {
            let (tag, body) = wire.receive().await?;
            match decode(tag, &body)? {
                Message::DataRow(row) => {
                    let value = row.values.iter().next().flatten();
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    answer.push(value.map(text));
                }
                Message::ReadyForQuery(_) => {
                    let own = answer.len().min(2);
                    let (own, heirs) = answer.split_at(own);
                    self.heirs.admit(server, heirs)?;
                    return self.presence.admit(own);
                }
                _ => {}
            }
        }
    }

    async fn authenticate(&self, wire: &mut Conversation) -> Result<(), ConnectError> {
        loop {
            let (tag, body) = wire.receive().await?;
            match decode(tag, &body)? {
                Message::Authentication(Authentication::Ok) => return Ok(()),
                Message::Authentication(Authentication::Md5Password { salt }) => {
                    let password = self.password()?.expose().as_bytes();
                    let hash = md5_hash(self.credentials.user.as_bytes(), password, salt);
                    encode::password(&mut wire.outbound, hash.as_bytes())?;
                    wire.send().await?;
                }
                Message::Authentication(Authentication::Sasl(mechanisms)) => {
                    if !mechanisms.contains("SCRAM-SHA-256") {
                        return Err(ConnectError::Unsupported(
                            "the shard offers no SCRAM-SHA-256",
                        ));
                    }
                    self.scram(wire).await?;
                }
                Message::Authentication(_) => {
                    return Err(ConnectError::Unsupported(
                        "the shard asks for an authentication that is neither trust, md5 nor \
                         scram-sha-256",
                    ));
                }
                _ => {
                    return Err(ConnectError::Protocol(format!(
                        "unexpected {:?}",
                        tag as char
                    )));
                }
            }
        }
    }

    async fn scram(&self, wire: &mut Conversation) -> Result<(), ConnectError> {
        let password = self.password()?.expose().as_bytes();
        let mut client = sasl::ScramSha256::new(password, sasl::ChannelBinding::unsupported());
        let first = Some(client.message());
        encode::sasl_initial_response(&mut wire.outbound, "SCRAM-SHA-256", first)?;
        wire.send().await?;
        let (tag, body) = wire.receive().await?;
        let Message::Authentication(Authentication::SaslContinue(data)) = decode(tag, &body)?
        else {
            return Err(ConnectError::Protocol("no SASL challenge".to_owned()));
        };
        client.update(data)?;
        encode::sasl_response(&mut wire.outbound, client.message())?;
        wire.send().await?;
        let (tag, body) = wire.receive().await?;
        let Message::Authentication(Authentication::SaslFinal(data)) = decode(tag, &body)? else {
            return Err(ConnectError::Protocol("no SASL outcome".to_owned()));
        };
        client.finish(data)?;
        Ok(())
    }

    fn password(&self) -> Result<&Secret, ConnectError> {
        self.credentials
            .password
            .as_ref()
            .ok_or(ConnectError::Unsupported(
                "the shard asks for a password and DB_PASSWORD is not set",
            ))
    }

    async fn await_ready(
        &self,
        mut wire: Conversation,
        server: &Endpoint,
    ) -> Result<Backend, ConnectError> {
        let mut statuses: Vec<(Box<str>, Box<str>)> = Vec::new();
        let (mut process_id, mut secret) = (0, Bytes::new());
        loop {
            let (tag, body) = wire.receive().await?;
            match decode(tag, &body)? {
                Message::ParameterStatus(_) if would_be_misread(&body) => {
                    return Err(ConnectError::EscapeStrings);
                }
                Message::ParameterStatus(status) => {
                    let is_standby = status.name.as_bytes() == b"in_hot_standby"
                        && status.value.as_bytes() == b"on";
                    self.heirs.admits_standby(server, is_standby)?;
                    let text = |text: wire::Text<'_>| text.to_lossy().into_owned().into();
                    statuses.push((text(status.name), text(status.value)));
                }
                Message::BackendKeyData(key) => {
                    (process_id, secret) = (key.process_id, Bytes::copy_from_slice(key.secret));
                }
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        self.present(&mut wire, server).await?;
        let capacity = usize::try_from(self.max_prepared_statements).ok();
        let capacity = capacity.and_then(NonZeroUsize::new);
        let endpoint = server.clone();
        Ok(Backend {
            stream: wire.stream,
            inbound: wire.inbound,
            settings: Arc::new(Settings::default()),
            prepared: Arc::new(Held::new(capacity.unwrap_or(NonZeroUsize::MIN))),
            unnamed: None,
            cancel: Arc::new(CancelTarget {
                endpoint,
                dialer: self.dialer.clone(),
                process_id,
                secret,
            }),
            statuses: statuses.into(),
            traffic: super::Traffic::default(),
            reusable: true,
            spoiled: false,
            home: crate::threads::present(),
            place: None,
        })
    }
}

/// Whether the body of a ParameterStatus says that the router, which reads strings as the standard
/// says and all texts as UTF-8, would misread what is said to the backend, or by it.
#[must_use]
pub fn would_be_misread(body: &[u8]) -> bool {
    let is_other = |name: &[u8], usual: &[u8]| {
        let value = body.strip_prefix(name);
        value.is_some_and(|value| value != usual)
    };
    is_other(b"standard_conforming_strings\0", b"on\0") || is_other(b"client_encoding\0", b"UTF8\0")
}

fn decode(tag: u8, body: &[u8]) -> Result<Message<'_>, ConnectError> {
    let message =
        Message::decode(tag, body).map_err(|error| ConnectError::Protocol(error.to_string()))?;
    if let Message::ErrorResponse(fields) = &message {
        let sqlstate = fields
            .code()
            .map_or_else(String::new, |code| code.to_string());
        let message = fields.message().unwrap_or_default().to_lossy().into_owned();
        return Err(ConnectError::Refused { sqlstate, message });
    }
    Ok(message)
}

/// A conversation of whole messages, for login only.
struct Conversation {
    stream: Stream,
    inbound: BytesMut,
    outbound: BytesMut,
}

impl Conversation {
    async fn send(&mut self) -> Result<(), ConnectError> {
        self.stream.write_all_buf(&mut self.outbound).await?;
        Ok(())
    }

    async fn receive(&mut self) -> Result<(u8, Bytes), ConnectError> {
        loop {
            let header = Header::parse(&self.inbound, MAX_LOGIN_MESSAGE_BYTES)
                .map_err(|error| ConnectError::Protocol(error.to_string()))?;
            if let Some(header) = header {
                let frame_bytes = wire::frame::HEADER_BYTES + header.body_bytes;
                if self.inbound.len() >= frame_bytes {
                    let frame = self.inbound.split_to(frame_bytes).freeze();
                    return Ok((header.tag, frame.slice(wire::frame::HEADER_BYTES..)));
                }
            }
            if self.stream.read_buf(&mut self.inbound).await? == 0 {
                return Err(ConnectError::Io(
                    "the shard closed the connection".to_owned(),
                ));
            }
        }
    }
}
