//! Copies a reference table to a shard that has none of its rows.

use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use topology::{TableName, Term};

use super::Error;
use crate::identifier;
use crate::reshard::session::{Session, Work};

/// How long other writers of the table may be waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Copies all rows of a table if the target's has none, and sees to it that both have the same.
/// Both are locked against writers meanwhile, so that a write that goes to all shards is on both
/// or on neither. Returns the number of rows that were copied.
///
/// # Errors
/// [`Error::Differs`] when the target's has other rows.
pub async fn copy_reference(
    source: &mut Session,
    target: &mut Session,
    term: Term,
    table: &TableName,
) -> Result<u64, Error> {
    let (from, to) = (source.shard().clone(), target.shard().clone());
    let name = identifier::quoted(table);
    let (source, target) = (source.begin(term).await?, target.begin(term).await?);
    for work in [&source, &target] {
        let lock = format!(
            "SET LOCAL lock_timeout = {}; LOCK TABLE {name} IN EXCLUSIVE MODE",
            LOCK_TIMEOUT.as_millis()
        );
        work.run("lock a reference table", &lock).await?;
    }
    let wanted = content(&source, &name).await?;
    let mut copied = 0;
    if content(&target, &name).await?.0 == 0 && wanted.0 > 0 {
        copied = copy(&source, &target, &name).await?;
    }
    let found = content(&target, &name).await?;
    if found != wanted {
        return Err(Error::Differs {
            table: table.clone(),
            source_shard: from,
            target: to,
            what: format!(
                "it has {} rows, the other has {}, or they are not the same",
                found.0, wanted.0
            ),
        });
    }
    target.commit("copy a reference table").await?;
    source.commit("copy a reference table").await?;
    Ok(copied)
}

/// How many rows there are, and a sum over them.
async fn content(work: &Work<'_>, name: &str) -> Result<(i64, String), Error> {
    let question = format!(
        "SELECT pg_catalog.count(*), coalesce(pg_catalog.sum(pg_catalog.hashtextextended(t::text, 0)), 0)::text FROM {name} t"
    );
    let row = work.query_one(&question, &[]).await;
    let row = row.map_err(|e| work.error("read a reference table", e))?;
    Ok((row.get(0), row.get(1)))
}

async fn copy(source: &Work<'_>, target: &Work<'_>, name: &str) -> Result<u64, Error> {
    let what = "copy a reference table";
    let question = "SELECT pg_catalog.string_agg(pg_catalog.quote_ident(attname), ', ' ORDER BY attnum) \
         FROM pg_catalog.pg_attribute WHERE attrelid = pg_catalog.to_regclass($1) \
           AND attnum > 0 AND NOT attisdropped AND attgenerated = ''";
    let row = source.query_one(question, &[&name]).await;
    let row = row.map_err(|e| source.error(what, e))?;
    let columns: String = row.get::<_, Option<String>>(0).unwrap_or_default();
    let out = format!("COPY (SELECT {columns} FROM {name}) TO STDOUT (FORMAT binary)");
    let out = source.copy_out(&out).await;
    let out = out.map_err(|e| source.error(what, e))?;
    let into = format!("COPY {name} ({columns}) FROM STDIN (FORMAT binary)");
    let sink = target.copy_in(&into).await;
    let sink = sink.map_err(|e| target.error(what, e))?;
    pin_mut!(out, sink);
    while let Some(bytes) = out.next().await {
        let bytes = bytes.map_err(|e| source.error(what, e))?;
        let sent = futures_util::SinkExt::send(&mut sink, bytes).await;
        sent.map_err(|e| target.error(what, e))?;
    }
    let rows = sink.finish().await.map_err(|e| target.error(what, e))?;
    Ok(rows)
}
