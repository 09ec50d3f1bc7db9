//! An operator's session: the protocol around the commands of [`crate::console`]. No statement of
//! its reaches a shard.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use platform::Shutdown;
use tokio::sync::OwnedSemaphorePermit;
use wire::Format;
use wire::backend::{Report, Severity, encode};
use wire::frontend::{Bind, Execute, Parse, Query, Target, TargetKind, tag};
use wire::startup::Parameters;

use super::client::{Client, ClientError, Frame};
use super::login::LoginError;
use super::{Ended, Front, cancel, housekeeping, local, roll};
use crate::console::{self, Command, Sources, Table};
use crate::error::Error;
use crate::metrics::Connected;
use crate::route::Refusal;

/// Most statements, and most portals, of one operator.
const MAX_NAMES: usize = 1_000;

/// What drivers want to know before they say anything. The version is that of the oldest server
/// whose drivers would ask the console nothing else.
const STATUSES: &[(&str, &str)] = &[
    (
        "server_version",
        concat!("15.0 (sharding router ", env!("CARGO_PKG_VERSION"), ")"),
    ),
    ("server_encoding", "UTF8"),
    ("client_encoding", "UTF8"),
    ("DateStyle", "ISO, MDY"),
    ("IntervalStyle", "postgres"),
    ("TimeZone", "UTC"),
    ("integer_datetimes", "on"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "off"),
];

/// A session with the console.
#[derive(Debug)]
pub struct Operator {
    front: Arc<Front>,
    client: Client,
    /// Every session has a key, though there is nothing to cancel here.
    cancel: cancel::Entry,
    statements: HashMap<Bytes, Command>,
    portals: HashMap<Bytes, Portal>,
    /// An error was reported: everything up to Sync is skipped.
    failed: bool,
    /// The operator's driver believes to be in a transaction.
    in_block: bool,
    _listed: roll::Entry,
    _connected: Connected,
    _slot: OwnedSemaphorePermit,
}

/// A command that is bound, and what is left of its answer.
#[derive(Debug)]
struct Portal {
    command: Command,
    formats: Vec<Format>,
    rest: Option<std::vec::IntoIter<Vec<console::Value>>>,
}

impl Portal {
    fn new(command: Command, formats: Vec<Format>) -> Self {
        Self {
            command,
            formats,
            rest: None,
        }
    }
}

/// As Bind gives formats: none (all are text), one for all, or one for each.
fn format_of(formats: &[Format], at: usize) -> Format {
    match formats {
        [] => Format::Text,
        [all] => *all,
        each => each.get(at).copied().unwrap_or_default(),
    }
}

/// Why a command has no answer.
enum Stopped {
    Refused(Refusal),
    Ended(Ended),
    /// The operator left, or the router is going to end, while the command waited.
    Left,
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<wire::DecodeError> for Stopped {
    fn from(error: wire::DecodeError) -> Self {
        Self::Refused(Refusal {
            sqlstate: "08P01",
            message: error.to_string(),
            hint: None,
        })
    }
}

impl From<wire::EncodeError> for Stopped {
    fn from(error: wire::EncodeError) -> Self {
        Self::Refused(Refusal {
            sqlstate: "54000",
            message: error.to_string(),
            hint: None,
        })
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Ended(error.into())
    }
}

/// Whether a user may use the console.
///
/// # Errors
/// 42501.
pub(super) fn may_enter(front: &Front, user: &str) -> Result<(), Refusal> {
    if front.core.config.pgwire.is_admin(user) {
        return Ok(());
    }
    tracing::info!(user, "refused the admin console");
    Err(Refusal {
        sqlstate: "42501",
        message: format!("user \"{user}\" may not use the admin console"),
        hint: Some("list the user in pgwire.admin_users".to_owned()),
    })
}

impl Operator {
    /// Greets an operator who has been let in.
    pub(super) async fn greet(
        front: Arc<Front>,
        mut client: Client,
        parameters: &Parameters,
        slot: OwnedSemaphorePermit,
    ) -> Result<Self, LoginError> {
        let cancel = front.sessions.register(front.forwarder.id());
        let listed = front.roll.enter(client.visitor(parameters), cancel.key());
        let application = parameters.get("application_name").unwrap_or_default();
        encode::parameter_status(&mut client.outbound, "application_name", application);
        for (name, value) in STATUSES {
            encode::parameter_status(&mut client.outbound, name, value);
        }
        let key = cancel.key();
        encode::backend_key_data(&mut client.outbound, key.process_id, &key.secret)?;
        local::ready(&mut client.outbound, b'I');
        client.flush().await?;
        let connected = front.core.metrics.connected("console");
        Ok(Self {
            front,
            client,
            cancel,
            statements: HashMap::new(),
            portals: HashMap::new(),
            failed: false,
            in_block: false,
            _listed: listed,
            _connected: connected,
            _slot: slot,
        })
    }

    /// Serves the operator until it leaves, breaks the protocol, or the router shuts down.
    ///
    /// # Errors
    /// [`Ended`] when the operator did not leave by itself.
    pub async fn run(mut self, shutdown: Shutdown) -> Result<(), Ended> {
        tracing::info!(id = self.cancel.key().process_id, "console opened");
        loop {
            let frame = tokio::select! {
                // The operator first: a command that has arrived is still answered.
                biased;
                frame = self.client.receive() => frame,
                () = shutdown.requested() => return self.end(&Error::ShuttingDown).await,
            };
            let frame = match frame {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(()),
                Err(ClientError::Protocol(text)) => return self.end(&Error::Protocol(text)).await,
                Err(error) => return Err(error.into()),
            };
            match self.handle(&frame, &shutdown).await {
                Ok(true) => {}
                Ok(false) | Err(Stopped::Left) => return Ok(()),
                Err(Stopped::Refused(refusal)) => self.refuse(&frame, refusal).await?,
                Err(Stopped::Ended(ended)) => return Err(ended),
            }
        }
    }

    async fn end(&mut self, error: &Error) -> Result<(), Ended> {
        local::fatal(&mut self.client.outbound, error);
        self.client.flush().await?;
        Ok(())
    }

    async fn refuse(&mut self, frame: &Frame, refusal: Refusal) -> Result<(), Ended> {
        self.front.core.metrics.refused(&refusal);
        let error = local::error(&Error::Refused(refusal));
        self.client.outbound.extend_from_slice(&error);
        if frame.tag() == tag::QUERY {
            self.ready();
        } else {
            self.failed = true;
        }
        self.client.flush().await?;
        Ok(())
    }

    fn ready(&mut self) {
        let status = if self.in_block { b'T' } else { b'I' };
        local::ready(&mut self.client.outbound, status);
    }

    /// Handles one message; false when it was the last one.
    async fn handle(&mut self, frame: &Frame, shutdown: &Shutdown) -> Result<bool, Stopped> {
        if self.failed && !matches!(frame.tag(), tag::SYNC | tag::TERMINATE) {
            return Ok(true);
        }
        match frame.tag() {
            tag::QUERY => self.on_query(frame, shutdown).await?,
            tag::PARSE => self.on_parse(frame)?,
            tag::BIND => self.on_bind(frame)?,
            tag::DESCRIBE => self.on_describe(frame)?,
            tag::EXECUTE => self.on_execute(frame, shutdown).await?,
            tag::CLOSE => self.on_close(frame)?,
            tag::FLUSH => self.client.flush().await?,
            tag::SYNC => {
                self.failed = false;
                self.portals.clear();
                self.ready();
                self.client.flush().await?;
            }
            tag::TERMINATE => return Ok(false),
            other => {
                let text = format!("the console does not take messages of type {other}");
                self.end(&Error::Protocol(text))
                    .await
                    .map_err(Stopped::Ended)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Answers a text of any number of commands, up to the first that fails.
    async fn on_query(&mut self, frame: &Frame, shutdown: &Shutdown) -> Result<(), Stopped> {
        let text = Query::decode(frame.body())?.sql;
        let text = text.to_lossy();
        let mut commands = Vec::new();
        for part in text.split(';') {
            match Command::parse(part)? {
                Command::Empty => {}
                command => commands.push(command),
            }
        }
        if commands.is_empty() {
            encode::empty_query_response(&mut self.client.outbound);
        }
        for command in commands {
            let table = self.run_command(&command, shutdown).await?;
            if let Some(table) = table {
                let out = &mut self.client.outbound;
                console::describe(out, table.columns, |_| Format::Text)?;
                for row in &table.rows {
                    console::row(out, row, |_| Format::Text)?;
                }
            }
            encode::command_complete(&mut self.client.outbound, command.tag());
        }
        self.ready();
        self.client.flush().await?;
        Ok(())
    }

    fn on_parse(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let parse = Parse::decode(frame.body())?;
        let command = Command::parse(&parse.sql.to_lossy())?;
        let name = Bytes::copy_from_slice(parse.name.as_bytes());
        if self.statements.len() >= MAX_NAMES && !name.is_empty() {
            return Err(too_many("prepared statements").into());
        }
        self.statements.insert(name, command);
        encode::parse_complete(&mut self.client.outbound);
        Ok(())
    }

    fn on_bind(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let bind = Bind::decode(frame.body())?;
        let command = self.statement(bind.statement.as_bytes())?.clone();
        if self.portals.len() >= MAX_NAMES && !bind.portal.is_empty() {
            return Err(too_many("portals").into());
        }
        let portal = Portal::new(command, bind.result_formats.iter().collect());
        let name = Bytes::copy_from_slice(bind.portal.as_bytes());
        self.portals.insert(name, portal);
        encode::bind_complete(&mut self.client.outbound);
        Ok(())
    }

    fn on_describe(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let named = Target::decode_describe(frame.body())?;
        let name = named.name.as_bytes();
        let (columns, formats) = match named.kind {
            TargetKind::Statement => {
                let columns = self.statement(name)?.columns();
                encode::parameter_description(&mut self.client.outbound, &[])?;
                (columns, Vec::new())
            }
            TargetKind::Portal => {
                let portal = self.portals.get(name).ok_or_else(no_portal)?;
                (portal.command.columns(), portal.formats.clone())
            }
        };
        let out = &mut self.client.outbound;
        match columns {
            Some(columns) => console::describe(out, columns, |at| format_of(&formats, at))?,
            None => encode::no_data(out),
        }
        Ok(())
    }

    async fn on_execute(&mut self, frame: &Frame, shutdown: &Shutdown) -> Result<(), Stopped> {
        let execute = Execute::decode(frame.body())?;
        let name = Bytes::copy_from_slice(execute.portal.as_bytes());
        let mut portal = self.portals.remove(&name).ok_or_else(no_portal)?;
        if portal.command == Command::Empty {
            encode::empty_query_response(&mut self.client.outbound);
            return Ok(());
        }
        let mut rows = match portal.rest.take() {
            Some(rows) => rows,
            None => {
                let table = self.run_command(&portal.command, shutdown).await?;
                let rows = table.map(|table| table.rows).unwrap_or_default();
                rows.into_iter()
            }
        };
        let limit = usize::try_from(execute.max_rows).unwrap_or(0);
        let limit = if limit == 0 { usize::MAX } else { limit };
        for row in rows.by_ref().take(limit) {
            let format = |at| format_of(&portal.formats, at);
            console::row(&mut self.client.outbound, &row, format)?;
        }
        if rows.len() == 0 {
            encode::command_complete(&mut self.client.outbound, portal.command.tag());
        } else {
            encode::portal_suspended(&mut self.client.outbound);
            portal.rest = Some(rows);
            self.portals.insert(name, portal);
        }
        Ok(())
    }

    fn on_close(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let named = Target::decode_close(frame.body())?;
        let name = named.name.as_bytes();
        match named.kind {
            TargetKind::Statement => drop(self.statements.remove(name)),
            TargetKind::Portal => drop(self.portals.remove(name)),
        }
        encode::close_complete(&mut self.client.outbound);
        Ok(())
    }

    fn statement(&self, name: &[u8]) -> Result<&Command, Refusal> {
        let known = self.statements.get(name);
        known.ok_or_else(|| housekeeping::no_statement(name))
    }

    async fn run_command(
        &mut self,
        command: &Command,
        shutdown: &Shutdown,
    ) -> Result<Option<Table>, Stopped> {
        let core = &self.front.core;
        match command {
            Command::Show(subject) => {
                let sources = Sources {
                    core,
                    clients: self.front.roll.list(&self.front.sessions),
                    reload: &self.front.reload,
                };
                return Ok(Some(console::show(*subject, &sources)));
            }
            Command::Pause(shard) => {
                tokio::select! {
                    // An operator that is gone can end no pause.
                    biased;
                    _gone = self.client.gone() => return Err(Stopped::Left),
                    () = shutdown.requested() => return Err(Stopped::Left),
                    paused = console::pause(core, shard.as_ref()) => paused?,
                }
            }
            Command::Resume(shard) => console::resume(core, shard.as_ref())?,
            Command::Reconnect(shard) => console::reconnect(core, shard.as_ref())?,
            Command::Reload => {
                let notices = self
                    .front
                    .reload
                    .run(&core.config, &self.front.users)
                    .await?;
                for notice in notices {
                    Report::new(Severity::Notice, wire::SqlState::SUCCESS, notice)
                        .encode(&mut self.client.outbound);
                }
            }
            Command::Begin => self.in_block = true,
            Command::End(_) => self.in_block = false,
            Command::Set | Command::Empty => return Ok(None),
        }
        tracing::info!(command = command.tag(), "console command");
        Ok(None)
    }
}

fn no_portal() -> Refusal {
    Refusal {
        sqlstate: "34000",
        message: "the portal does not exist".to_owned(),
        hint: None,
    }
}

fn too_many(what: &str) -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!("the console cannot hold more than {MAX_NAMES} {what}"),
        hint: None,
    }
}
