//! From an accepted connection to a session: encryption, who it is, what it wants.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::BytesMut;
use platform::tls::CertificateFault;
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
use crate::audit::{Denial, Visitor};
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
    /// The client has not shown that it may come in, which goes on record.
    #[error("login refused: {1}")]
    Denied(Denial, Refusal),
    /// The client was refused for another reason.
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
    let from = stream.peer_addr()?.ip();
    let handshake = |failed| failed_handshake(&front, from, failed);
    let stream = encryption::begin(stream, tls).await;
    let mut stream = stream.map_err(handshake)?;
    let mut inbound = BytesMut::new();
    for _ in 0..MAX_REQUESTS {
        let startup = match first_packet(&mut stream, &mut inbound).await {
            // As PostgreSQL does: who says goodbye first, or speaks another protocol, is told nothing.
            Err(LoginError::Startup(error @ StartupError::BadLength { .. })) => {
                return Err(error.into());
            }
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
                let answered = encryption::answer(stream, acceptor).await;
                stream = answered.map_err(handshake)?;
            }
            Startup::GssEnc => stream = encryption::refuse(stream).await?,
            Startup::Cancel { process_id, secret } => {
                forward::pass_on(&front, process_id, &secret).await;
                return Ok(None);
            }
            Startup::Parameters(parameters) => {
                let shown = Shown {
                    from,
                    in_clear: tls.is_some() && matches!(stream, Stream::Plain(_)),
                    certified: encryption::common_name(&stream),
                };
                let max = usize::try_from(front.core.config.pgwire.max_message_bytes);
                let client = Client::new(stream, inbound, max.unwrap_or(usize::MAX));
                return enter(front, client, &parameters, &shown).await.map(Some);
            }
        }
    }
    Err(LoginError::Gone(std::io::ErrorKind::InvalidData.into()))
}

/// What a connection has shown before its start-up packet.
struct Shown {
    from: IpAddr,
    /// Whether it is not under TLS though it could be.
    in_clear: bool,
    /// The common name of its certificate.
    certified: Option<String>,
}

/// From the start-up packet on.
async fn enter(
    front: Arc<Front>,
    mut client: Client,
    parameters: &Parameters,
    shown: &Shown,
) -> Result<Admitted, LoginError> {
    let admitted = if shown.in_clear && front.core.config.pgwire.require_tls.unwrap_or(true) {
        Err(tls_required())
    } else {
        admit(&front, &mut client, parameters, shown).await
    };
    let visitor = Visitor {
        from: shown.from,
        user: parameters.user().ok(),
        is_console: is_console(parameters),
    };
    match admitted {
        Ok(slot) => {
            front.audit.let_in(visitor);
            if visitor.is_console {
                let operator = Operator::greet(front, client, parameters, slot).await?;
                return Ok(Admitted::Operator(Box::new(operator)));
            }
            let session = Session::greet(front, client, parameters, slot).await?;
            Ok(Admitted::Session(Box::new(session)))
        }
        Err(error) => {
            if let LoginError::Denied(denial, _) = &error {
                front.audit.denied(visitor, *denial);
            }
            refuse(client, error).await
        }
    }
}

/// A handshake that failed. Whoever lacks a certificate is told so by TLS, before it says who it is.
fn failed_handshake(front: &Front, from: IpAddr, failed: std::io::Error) -> LoginError {
    let visitor = Visitor {
        from,
        user: None,
        is_console: false,
    };
    match platform::tls::certificate_fault(&failed) {
        Some(CertificateFault::Missing) => front.audit.denied(visitor, Denial::NoCertificate),
        Some(CertificateFault::Invalid) => front.audit.denied(visitor, Denial::BadCertificate),
        None => {}
    }
    LoginError::Gone(failed)
}

/// Tells the client why it is not let in.
pub(super) async fn refuse<T>(mut client: Client, error: LoginError) -> Result<T, LoginError> {
    match &error {
        LoginError::Refused(reason) => local::fatal(&mut client.outbound, reason),
        LoginError::Denied(_, refusal) => {
            local::fatal(&mut client.outbound, &Error::Refused(refusal.clone()));
        }
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
    shown: &Shown,
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
        AuthMethod::ScramSha256 => {
            let address = platform::rates::network(shown.from);
            authenticate(front, client, (address, user)).await?;
        }
        AuthMethod::Cert => {
            must_be_certified(user, shown.certified.as_deref())?;
            must_be_enabled(front, user).await?;
        }
    }
    // Whoever has not shown who it is takes nobody's place.
    let slot = Arc::clone(&front.slots)
        .try_acquire_owned()
        .map_err(|_| LoginError::Denied(Denial::NoPlace, too_many()))?;
    if is_console(parameters) {
        let entered = operator::may_enter(front, user);
        entered.map_err(|refusal| LoginError::Denied(Denial::NoOperator, refusal))?;
    } else {
        front.core.view.begun().await;
        let found = must_exist(front, parameters.database()?);
        found.map_err(|refusal| LoginError::Denied(Denial::NoDatabase, refusal))?;
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
            let denied = failed(user, tried.err().unwrap_or(Failed::Mismatch));
            return Err(if known {
                denied
            } else {
                of_stranger(denied, front, user)
            });
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
    let (denial, message) = match reason {
        Failed::ChannelBinding => (
            Denial::Malformed,
            "channel binding is not offered".to_owned(),
        ),
        Failed::Malformed => (Denial::Malformed, not_authenticated(user)),
        Failed::Mismatch => (Denial::WrongPassword, not_authenticated(user)),
    };
    let refusal = Refusal {
        sqlstate: "28P01",
        message,
        hint: None,
    };
    LoginError::Denied(denial, refusal)
}

fn not_authenticated(user: &str) -> String {
    format!("password authentication failed for user \"{user}\"")
}

/// The same for the client, and another reason for the record.
fn of_stranger(denied: LoginError, front: &Front, user: &str) -> LoginError {
    match denied {
        LoginError::Denied(_, refusal) if front.users.is_disabled(user) => {
            LoginError::Denied(Denial::Disabled, refusal)
        }
        LoginError::Denied(_, refusal) => LoginError::Denied(Denial::UnknownUser, refusal),
        error @ (LoginError::Gone(_)
        | LoginError::Startup(_)
        | LoginError::Refused(_)
        | LoginError::Client(_)) => error,
    }
}

/// Whoever guesses a user's password waits; the user itself, from elsewhere, does not.
fn may_try(front: &Front, who @ (_, user): (IpAddr, &str)) -> Result<(), LoginError> {
    let Some(wait) = front.tries.wait(who) else {
        return Ok(());
    };
    let seconds = wait.as_secs() + 1;
    tracing::info!(user, seconds, "login refused: too many have failed");
    let refusal = Refusal {
        sqlstate: "53400",
        message: format!("too many failed logins of user \"{user}\" from this address"),
        hint: Some(format!("try again in {seconds} s")),
    };
    Err(LoginError::Denied(Denial::TooManyFailed, refusal))
}

/// The certificate must be of the user that the client would be.
fn must_be_certified(user: &str, certified: Option<&str>) -> Result<(), LoginError> {
    let (denial, message) = match certified {
        Some(name) if name == user => return Ok(()),
        Some(name) => {
            tracing::info!(
                user,
                name,
                "login failed: the certificate is another user's"
            );
            let message = format!("certificate authentication failed for user \"{user}\"");
            (Denial::OthersCertificate, message)
        }
        None => {
            let message = "connection requires a valid client certificate".to_owned();
            (Denial::NoCertificate, message)
        }
    };
    Err(denied(denial, message, None))
}

fn denied(denial: Denial, message: String, hint: Option<&str>) -> LoginError {
    let refusal = Refusal {
        sqlstate: "28000",
        message,
        hint: hint.map(str::to_owned),
    };
    LoginError::Denied(denial, refusal)
}

/// A user that was disabled is not let in, whatever else it shows.
async fn must_be_enabled(front: &Front, user: &str) -> Result<(), LoginError> {
    front.users.first_reading().await;
    if !front.users.is_disabled(user) {
        return Ok(());
    }
    tracing::info!(user, "login failed: the user is disabled");
    let message = format!("role \"{user}\" is not permitted to log in");
    Err(denied(Denial::Disabled, message, None))
}

/// Where all shards call their database the same, that is the name to connect to.
fn must_exist(front: &Front, database: &str) -> Result<(), Refusal> {
    let serving = front.core.view.load();
    let mut names = serving.active().map(|(_, pool)| pool.endpoint().database());
    let Some(first) = names.next() else {
        return Ok(());
    };
    let mut others = front.core.config.pgwire.databases.iter();
    if first == database || names.any(|name| name != first) || others.any(|name| name == database) {
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

fn tls_required() -> LoginError {
    let message = "the router takes encrypted connections only".to_owned();
    let hint = Some("connect with sslmode=require");
    denied(Denial::InClear, message, hint)
}
