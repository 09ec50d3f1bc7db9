//! From an accepted connection to a session: encryption, who it is, what it wants.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use wire::backend::{Report, encode};
use wire::frontend::{Message, tag};
use wire::limits::MAX_AUTHENTICATION_BYTES;
use wire::startup::{Parameters, Startup, StartupError};

use super::client::{Client, ClientError};
use super::operator::{self, Operator};
use super::{Front, Session, encryption, forward, local};
use crate::auth::scram::{Exchange, Failed, MECHANISM};
use crate::config::AuthMethod;
use crate::error::Error;
use crate::route::Refusal;
use crate::stream::Stream;

/// Why there is no session. The client has been told where it could be.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The connection is gone, or the client left.
    #[error("client left during login")]
    Gone(#[from] std::io::Error),
    /// The first packet cannot be answered with a session.
    #[error(transparent)]
    Startup(#[from] StartupError),
    /// The client was refused.
    #[error("login refused: {0}")]
    Refused(Error),
    /// The client broke the protocol.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl From<wire::EncodeError> for LoginError {
    fn from(error: wire::EncodeError) -> Self {
        Self::Refused(Error::Protocol(error.to_string()))
    }
}

impl From<Refusal> for LoginError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Error::Refused(refusal))
    }
}

/// Who has been let in.
#[derive(Debug)]
pub enum Admitted {
    /// A client of the shards.
    Session(Box<Session>),
    /// A client of the admin console.
    Operator(Box<Operator>),
}

/// Most requests for encryption before the start-up packet.
const MAX_REQUESTS: usize = 4;

/// Brings a connection in. None when it was a cancel request, which has been passed on.
///
/// # Errors
/// [`LoginError`].
pub async fn log_in(
    front: Arc<Front>,
    stream: TcpStream,
    tls: Option<&platform::tls::Acceptor>,
) -> Result<Option<Admitted>, LoginError> {
    let address = platform::rates::network(stream.peer_addr()?.ip());
    let mut stream = encryption::begin(stream, tls).await?;
    let mut inbound = BytesMut::new();
    for _ in 0..MAX_REQUESTS {
        let startup = match first_packet(&mut stream, &mut inbound).await {
            Err(LoginError::Startup(error)) => {
                report_startup(&mut stream, &error).await?;
                return Err(error.into());
            }
            startup => startup?,
        };
        match startup {
            Startup::Ssl => {
                // Bytes before the handshake are not the client's own under TLS (CVE-2021-23222).
                let acceptor = tls.filter(|_| inbound.is_empty());
                stream = encryption::answer(stream, acceptor).await?;
            }
            Startup::GssEnc => stream = encryption::refuse(stream).await?,
            Startup::Cancel { process_id, secret } => {
                forward::pass_on(&front, process_id, &secret).await;
                return Ok(None);
            }
            Startup::Parameters(parameters) => {
                let in_clear = matches!(stream, Stream::Plain(_));
                let certified = encryption::common_name(&stream);
                let max = usize::try_from(front.core.config.pgwire.max_message_bytes);
                let mut client = Client::new(stream, inbound, max.unwrap_or(usize::MAX));
                let admitted = if in_clear
                    && tls.is_some()
                    && front.core.config.pgwire.require_tls.unwrap_or(true)
                {
                    Err(tls_required().into())
                } else {
                    let known = (address, certified.as_deref());
                    admit(&front, &mut client, &parameters, known).await
                };
                return match admitted {
                    Ok(slot) if is_console(&parameters) => {
                        let operator = Operator::greet(front, client, &parameters, slot).await?;
                        Ok(Some(Admitted::Operator(Box::new(operator))))
                    }
                    Ok(slot) => {
                        let session = Session::greet(front, client, &parameters, slot).await?;
                        Ok(Some(Admitted::Session(Box::new(session))))
                    }
                    Err(error) => refuse(client, error).await,
                };
            }
        }
    }
    Err(LoginError::Gone(std::io::ErrorKind::InvalidData.into()))
}

/// Tells the client why it is not let in.
pub(super) async fn refuse<T>(mut client: Client, error: LoginError) -> Result<T, LoginError> {
    match &error {
        LoginError::Refused(reason) => local::fatal(&mut client.outbound, reason),
        LoginError::Startup(reason) => report(reason).encode(&mut client.outbound),
        LoginError::Gone(_) | LoginError::Client(_) => return Err(error),
    }
    client.flush().await?;
    Err(error)
}

async fn first_packet(stream: &mut Stream, inbound: &mut BytesMut) -> Result<Startup, LoginError> {
    loop {
        if let Some((startup, bytes)) = Startup::decode(inbound)? {
            // What follows belongs to the next message.
            let _packet = inbound.split_to(bytes);
            return Ok(startup);
        }
        if stream.read_buf(inbound).await? == 0 {
            return Err(LoginError::Gone(std::io::ErrorKind::UnexpectedEof.into()));
        }
    }
}

async fn report_startup(stream: &mut Stream, error: &StartupError) -> Result<(), LoginError> {
    let mut out = BytesMut::new();
    report(error).encode(&mut out);
    stream.write_all(&out).await?;
    stream.flush().await?;
    Ok(())
}

fn report(error: &StartupError) -> Report {
    Report::fatal(error.sqlstate(), error.to_string())
}

/// Decides whether the client may have a session.
async fn admit(
    front: &Front,
    client: &mut Client,
    parameters: &Parameters,
    (address, certified): (IpAddr, Option<&str>),
) -> Result<OwnedSemaphorePermit, LoginError> {
    if front.slots.available_permits() == 0 {
        return Err(too_many().into());
    }
    if parameters.needs_negotiation() {
        let unknown: Vec<&str> = parameters.extensions().collect();
        encode::negotiate_protocol_version(&mut client.outbound, unknown.iter().copied())?;
    }
    let user = parameters.user()?;
    let wants_replication = parameters
        .get("replication")
        .is_some_and(|value| !matches!(value, "" | "false" | "off" | "no" | "0"));
    if wants_replication {
        return Err(Refusal {
            sqlstate: "0A000",
            message: "replication connections are not supported by the router".to_owned(),
            hint: Some("connect to the shard itself".to_owned()),
        }
        .into());
    }
    match front.core.config.pgwire.auth {
        AuthMethod::Trust => must_be_enabled(front, user).await?,
        AuthMethod::ScramSha256 => authenticate(front, client, (address, user)).await?,
        AuthMethod::Cert => {
            must_be_certified(user, certified)?;
            must_be_enabled(front, user).await?;
        }
    }
    // Whoever has not shown who it is takes nobody's place.
    let slot = Arc::clone(&front.slots)
        .try_acquire_owned()
        .map_err(|_| too_many())?;
    if is_console(parameters) {
        operator::may_enter(front, user)?;
    } else {
        front.core.view.begun().await;
        must_exist(front, parameters.database()?)?;
    }
    encode::authentication_ok(&mut client.outbound);
    Ok(slot)
}

/// SCRAM-SHA-256. A stranger learns neither whether the user exists nor what was wrong.
async fn authenticate(
    front: &Front,
    client: &mut Client,
    who @ (_, user): (IpAddr, &str),
) -> Result<(), LoginError> {
    may_try(front, who)?;
    front.users.first_reading().await;
    let (verifier, known) = front.users.verifier(user);
    encode::authentication_sasl(&mut client.outbound, &[MECHANISM])?;
    let first = next_password(client).await?;
    let Ok(initial) = first.password().sasl_initial_response() else {
        return Err(failed(user, Failed::Malformed));
    };
    if initial.mechanism != MECHANISM {
        return Err(failed(user, Failed::Malformed));
    }
    let nonce = base64::Engine::encode(
        &base64::engine::general_purpose::STANDARD,
        rand::random::<[u8; 18]>(),
    );
    let started = Exchange::start(verifier, initial.data.unwrap_or_default(), &nonce);
    let (exchange, answer) = started.map_err(|reason| failed(user, reason))?;
    encode::authentication_sasl_continue(&mut client.outbound, answer.as_bytes())?;
    let last = next_password(client).await?;
    // Those who have begun at the same time are counted where their passwords are looked at.
    may_try(front, who)?;
    let answer = match exchange.finish(last.password().sasl_response()) {
        Ok(answer) if known => answer,
        tried => {
            front.tries.failed(who);
            return Err(failed(user, tried.err().unwrap_or(Failed::Mismatch)));
        }
    };
    encode::authentication_sasl_final(&mut client.outbound, answer.as_bytes())?;
    Ok(())
}

/// A password message of the client.
struct Answered(super::client::Frame);

impl Answered {
    fn password(&self) -> wire::frontend::Password<'_> {
        wire::frontend::Password::new(self.0.body())
    }
}

async fn next_password(client: &mut Client) -> Result<Answered, LoginError> {
    client.flush().await?;
    let frame = client.receive_up_to(MAX_AUTHENTICATION_BYTES).await?;
    let frame = frame.ok_or_else(|| std::io::Error::from(std::io::ErrorKind::UnexpectedEof))?;
    match Message::decode(frame.tag(), frame.body()) {
        Ok(Message::Password(_)) if frame.tag() == tag::PASSWORD => Ok(Answered(frame)),
        Ok(_) | Err(_) => {
            let text = format!(
                "expected password response, got message type {}",
                frame.tag()
            );
            Err(LoginError::Refused(Error::Protocol(text)))
        }
    }
}

fn failed(user: &str, reason: Failed) -> LoginError {
    tracing::info!(user, %reason, "login failed");
    let message = match reason {
        Failed::ChannelBinding => "channel binding is not offered".to_owned(),
        Failed::Malformed | Failed::Mismatch => {
            format!("password authentication failed for user \"{user}\"")
        }
    };
    Refusal {
        sqlstate: "28P01",
        message,
        hint: None,
    }
    .into()
}

/// Whoever guesses a user's password waits; the user itself, from elsewhere, does not.
fn may_try(front: &Front, who @ (_, user): (IpAddr, &str)) -> Result<(), Refusal> {
    let Some(wait) = front.tries.wait(who) else {
        return Ok(());
    };
    let seconds = wait.as_secs() + 1;
    tracing::info!(user, seconds, "login refused: too many have failed");
    Err(Refusal {
        sqlstate: "53400",
        message: format!("too many failed logins of user \"{user}\" from this address"),
        hint: Some(format!("try again in {seconds} s")),
    })
}

/// The certificate must be of the user that the client would be.
fn must_be_certified(user: &str, certified: Option<&str>) -> Result<(), Refusal> {
    let message = match certified {
        Some(name) if name == user => return Ok(()),
        Some(name) => {
            tracing::info!(
                user,
                name,
                "login failed: the certificate is another user's"
            );
            format!("certificate authentication failed for user \"{user}\"")
        }
        None => "connection requires a valid client certificate".to_owned(),
    };
    Err(Refusal {
        sqlstate: "28000",
        message,
        hint: None,
    })
}

/// A user that was disabled is not let in, whatever else it shows.
async fn must_be_enabled(front: &Front, user: &str) -> Result<(), Refusal> {
    front.users.first_reading().await;
    if !front.users.is_disabled(user) {
        return Ok(());
    }
    tracing::info!(user, "login failed: the user is disabled");
    Err(Refusal {
        sqlstate: "28000",
        message: format!("role \"{user}\" is not permitted to log in"),
        hint: None,
    })
}

/// Where all shards call their database the same, that is the name to connect to.
fn must_exist(front: &Front, database: &str) -> Result<(), Refusal> {
    let serving = front.core.view.load();
    let mut names = serving.active().map(|(_, pool)| pool.endpoint().database());
    let Some(first) = names.next() else {
        return Ok(());
    };
    if first == database || names.any(|name| name != first) {
        return Ok(());
    }
    Err(Refusal {
        sqlstate: "3D000",
        message: format!("database \"{database}\" does not exist"),
        hint: Some(format!("the shards' database is \"{first}\"")),
    })
}

/// The console comes before a shard's database of its name.
fn is_console(parameters: &Parameters) -> bool {
    parameters
        .database()
        .is_ok_and(|name| name == crate::console::DATABASE)
}

fn too_many() -> Refusal {
    Refusal {
        sqlstate: "53300",
        message: "sorry, too many clients already".to_owned(),
        hint: Some("raise pgwire.max_client_connections, or share connections".to_owned()),
    }
}

fn tls_required() -> Refusal {
    Refusal {
        sqlstate: "28000",
        message: "the router takes encrypted connections only".to_owned(),
        hint: Some("connect with sslmode=require".to_owned()),
    }
}
