//! The term of a shard: what earlier leaders still try there is refused.

use topology::{Term, hash};

use super::{Error, sql};
use crate::reshard::session::Session;

/// Raises the term, after schema `vg` was brought to its present form. A leader's first act on a
/// shard, after it has ended the sessions of earlier ones; waits for transactions of theirs that
/// are still open.
///
/// # Errors
/// [`super::Class::StaleTerm`] when a later leader was here.
pub async fn raise(session: &mut Session, term: Term) -> Result<(), Error> {
    let schema = sql::schema();
    let fingerprint = format!("sharding {}", hash::hash_bytes(schema.as_bytes()));
    let shard = session.shard().clone();
    let what = "raise the term";
    let error = |source| crate::reshard::session::Error::Statement {
        shard: shard.clone(),
        what,
        source,
    };
    let transaction = session.transaction().await.map_err(error)?;
    let lock = format!(
        "SELECT pg_catalog.pg_advisory_xact_lock({}, 0); {}",
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
