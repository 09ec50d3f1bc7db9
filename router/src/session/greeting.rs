//! The end of a login: the settings that the start-up packet asked for, the server's own settings
//! for the client, the cancel key.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use wire::backend::{Diagnostic, ParameterStatus, encode, tag};
use wire::startup::Parameters;

use super::client::Client;
use super::hints::{HintName, HintSettings};
use super::login::{LoginError, refuse};
use super::patience::Clock;
use super::state::{SessionSettings, Transaction};
use super::{Batch, ByName, Expectations, Flight, Front, Portals, Session, effects, local};
use crate::error::Error;
use crate::exec::conversation;
use crate::pool::settings::Settings;
use crate::pool::{self, Lease};
use crate::route::Refusal;

/// Names and values of ParameterStatus.
type Statuses = BTreeMap<String, String>;

/// Longest message of a shard in answer to a session's first settings.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// How long a login waits before it looks again for a server that takes it.
const LOOK: Duration = Duration::from_millis(50);

impl Session {
    /// Greets a client that has been let in.
    pub(super) async fn greet(
        front: Arc<Front>,
        mut client: Client,
        parameters: &Parameters,
        slot: OwnedSemaphorePermit,
    ) -> Result<Self, LoginError> {
        let greeted = async {
            let (settings, hints) = requested(parameters)?;
            let statuses = statuses(&front, &settings, parameters).await?;
            Ok::<_, Error>((
                SessionSettings::new(front.startups.shared(settings), hints),
                statuses,
            ))
        };
        let (settings, mut statuses) = match greeted.await {
            Ok(greeted) => greeted,
            Err(error) => return refuse(client, LoginError::Refused(error)).await,
        };
        let cancel = front.sessions.register(front.forwarder.id());
        let encoding = settings.hints.encoding();
        statuses.insert("client_encoding".to_owned(), encoding.name().to_owned());
        if !settings.hints.is_utf8() {
            client.convert(encoding);
        }
        for (name, value) in &statuses {
            encode::parameter_status(&mut client.outbound, name, value);
        }
        let key = cancel.key();
        encode::backend_key_data(&mut client.outbound, key.process_id, &key.secret)?;
        local::ready(&mut client.outbound, b'I');
        client.flush().await?;
        client.flush_converted().await?;
        let listed = front.roll.enter(client.visitor(parameters), key);
        let connected = front.core.metrics.connected("pgwire");
        let clock = Clock::new(front.core.config.pgwire.limits);
        Ok(Self {
            front,
            client,
            cancel,
            transaction: Transaction::Idle,
            settings,
            statements: ByName::default(),
            unparsed: None,
            attachment: None,
            bound: None,
            company: None,
            outbound: BytesMut::new(),
            expected: Expectations::default(),
            flight: Flight::default(),
            routed: topology::Epoch::default(),
            batch: Batch::default(),
            scripted: false,
            torn: false,
            reshaped: false,
            portals: Portals::default(),
            clock,
            span: tracing::Span::current(),
            listed,
            trace: None,
            took: Duration::ZERO,
            asked: None,
            _connected: connected,
            _slot: slot,
        })
    }
}

/// The settings in a start-up packet, and those that the router keeps to itself.
fn requested(parameters: &Parameters) -> Result<(Settings, HintSettings), Refusal> {
    let (mut settings, mut hints) = (Settings::default(), HintSettings::default());
    let mut insert = |name: &str, value: &str| match HintName::parse(&name.to_lowercase()) {
        Some(hint) => hints.start_with(hint, value),
        None => insert(&mut settings, name, value),
    };
    let options = parameters.get("options").unwrap_or_default();
    for (name, value) in command_line(options)? {
        insert(&name, &value)?;
    }
    for (name, value) in &parameters.params {
        let is_setting = !matches!(
            name.as_str(),
            "user" | "database" | "options" | "replication"
        ) && !name.starts_with(wire::startup::EXTENSION_PREFIX);
        if is_setting {
            insert(name, value)?;
        }
    }
    Ok((settings, hints))
}

fn insert(settings: &mut Settings, name: &str, value: &str) -> Result<(), Refusal> {
    effects::check_value(name, Some(value))?;
    settings.insert_value(name, value);
    if name.eq_ignore_ascii_case("search_path") {
        settings.set_search_path(&schemas(value));
    }
    if settings.bytes() > Settings::MAX_BYTES {
        return Err(Refusal {
            sqlstate: "54000",
            message: format!(
                "the session's settings exceed {} bytes",
                Settings::MAX_BYTES
            ),
            hint: None,
        });
    }
    Ok(())
}

/// The schemas of a `search_path`, as PostgreSQL reads it: quoted names stand as they are, others in
/// lower case.
fn schemas(path: &str) -> Vec<String> {
    let (mut schemas, mut schema) = (Vec::new(), String::new());
    let mut quoted = false;
    let mut rest = path.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if quoted && rest.peek() == Some(&'"') => schema.extend(rest.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => schemas.push(std::mem::take(&mut schema)),
            c if quoted => schema.push(c),
            c if c.is_ascii_whitespace() => {}
            c => schema.push(c.to_ascii_lowercase()),
        }
    }
    schemas.push(schema);
    schemas
}

/// The settings in the `options` of a start-up packet: `-c name=value` and `--name=value`, with
/// blanks between them and backslashes before blanks that belong to a value.
fn command_line(options: &str) -> Result<Vec<(String, String)>, Refusal> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut rest = options.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => word.extend(rest.next()),
            c if c.is_ascii_whitespace() => words.push(std::mem::take(&mut word)),
            c => word.push(c),
        }
    }
    words.push(word);
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let assignment = if word == "-c" {
            words.next()
        } else if let Some(long) = word.strip_prefix("--") {
            Some(long.to_owned())
        } else {
            word.strip_prefix("-c").map(str::to_owned)
        };
        let pair = assignment.as_deref().and_then(|text| text.split_once('='));
        let Some((name, value)) = pair else {
            return Err(Refusal {
                sqlstate: "22023",
                message: format!("invalid command-line argument in start-up options: {word}"),
                hint: Some("use -c name=value".to_owned()),
            });
        };
        settings.push((name.replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}

/// What a shard reports of itself to a session with these settings.
async fn statuses(
    front: &Front,
    settings: &Settings,
    parameters: &Parameters,
) -> Result<Statuses, Error> {
    let mut lease = any_backend(front).await?;
    let mut statuses: Statuses = lease
        .statuses
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .collect();
    // The backend was not told the client's name yet.
    let name = parameters.get("application_name").unwrap_or_default();
    statuses.insert("application_name".to_owned(), name.to_owned());
    if *lease.settings != *settings {
        try_settings(&mut lease, settings, &mut statuses).await?;
    }
    lease.give_back();
    Ok(statuses)
}

/// A backend of whichever shard has one. While servers are being succeeded by others, a login
/// waits as statements do.
async fn any_backend(front: &Front) -> Result<Lease, Error> {
    let deadline = Instant::now() + front.core.config.sharding.failover_wait;
    loop {
        let serving = front.core.view.load();
        let (mut last, mut passes) = (Error::NoShard, false);
        for (_, pool) in serving.ready() {
            match pool.checkout_once().await {
                Ok(lease) => return Ok(lease),
                Err(error) => {
                    passes |= matches!(error, pool::Error::Retired { .. }) || pool.outlasts(&error);
                    last = Error::Pool(error);
                }
            }
        }
        if !passes || Instant::now() >= deadline {
            return Err(last);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Brings a backend to the settings, so that a value that PostgreSQL refuses ends the login, and
/// notes what it reports.
async fn try_settings(
    lease: &mut Lease,
    settings: &Settings,
    statuses: &mut Statuses,
) -> Result<(), Error> {
    let lost = |reason: String| Error::Protocol(format!("no answer to the settings: {reason}"));
    let mut out = BytesMut::new();
    wire::frontend::encode::query(&mut out, settings.establish().as_bytes())
        .map_err(|error| lost(error.to_string()))?;
    conversation::send(lease, &mut out)
        .await
        .map_err(|error| lost(error.to_string()))?;
    let mut refused = None;
    loop {
        let message = conversation::receive_any(lease, MAX_MESSAGE_BYTES).await;
        let message = message.map_err(|error| lost(error.to_string()))?;
        match message.tag() {
            tag::READY_FOR_QUERY => break,
            tag::PARAMETER_STATUS => {
                if let Ok(status) = ParameterStatus::decode(message.body()) {
                    let text = |text: wire::Text<'_>| text.to_lossy().into_owned();
                    statuses.insert(text(status.name), text(status.value));
                }
            }
            tag::ERROR_RESPONSE => refused = Some(refusal_of(message.body())),
            _ => {}
        }
    }
    match refused {
        Some(error) => Err(error),
        None => {
            lease.settings = Arc::new(settings.clone());
            Ok(())
        }
    }
}

fn refusal_of(body: &[u8]) -> Error {
    let fields = Diagnostic::decode_error(body).ok();
    let text = |text: Option<wire::Text<'_>>| text.map(|text| text.to_lossy().into_owned());
    Error::Shard {
        sqlstate: fields
            .and_then(Diagnostic::code)
            .map_or_else(|| "XX000".to_owned(), |code| code.to_string()),
        message: text(fields.and_then(Diagnostic::message)).unwrap_or_default(),
        detail: text(fields.and_then(Diagnostic::detail)),
        hint: text(fields.and_then(Diagnostic::hint)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_as_postgres_reads_them() {
        let pairs = command_line(r"-c geqo=off --search-path=a\ b -cwork_mem=1MB").unwrap();
        let pairs: Vec<(&str, &str)> = pairs
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("geqo", "off"), ("search_path", "a b"), ("work_mem", "1MB")]
        );
        assert!(command_line("-S 1").is_err());
    }

    #[test]
    fn schemas_are_read_as_postgres_reads_them() {
        assert_eq!(
            schemas(r#" Sales, "Old, ""Sales""" ,public"#),
            ["sales", r#"Old, "Sales""#, "public"]
        );
        assert_eq!(schemas(r#""$user", public"#), ["$user", "public"]);
    }
}
