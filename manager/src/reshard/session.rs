//! Sessions on shards for all that a job does there. Each carries its leg's tag in its name, so
//! that the next leader finds those of the last one and ends them before it does anything itself.

use std::fmt::Write as _;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use platform::TaskGroup;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Transaction};
use topology::{Shard, ShardId, Term};

use super::ids::LegId;
use crate::shards::{self, Shards};

/// How long backends that were told to end may take.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks at whether they have.
const END_POLL: Duration = Duration::from_millis(5);

/// Settings that decide how values read as text, and those that a role or a database may have
/// set to what suits applications.
const SETTINGS: [(&str, &str); 15] = [
    ("DateStyle", "ISO"),
    ("IntervalStyle", "postgres"),
    ("extra_float_digits", "3"),
    ("TimeZone", "UTC"),
    ("bytea_output", "hex"),
    ("statement_timeout", "0"),
    ("lock_timeout", "0"),
    ("idle_in_transaction_session_timeout", "0"),
    ("default_transaction_isolation", "read committed"),
    ("default_transaction_read_only", "off"),
    ("client_min_messages", "warning"),
    ("jit", "off"),
    // A leader that is gone must not hold locks for hours.
    ("tcp_keepalives_idle", "5"),
    ("tcp_keepalives_interval", "2"),
    ("tcp_keepalives_count", "3"),
];

/// Whether the same may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The connection broke, a limit passed, a lock was taken, the server is short of something.
    Retryable,
    /// It would go wrong again.
    Fatal,
    /// Another leader has raised the term: this one must stop.
    StaleTerm,
}

impl Class {
    /// The class of what PostgreSQL or the network says.
    #[must_use]
    pub fn of(error: &tokio_postgres::Error) -> Self {
        // Without a code it is the connection.
        let code = error.code().map(SqlState::code);
        code.map_or(Self::Retryable, Self::of_code)
    }

    /// The class of an SQLSTATE.
    #[must_use]
    pub fn of_code(code: &str) -> Self {
        if code == "VG004" {
            return Self::StaleTerm;
        }
        let class = code.get(..2).unwrap_or_default();
        let single = ["55P03", "55006", "57014", "VG001", "VG002"];
        let admin = ["57P01", "57P02", "57P03", "57P05"];
        if ["08", "40", "53", "58"].contains(&class)
            || single.contains(&code)
            || admin.contains(&code)
        {
            Self::Retryable
        } else {
            Self::Fatal
        }
    }
}

/// What can go wrong on a shard.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No session.
    #[error(transparent)]
    Login(#[from] shards::Error),
    /// A statement was refused, or the connection broke.
    #[error("shard {shard}: {what}")]
    Statement {
        /// The shard.
        shard: ShardId,
        /// What was to be done.
        what: &'static str,
        /// What PostgreSQL or the network says.
        source: tokio_postgres::Error,
    },
    /// Backends of an earlier leader did not end.
    #[error("shard {shard}: backends {pids:?} of an earlier leader do not end within {limit:?}")]
    StillThere {
        /// The shard.
        shard: ShardId,
        /// Their process ids.
        pids: Vec<i32>,
        /// The limit.
        limit: Duration,
    },
}

impl Error {
    /// Whether the same may be tried again.
    #[must_use]
    pub fn class(&self) -> Class {
        match self {
            Self::Login(_) | Self::StillThere { .. } => Class::Retryable,
            Self::Statement { source, .. } => Class::of(source),
        }
    }
}

/// Opens sessions for jobs.
#[derive(Debug, Clone)]
pub struct Sessions {
    shards: Shards,
}

impl Sessions {
    /// Sessions run their connections in `tasks`.
    #[must_use]
    pub fn new(config: shards::Config, tasks: TaskGroup) -> Self {
        let shards = Shards::new(config, tasks);
        Self { shards }
    }

    /// How shards are reached, for what speaks another protocol with them than SQL.
    #[must_use]
    pub fn config(&self) -> &shards::Config {
        self.shards.config()
    }

    /// Opens a session that obeys the guards as every client does.
    ///
    /// # Errors
    /// [`Error::Login`] names the shard.
    pub async fn open(
        &self,
        shard: &Shard,
        leg: &LegId,
        purpose: &'static str,
    ) -> Result<Session, Error> {
        self.login(shard, leg, purpose, options()).await
    }

    /// Opens a session that belongs to no leg and obeys the guards as every client does.
    ///
    /// # Errors
    /// [`Error::Login`] names the shard.
    pub async fn open_for(&self, shard: &Shard, purpose: &'static str) -> Result<Session, Error> {
        let name = format!("sharding-manager/{purpose}");
        self.login_as(shard, &name, options()).await
    }

    /// As [`Self::open`], once all sessions of the leg with this purpose have ended: nothing that
    /// one of them sent and that is still on its way is done any more.
    ///
    /// # Errors
    /// When the shard cannot be asked, or backends do not end.
    pub async fn open_alone(
        &self,
        shard: &Shard,
        leg: &LegId,
        purpose: &'static str,
    ) -> Result<Session, Error> {
        let session = self.open(shard, leg, purpose).await?;
        end(
            &session,
            "application_name = $1",
            &application_name(leg, purpose),
        )
        .await?;
        Ok(session)
    }

    /// Opens a session whose writes pass the leg's guards and fire no ordinary triggers.
    ///
    /// # Errors
    /// [`Error::Login`] names the shard.
    pub async fn open_writer(
        &self,
        shard: &Shard,
        leg: &LegId,
        purpose: &'static str,
    ) -> Result<Session, Error> {
        self.login(shard, leg, purpose, writer_options(leg)).await
    }

    async fn login(
        &self,
        shard: &Shard,
        leg: &LegId,
        purpose: &str,
        options: String,
    ) -> Result<Session, Error> {
        let name = application_name(leg, purpose);
        self.login_as(shard, &name, options).await
    }

    async fn login_as(&self, shard: &Shard, name: &str, options: String) -> Result<Session, Error> {
        let mut settings = tokio_postgres::Config::new();
        settings
            .application_name(name)
            .options(options)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(5))
            .keepalives_interval(Duration::from_secs(2))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(15));
        let client = self.shards.login(shard, settings).await?;
        Ok(Session {
            shard: shard.id.clone(),
            client,
        })
    }

    /// Ends all sessions of a leg on a shard, whoever opened them, and waits until they are gone.
    /// Transactions that were open are rolled back then, or their commits are in the log.
    ///
    /// # Errors
    /// When the shard cannot be asked, or backends do not end.
    pub async fn end_others(&self, shard: &Shard, leg: &LegId) -> Result<u64, Error> {
        let session = self.open(shard, leg, "end-others").await?;
        let prefix = application_name(leg, "");
        end(&session, "starts_with(application_name, $1)", &prefix).await
    }

    /// Ends all sessions that keep a leg's snapshot on a shard, whichever manager they are of.
    ///
    /// # Errors
    /// When the shard cannot be asked, or backends do not end.
    pub async fn end_keepers(&self, shard: &Shard, leg: &LegId) -> Result<u64, Error> {
        let session = self.open(shard, leg, "end-keepers").await?;
        end(&session, "application_name = $1", &keeper_name(leg)).await
    }
}

/// Ends the other sessions that a condition on their name holds for, and waits until they are
/// gone.
async fn end(session: &Session, condition: &str, name: &str) -> Result<u64, Error> {
    let sql = format!(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE {condition} AND pid <> pg_backend_pid()"
    );
    let start = Instant::now();
    let mut ended = std::collections::BTreeSet::new();
    loop {
        let rows = session.query(&sql, &[&name]).await;
        let rows = rows.map_err(|e| session.error("end the sessions of a leg", e))?;
        let pids: Vec<i32> = rows.iter().map(|row| row.get(0)).collect();
        ended.extend(pids.iter().copied());
        if pids.is_empty() {
            return Ok(u64::try_from(ended.len()).unwrap_or(u64::MAX));
        }
        if start.elapsed() > END_LIMIT {
            return Err(Error::StillThere {
                shard: session.shard.clone(),
                pids,
                limit: END_LIMIT,
            });
        }
        tokio::time::sleep(END_POLL).await;
    }
}

/// The name of a session: which leg it belongs to, and what it is for.
#[must_use]
pub fn application_name(leg: &LegId, purpose: &str) -> String {
    format!("sharding-reshard/{}/{purpose}", leg.tag())
}

/// The name of a session that keeps a leg's snapshot: it outlives its leader, other than those that
/// are named by [`application_name`].
#[must_use]
pub fn keeper_name(leg: &LegId) -> String {
    format!("sharding-keep/{}", leg.tag())
}

/// The settings as the `options` of a start-up message.
#[must_use]
pub fn options() -> String {
    let mut text = String::new();
    for (name, value) in SETTINGS {
        let value = value.replace(' ', "\\ ");
        let space = if text.is_empty() { "" } else { " " };
        write!(text, "{space}-c {name}={value}").expect("a string takes any text");
    }
    text
}

/// The same for a session whose writes pass the leg's guards and fire no ordinary triggers.
#[must_use]
pub fn writer_options(leg: &LegId) -> String {
    let bypass = " -c session_replication_role=replica -c vg.apply=";
    options() + bypass + &leg.tag()
}

/// A session on a shard; ends when it is dropped.
#[derive(Debug)]
pub struct Session {
    shard: ShardId,
    client: Client,
}

impl Session {
    /// The shard.
    #[must_use]
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// Begins a transaction that changes the shard in the name of a term. It ends at once when
    /// a later leader has raised the term, and that one waits for it otherwise.
    ///
    /// # Errors
    /// [`Class::StaleTerm`] when the term is not the present one.
    pub async fn begin(&mut self, term: Term) -> Result<Work<'_>, Error> {
        let shard = &self.shard;
        let failed = |source| Error::Statement {
            shard: shard.clone(),
            what: "begin a transaction of a term",
            source,
        };
        let transaction = self.client.transaction().await.map_err(failed)?;
        let enter = format!("SELECT vg.enter({term})");
        transaction.batch_execute(&enter).await.map_err(failed)?;
        Ok(Work { shard, transaction })
    }

    /// The error of a statement on this shard.
    #[must_use]
    pub fn error(&self, what: &'static str, source: tokio_postgres::Error) -> Error {
        Error::Statement {
            shard: self.shard.clone(),
            what,
            source,
        }
    }
}

impl Deref for Session {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl DerefMut for Session {
    fn deref_mut(&mut self) -> &mut Client {
        &mut self.client
    }
}

/// A transaction of a term; rolled back unless it is committed.
pub struct Work<'a> {
    shard: &'a ShardId,
    transaction: Transaction<'a>,
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work")
            .field("shard", self.shard)
            .finish_non_exhaustive()
    }
}

impl Work<'_> {
    /// Runs statements.
    ///
    /// # Errors
    /// What PostgreSQL or the network says.
    pub async fn run(&self, what: &'static str, sql: &str) -> Result<(), Error> {
        let done = self.transaction.batch_execute(sql).await;
        done.map_err(|source| self.error(what, source))
    }

    /// Commits. Where the connection breaks, nobody knows whether it did.
    ///
    /// # Errors
    /// What PostgreSQL or the network says.
    pub async fn commit(self, what: &'static str) -> Result<(), Error> {
        let shard = self.shard;
        let done = self.transaction.commit().await;
        done.map_err(|source| Error::Statement {
            shard: shard.clone(),
            what,
            source,
        })
    }

    /// The error of a statement on this shard.
    #[must_use]
    pub fn error(&self, what: &'static str, source: tokio_postgres::Error) -> Error {
        Error::Statement {
            shard: self.shard.clone(),
            what,
            source,
        }
    }
}

impl<'a> Deref for Work<'a> {
    type Target = Transaction<'a>;

    fn deref(&self) -> &Transaction<'a> {
        &self.transaction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_escape_their_spaces() {
        let options = options();
        assert!(options.contains("-c default_transaction_isolation=read\\ committed -c"));
        assert!(options.starts_with("-c DateStyle=ISO -c "));
    }

    #[test]
    fn a_leg_is_not_taken_for_one_whose_number_begins_alike() {
        let leg = |number| LegId {
            job: "0123456789ab".parse().unwrap(),
            number,
        };
        let longer = application_name(&leg(10), "apply");
        assert!(!longer.starts_with(&application_name(&leg(1), "")));
        assert!(longer.len() < 63);
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        for code in [
            "08006", "40001", "40P01", "55P03", "57P01", "53300", "VG002",
        ] {
            assert_eq!(Class::of_code(code), Class::Retryable, "{code}");
        }
        for code in ["23505", "42P01", "VG003"] {
            assert_eq!(Class::of_code(code), Class::Fatal, "{code}");
        }
        assert_eq!(Class::of_code("VG004"), Class::StaleTerm);
    }
}
