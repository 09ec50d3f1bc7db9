//! The term of a shard: what earlier leaders still try there is refused.

use tokio_postgres::error::SqlState;
use topology::{Term, hash};

use super::{Error, sql};
use crate::reshard::session::{self, Session};

/// How long the transactions of earlier leaders are waited for at a time.
const WAIT: &str = "SET LOCAL lock_timeout = '1s'";

/// How often.
const TRIES: u32 = 10;

/// Raises the term, after schema `vg` was brought to its present form. A leader's first act on a
/// shard, after it has ended the sessions of earlier ones that are in its way by their names; waits
/// for transactions of theirs that are still open. One that rests is ended: its manager may be
/// frozen in the middle of it.
///
/// # Errors
/// [`super::Class::StaleTerm`] when a later leader was here, and [`super::Class::Retryable`] when
/// transactions are at work for too long.
pub async fn raise(session: &mut Session, term: Term) -> Result<(), Error> {
    for _ in 1..TRIES {
        match try_to_raise(session, term).await {
            Err(error) if is_late(&error) => end_resting(session).await?,
            done => return Ok(done?),
        }
    }
    Ok(try_to_raise(session, term).await?)
}

async fn try_to_raise(session: &mut Session, term: Term) -> Result<(), session::Error> {
    let schema = sql::schema();
    let fingerprint = format!("sharding {}", hash::hash_bytes(schema.as_bytes()));
    let shard = session.shard().clone();
    let what = "raise the term";
    let error = |source| session::Error::Statement {
        shard: shard.clone(),
        what,
        source,
    };
    let transaction = session.transaction().await.map_err(error)?;
    let lock = format!(
        "{WAIT}; SELECT pg_catalog.pg_advisory_xact_lock({}, 0); SET LOCAL lock_timeout = 0; {}",
        sql::TERM_CLASS,
        sql::STRONG_COMMIT
    );
    transaction.batch_execute(&lock).await.map_err(error)?;
    let question = "SELECT pg_catalog.obj_description(oid, 'pg_namespace') \
                    FROM pg_catalog.pg_namespace WHERE nspname = 'vg'";
    let found = transaction.query_opt(question, &[]).await.map_err(error)?;
    let found: Option<String> = found.and_then(|row| row.get(0));
    if found.as_deref() != Some(&fingerprint) {
        let create = format!("{schema} COMMENT ON SCHEMA vg IS '{fingerprint}';");
        transaction.batch_execute(&create).await.map_err(error)?;
    }
    let raise = format!("SELECT vg.raise_term({term})");
    transaction.batch_execute(&raise).await.map_err(error)?;
    transaction.commit().await.map_err(error)?;
    Ok(())
}

/// Ends the sessions that hold the lock of the term in a transaction in which they have done nothing
/// for a second. None of this leader does: it does all that it does in such a transaction at once.
async fn end_resting(session: &Session) -> Result<(), Error> {
    let sql = format!(
        "SELECT pg_catalog.pg_terminate_backend(a.pid) \
         FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
         WHERE l.locktype = 'advisory' AND l.classid = {} AND l.objid = 0 AND l.objsubid = 2 \
           AND l.granted AND l.pid <> pg_catalog.pg_backend_pid() \
           AND a.datname = pg_catalog.current_database() \
           AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = a.datname) \
           AND a.state LIKE 'idle in transaction%' \
           AND a.state_change < pg_catalog.clock_timestamp() - interval '1 second'",
        sql::TERM_CLASS
    );
    let ended = session.query(&sql, &[]).await;
    let ended =
        ended.map_err(|error| session.error("end transactions of earlier leaders", error))?;
    if !ended.is_empty() {
        let (shard, count) = (session.shard(), ended.len());
        tracing::warn!(%shard, count, "transactions of an earlier leader rested, and were ended");
    }
    Ok(())
}

fn is_late(error: &session::Error) -> bool {
    match error {
        session::Error::Statement { source, .. } => {
            source.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
        }
        session::Error::Login(_) | session::Error::StillThere { .. } => false,
    }
}

/// The present term; none where no leader was.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn present(session: &Session) -> Result<Option<Term>, Error> {
    let sql = "SELECT pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass('vg.term'))";
    let row = session.query_one(sql, &[]).await;
    let row = row.map_err(|e| session.error("read the term", e))?;
    let term: Option<i64> = row.get(0);
    Ok(term.and_then(|term| u64::try_from(term).ok()).map(Term))
}
