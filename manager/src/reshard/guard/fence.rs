//! Who owns the moving rows of a leg, as a shard itself knows it: its fence is open there, or
//! closed by an epoch.

use std::time::Duration;

use tokio_postgres::SimpleQueryMessage;
use topology::{Epoch, Term};

use super::{Error, Guarded, sql};
use crate::reshard::ids::LegId;
use crate::reshard::lsn::Lsn;
use crate::reshard::session::{self, Session};

/// The fingerprint of the schema of the tables: the same on every shard where they are defined
/// alike.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn schema_hash(session: &Session, guarded: &Guarded) -> Result<String, Error> {
    let what = "read the schema of tables";
    ask(session, what, &sql::schema_hash_of(guarded)).await
}

/// What stays the same, on one shard, as long as nobody changes how the tables are defined there.
/// It takes far less time than the fingerprint, so that it is asked for behind a fence; least in a
/// session that has asked before.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn schema_stamp(session: &Session, guarded: &Guarded) -> Result<String, Error> {
    let what = "look whether the schema of tables has changed";
    ask(session, what, &sql::schema_stamp_of(guarded)).await
}

async fn ask(session: &Session, what: &'static str, expression: &str) -> Result<String, Error> {
    let question = format!("SELECT {expression}");
    let row = session.query_one(&question, &[]).await;
    let row = row.map_err(|error| session.error(what, error))?;
    Ok(row.get(0))
}

/// Makes ready in a session what [`fence`] and [`open`] take longest for, without an effect.
///
/// # Errors
/// As [`open`]; a term that is not the present one is told here already.
pub async fn rehearse(session: &mut Session, term: Term, guarded: &Guarded) -> Result<(), Error> {
    let text = sql::rehearse(guarded, term);
    in_transaction(session, "rehearse a fence", &text).await?;
    Ok(())
}

/// Closes the fence, once all transactions that wrote moving rows have ended, and marks the place
/// in the log: all their commits are before it, and none comes after it. The answer is a place
/// behind the marker's commit.
///
/// Waits at most `budget` for those transactions; the guard refuses new ones meanwhile. When this
/// ends with an error the fence may be closed nevertheless, with or without the marker: only
/// [`open`] or another fence says what it is then. A caller that gives up waiting drops the
/// session.
///
/// # Errors
/// Retryable when a transaction outlasts the budget. Fatal when a guard is missing (VG005).
pub async fn fence(
    session: &mut Session,
    term: Term,
    guarded: &Guarded,
    epoch: Epoch,
    budget: Duration,
) -> Result<Lsn, Error> {
    let text = sql::fence(guarded, term, epoch, budget.as_millis().max(1));
    let messages = in_transaction(session, "close a fence", &text).await?;
    let mut lsn = None;
    for message in &messages {
        if let SimpleQueryMessage::Row(row) = message {
            lsn = row.get(0);
        }
    }
    let lsn = lsn.unwrap_or_default();
    lsn.parse().map_err(|source| Error::Answer {
        shard: session.shard().clone(),
        source,
    })
}

/// Opens the fence: this shard owns the rows again, or from now on.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn open(session: &mut Session, term: Term, leg: &LegId) -> Result<(), Error> {
    // Nobody holds the lock for longer than it takes to be refused.
    set(session, term, leg, Epoch(0), Duration::from_secs(1)).await
}

/// Closes the fence without a marker, once all transactions that wrote moving rows have ended.
///
/// # Errors
/// Retryable when a transaction outlasts the budget.
pub async fn close(
    session: &mut Session,
    term: Term,
    leg: &LegId,
    epoch: Epoch,
    budget: Duration,
) -> Result<(), Error> {
    set(session, term, leg, epoch, budget).await
}

async fn set(
    session: &mut Session,
    term: Term,
    leg: &LegId,
    epoch: Epoch,
    budget: Duration,
) -> Result<(), Error> {
    let text = format!(
        "BEGIN; SELECT vg.enter({term}); SET LOCAL lock_timeout = {}; {} {} {} COMMIT;",
        budget.as_millis().max(1),
        sql::STRONG_COMMIT,
        sql::lock_fence(leg),
        sql::set_fence(leg, epoch),
    );
    in_transaction(session, "set a fence", &text).await?;
    Ok(())
}

/// Sends a whole transaction as one message; ends it where it stopped in the middle.
async fn in_transaction(
    session: &mut Session,
    what: &'static str,
    text: &str,
) -> Result<Vec<SimpleQueryMessage>, session::Error> {
    match session.simple_query(text).await {
        Ok(messages) => Ok(messages),
        Err(error) => {
            // The first error is the one to tell; a session that is broken shows it again.
            drop(session.batch_execute("ROLLBACK").await);
            Err(session.error(what, error))
        }
    }
}

/// The epoch that closed the fence, 0 when it is open; none when there is no fence.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn state(session: &Session, leg: &LegId) -> Result<Option<Epoch>, Error> {
    let question = "SELECT pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass($1))";
    let name = format!("vg.{}", leg.fence());
    let row = session.query_one(question, &[&name]).await;
    let row = row.map_err(|e| session.error("read a fence", e))?;
    let epoch: Option<i64> = row.get(0);
    Ok(epoch.and_then(|epoch| u64::try_from(epoch).ok()).map(Epoch))
}

/// A transaction that has written moving rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Holder {
    /// Its backend; none when it is prepared.
    pub pid: Option<i32>,
    /// Its name, when it is prepared.
    pub gid: Option<String>,
    /// Since it began, or was prepared.
    pub age: Duration,
    /// What its backend does: `active`, `idle in transaction` ...
    pub state: String,
    /// Who it says that it is.
    pub application_name: String,
}

/// Transactions that have written moving rows and that a fence has to wait for, oldest first.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn holders(session: &Session, leg: &LegId) -> Result<Vec<Holder>, Error> {
    let question = "SELECT l.pid, p.gid, coalesce(extract(epoch FROM pg_catalog.clock_timestamp() \
           - coalesce(a.xact_start, p.prepared)), 0)::float8, \
           coalesce(a.state, 'prepared'), coalesce(a.application_name, '') \
         FROM pg_catalog.pg_locks l \
         LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         LEFT JOIN pg_catalog.pg_locks x ON l.pid IS NULL AND x.pid IS NULL \
           AND x.locktype = 'transactionid' AND x.mode = 'ExclusiveLock' \
           AND x.virtualtransaction = l.virtualtransaction \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = x.transactionid \
         WHERE l.locktype = 'advisory' AND l.classid = $1::int4::oid AND l.objid = $2::int4::oid \
           AND l.objsubid = 2 AND l.granted AND l.mode = 'ShareLock' \
           AND l.database = (SELECT oid FROM pg_catalog.pg_database \
                             WHERE datname = pg_catalog.current_database()) \
         ORDER BY 3 DESC";
    let (class, key) = (sql::FENCE_CLASS, sql::lock_key(leg));
    let rows = session.query(question, &[&class, &key]).await;
    let rows = rows.map_err(|e| session.error("look for writers of moving rows", e))?;
    let holder = |row: &tokio_postgres::Row| Holder {
        pid: row.get(0),
        gid: row.get(1),
        age: Duration::try_from_secs_f64(row.get::<_, f64>(2).max(0.0)).unwrap_or_default(),
        state: row.get(3),
        application_name: row.get(4),
    };
    Ok(rows.iter().map(holder).collect())
}

/// Ends the backends of [`holders`] that are older than `age`; their transactions are rolled back
/// and were never acknowledged. Those that are prepared stay, since somebody has promised them.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn terminate_holders(
    session: &Session,
    leg: &LegId,
    age: Duration,
) -> Result<Vec<Holder>, Error> {
    let mut holders = holders(session, leg).await?;
    holders.retain(|holder| holder.age >= age && holder.pid.is_some());
    let pids: Vec<i32> = holders.iter().filter_map(|holder| holder.pid).collect();
    let sql = "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.unnest($1::int4[]) pid";
    let done = session.query(sql, &[&pids]).await;
    done.map_err(|e| session.error("end writers of moving rows", e))?;
    Ok(holders)
}
