//! Removes rows from a shard that does not own them, a few blocks of a table at a time.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use topology::Term;

use crate::identifier;
use crate::reshard::guard::{Guarded, sql};
use crate::reshard::session::{Error, Session};

/// How much is removed at a time, and how long the shard rests after it.
#[derive(Debug, Clone, Copy)]
pub struct Throttle {
    /// Blocks of a table that one transaction looks at.
    pub blocks: u32,
    /// The least rest between two; it rests at least as long as it worked.
    pub pause: Duration,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            blocks: 128,
            pause: Duration::from_millis(5),
        }
    }
}

/// Removes all rows of the leg's ranges from its tables, whatever the leg's guard says, and tells
/// `progress` of each batch. May be stopped at any time and begun anew.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn remove_rows(
    session: &mut Session,
    term: Term,
    guarded: &Guarded,
    throttle: Throttle,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, Error> {
    let mut removed = 0;
    for table in &guarded.tables {
        let name = identifier::quoted(&table.name);
        let condition = sql::is_inside(
            &wire::quote::ident(&table.key_column),
            table.key_type,
            &guarded.bounds,
        );
        for relation in leaves(session, &name).await? {
            let delete = format!("DELETE FROM ONLY {relation} WHERE {condition}");
            removed += remove(
                session,
                term,
                guarded,
                (&relation, &delete),
                throttle,
                progress,
            )
            .await?;
        }
    }
    Ok(removed)
}

/// The relations with a table's rows: itself, or those of its partitions that have none.
async fn leaves(session: &Session, table: &str) -> Result<Vec<String>, Error> {
    let question = "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) \
         FROM vg.tree(pg_catalog.to_regclass($1)) AS t(oid) \
         JOIN pg_catalog.pg_class c ON c.oid = t.oid AND c.relkind = 'r' \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace ORDER BY 1";
    let rows = session.query(question, &[&table]).await;
    let rows = rows.map_err(|e| session.error("look at a table's partitions", e))?;
    Ok(rows.iter().map(|row| row.get(0)).collect())
}

async fn remove(
    session: &mut Session,
    term: Term,
    guarded: &Guarded,
    (relation, delete): (&str, &str),
    throttle: Throttle,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<u64, Error> {
    let what = "remove rows that have moved";
    let (mut block, mut removed) = (0_i64, 0);
    let step = i64::from(throttle.blocks.max(1));
    // The table may grow while it is walked through.
    while block < blocks(session, relation).await? {
        let start = Instant::now();
        let work = session.begin(term).await?;
        let tag = guarded.leg.tag();
        let pass = format!(
            "SET LOCAL session_replication_role = replica; SET LOCAL vg.apply = '{tag}'; \
             SET LOCAL lock_timeout = '10s'; SET LOCAL synchronous_commit = off;"
        );
        work.run(what, &pass).await?;
        let end = block + step;
        let batch = format!("{delete} AND ctid >= '({block},0)'::tid AND ctid < '({end},0)'::tid");
        let rows = work.execute(&batch, &[]).await;
        let rows = rows.map_err(|e| work.error(what, e))?;
        work.commit(what).await?;
        removed += rows;
        progress(rows);
        block = end;
        if rows > 0 {
            sleep(throttle.pause.max(start.elapsed())).await;
        }
    }
    Ok(removed)
}

async fn blocks(session: &Session, relation: &str) -> Result<i64, Error> {
    let question = "SELECT pg_catalog.pg_relation_size(pg_catalog.to_regclass($1)) \
         / pg_catalog.current_setting('block_size')::bigint";
    let row = session.query_one(question, &[&relation]).await;
    let row = row.map_err(|e| session.error("read the size of a table", e))?;
    Ok(row.get::<_, Option<i64>>(0).unwrap_or(0))
}
