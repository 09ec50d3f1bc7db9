//! Replication origins: how far a mirror is, kept in the same commit as the rows.
//!
//! An origin and the slot that it is fed from live together: who drops one drops the other, since
//! the place of the one is held against the place of the other after a crash.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use topology::Term;
use wire::quote::literal;

use super::error::Error;
use crate::reshard::ids::LegId;
use crate::reshard::lsn::Lsn;
use crate::reshard::session::{self, Session};

/// How long a session that held the origin may take to end.
const TAKE_LIMIT: Duration = Duration::from_secs(10);
/// Between two looks.
const TAKE_POLL: Duration = Duration::from_millis(3);

const TRY_LOCK: &str = "SELECT pg_try_advisory_lock(hashtextextended($1, 7301))";
/// Whoever holds the lock is from before: there is one applier of an origin.
const END_HOLDER: &str = "\
SELECT l.pid, pg_terminate_backend(l.pid) FROM pg_locks l \
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.pid <> pg_backend_pid() \
  AND (l.classid::int8 << 32) | l.objid::int8 = hashtextextended($1, 7301) \
  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";
const SETUP: &str = "SELECT pg_replication_origin_session_setup($1)";
const PROGRESS: &str = "SELECT pg_replication_origin_progress($1, true)::text";

/// Makes a session the only one that applies under an origin, and tells what was applied under
/// it: nothing yet is [`Lsn::INVALID`]. Whoever held it is ended, and what that one had sent is
/// committed or rolled back before this returns.
///
/// # Errors
/// When the shard refuses, or the former holder does not end.
pub async fn take(session: &Session, origin: &str, term: Term) -> Result<Lsn, Error> {
    let start = Instant::now();
    loop {
        let row = session.query_one(TRY_LOCK, &[&origin]).await;
        let row = row.map_err(|error| session.error("lock a replication origin", error))?;
        if row.get(0) {
            break;
        }
        let rows = session.query(END_HOLDER, &[&origin]).await;
        let rows = rows.map_err(|error| session.error("end a session", error))?;
        wait(session, start, rows.iter().map(|row| row.get(0)).collect()).await?;
    }
    // Within the term: a leader that was replaced leaves none behind.
    let name = literal(origin);
    let create = format!(
        "BEGIN; SELECT vg.enter({term}); SELECT pg_replication_origin_create({name}) \
         WHERE pg_replication_origin_oid({name}) IS NULL; COMMIT"
    );
    let created = session.batch_execute(&create).await;
    created.map_err(|error| session.error("create a replication origin", error))?;
    // A backend gives up its locks a little before its origin.
    loop {
        match session.execute(SETUP, &[&origin]).await {
            Ok(_) => break,
            Err(error) if is_in_use(&error) => wait(session, start, Vec::new()).await?,
            Err(error) => return Err(session.error("use a replication origin", error).into()),
        }
    }
    progress(session, origin).await
}

async fn progress(session: &Session, origin: &str) -> Result<Lsn, Error> {
    let row = session.query_one(PROGRESS, &[&origin]).await;
    let row = row.map_err(|error| session.error("read a replication origin", error))?;
    let text: Option<String> = row.get(0);
    let lsn = text.and_then(|text| text.parse().ok());
    Ok(lsn.unwrap_or(Lsn::INVALID))
}

/// Drops the origins of a leg on a shard whose streams have ended.
///
/// # Errors
/// When the shard refuses.
pub async fn drop_all(session: &Session, leg: &LegId) -> Result<u64, Error> {
    let sql = "SELECT pg_replication_origin_drop(roname) FROM pg_replication_origin \
               WHERE starts_with(roname, $1)";
    let dropped = session.execute(sql, &[&prefix(leg)]).await;
    dropped.map_err(|error| session.error("drop replication origins", error).into())
}

/// What the names of all origins of a leg begin with.
#[must_use]
pub fn prefix(leg: &LegId) -> String {
    format!("vg_{}_", leg.tag())
}

fn is_in_use(error: &tokio_postgres::Error) -> bool {
    error.code() == Some(&tokio_postgres::error::SqlState::OBJECT_IN_USE)
}

async fn wait(session: &Session, start: Instant, pids: Vec<i32>) -> Result<(), Error> {
    if start.elapsed() > TAKE_LIMIT {
        return Err(Error::Session(session::Error::StillThere {
            shard: session.shard().clone(),
            pids,
            limit: TAKE_LIMIT,
        }));
    }
    sleep(TAKE_POLL).await;
    Ok(())
}
