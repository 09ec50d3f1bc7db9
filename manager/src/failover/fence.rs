//! Makes sure that an old primary takes no writes any more.
//!
//! One that answers is told so in its own configuration, which replicas do not copy: every new
//! session of a client fails at its start, by a library that does not exist, and those that are
//! open are ended. It goes on sending its log. Nothing but a change of that configuration, by hand
//! or by building the server anew from the new primary, undoes it.

use std::process::Stdio;
use std::time::Duration;

use platform::telemetry::error_chain;
use tokio::time::{Instant, sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use topology::{Endpoint, ShardId};

use crate::reshard::lsn::Lsn;
use crate::shards::{Error as ShardError, Shards};

/// The library that does not exist.
const BARRIER: &str = "sharding_old_primary_is_fenced";
/// How long the server may take to hear of its configuration, and its sessions to end.
const LIMIT: Duration = Duration::from_secs(10);
/// Between two looks.
const POLL: Duration = Duration::from_millis(20);

const PREVIOUS: &str = "\
SELECT setting FROM pg_catalog.pg_file_settings WHERE name = 'session_preload_libraries' \
  AND sourcefile LIKE '%postgresql.auto.conf' ORDER BY seqno DESC LIMIT 1";

const END_SESSIONS: &str = "\
SELECT pid, pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity \
WHERE backend_type IN ('client backend', 'parallel worker') AND pid <> pg_catalog.pg_backend_pid()";

/// Why an old primary is not known to be fenced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be asked.
    #[error(transparent)]
    Silent(#[from] ShardError),
    /// It refuses to be fenced.
    #[error("{endpoint} cannot be fenced: {reason}")]
    Refused {
        /// The server.
        endpoint: Endpoint,
        /// What it says.
        reason: String,
    },
    /// The command that stops servers did not succeed.
    #[error("the fence command did not stop {endpoint}: {reason}")]
    Command {
        /// The server.
        endpoint: Endpoint,
        /// What became of it.
        reason: String,
    },
}

/// An old primary that takes no writes.
#[derive(Debug)]
pub enum Fenced {
    /// By this session, the only one that it has and that could undo it.
    Now(Box<Held>),
    /// By an earlier attempt: it lets nobody in.
    Before,
}

/// The last session of a fenced server.
#[derive(Debug)]
pub struct Held {
    client: Client,
    previous: Option<String>,
}

/// Whether a server refuses its clients since it is fenced.
#[must_use]
pub fn is_fenced(error: &ShardError) -> bool {
    let ShardError::Unreachable { source, .. } = error else {
        return false;
    };
    let said = source.as_db_error();
    said.is_some_and(|said| {
        *said.code() == SqlState::UNDEFINED_FILE && said.message().contains(BARRIER)
    })
}

/// Fences a server.
///
/// # Errors
/// [`Error`]: it may or may not take writes.
pub async fn fence(shards: &Shards, shard: &ShardId, server: &Endpoint) -> Result<Fenced, Error> {
    let client = match shards.login_at(shard, server, settings()).await {
        Ok(client) => client,
        Err(error) if is_fenced(&error) => return Ok(Fenced::Before),
        Err(error) => return Err(error.into()),
    };
    let held = timeout(LIMIT, close(client, shards, (shard, server))).await;
    let held = held.unwrap_or_else(|_| Err(refused(server, "it took too long")))?;
    Ok(Fenced::Now(Box::new(held)))
}

fn settings() -> tokio_postgres::Config {
    let mut settings = tokio_postgres::Config::new();
    settings
        .application_name("sharding-manager/fence")
        .options("-c statement_timeout=10s -c default_transaction_read_only=off");
    settings
}

fn refused(server: &Endpoint, reason: impl Into<String>) -> Error {
    Error::Refused {
        endpoint: server.clone(),
        reason: reason.into(),
    }
}

async fn close(
    client: Client,
    shards: &Shards,
    (shard, server): (&ShardId, &Endpoint),
) -> Result<Held, Error> {
    let failed = |error: tokio_postgres::Error| refused(server, error_chain(&error));
    let previous = client.query_opt(PREVIOUS, &[]).await.map_err(failed)?;
    let held = Held {
        previous: previous.and_then(|row| row.get(0)),
        client,
    };
    let closed = async {
        let barrier = format!("ALTER SYSTEM SET session_preload_libraries = '{BARRIER}'");
        for sql in [
            barrier.as_str(),
            "ALTER SYSTEM SET default_transaction_read_only = on",
            "SELECT pg_catalog.pg_reload_conf()",
        ] {
            held.client.batch_execute(sql).await.map_err(failed)?;
        }
        // The server hears of it in its own time: until then it still lets sessions in.
        loop {
            match shards.login_at(shard, server, settings()).await {
                Err(error) if is_fenced(&error) => break,
                Ok(_) | Err(_) => sleep(POLL).await,
            }
        }
        loop {
            let ended = held.client.query(END_SESSIONS, &[]).await.map_err(failed)?;
            if ended.is_empty() {
                return Ok(());
            }
            sleep(POLL).await;
        }
    };
    match timeout(LIMIT - POLL, closed).await {
        Ok(Ok(())) => Ok(held),
        Ok(Err(error)) => {
            held.release().await;
            Err(error)
        }
        Err(_) => {
            held.release().await;
            Err(refused(server, "its sessions do not end"))
        }
    }
}

impl Held {
    /// How far the log is on the fenced server's disk.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn position(&self) -> Result<Lsn, tokio_postgres::Error> {
        let sql = "SELECT (pg_catalog.pg_current_wal_flush_lsn() - '0/0')::int8";
        let row = self.client.query_one(sql, &[]).await?;
        let position: i64 = row.try_get(0)?;
        Ok(Lsn(u64::try_from(position).unwrap_or(0)))
    }

    /// Lets clients in again.
    pub async fn release(&self) {
        let preload = match &self.previous {
            None => "ALTER SYSTEM RESET session_preload_libraries".to_owned(),
            Some(previous) => format!(
                "ALTER SYSTEM SET session_preload_libraries = {}",
                wire::quote::literal(previous)
            ),
        };
        for sql in [
            preload.as_str(),
            "ALTER SYSTEM RESET default_transaction_read_only",
            "SELECT pg_catalog.pg_reload_conf()",
        ] {
            if let Err(error) = self.client.batch_execute(sql).await {
                let error = error_chain(&error);
                tracing::error!(error, "a fenced server could not be opened again");
            }
        }
    }
}

/// Has an operator's command stop a server.
///
/// # Errors
/// [`Error::Command`] unless it ends with 0 in time.
pub async fn by_command(
    command: &[String],
    limit: Duration,
    (shard, server): (&ShardId, &Endpoint),
) -> Result<(), Error> {
    let failed = |reason: String| Error::Command {
        endpoint: server.clone(),
        reason,
    };
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| failed("there is none".to_owned()))?;
    let began = Instant::now();
    let mut child = tokio::process::Command::new(program);
    child
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("SHARD_ID", shard.as_str())
        .env("SHARD_HOST", server.host())
        .env("SHARD_PORT", server.port().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let output = timeout(limit, child.output()).await;
    let output = output.map_err(|_| failed(format!("it did not end within {limit:?}")))?;
    let output = output.map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        tracing::info!(%shard, %server, took = ?began.elapsed(), "fence command succeeded");
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().take(500).collect();
    Err(failed(format!("{}: {said}", output.status)))
}
