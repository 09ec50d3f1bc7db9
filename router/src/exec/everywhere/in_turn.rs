//! Statements that PostgreSQL runs outside of transaction blocks only: on one shard after the
//! other. What fails on one of them is done on those before it; the error says on which.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::frame::Frame;
use wire::quote::{ident, literal, qualified};

use super::participant::Participant;
use super::{Failure, MAX_ANSWER_BYTES};
use crate::error::Error;
use crate::exec::cancel;
use crate::pool::Pool;
use crate::pool::settings::Settings;
use crate::query::NewIndex;
use crate::route::Refusal;

/// Within what a change has to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// How long one shard may take over the statement.
    pub(super) limit: Option<Duration>,
    /// How long a shard may take over what it can do at once.
    pub(super) grace: Duration,
}

/// Runs a statement on each shard.
pub(super) async fn run(
    pools: &[&Pool],
    settings: &Settings,
    sql: &str,
    terms: Terms,
) -> Result<Bytes, Failure> {
    let settings = Arc::new(settings.clone());
    let mut answer = BytesMut::new();
    for (at, pool) in pools.iter().enumerate() {
        match run_on(pool, &settings, sql, terms).await {
            Ok(frames) => answer = joined(answer, &frames),
            Err(failure) => {
                let (done, left) = pools.split_at(at);
                return Err(told(failure, &on(done, left)));
            }
        }
    }
    Ok(answer.freeze())
}

/// Runs CREATE INDEX CONCURRENTLY on each shard. What fails on one is taken back on all where the
/// index was made, and where PostgreSQL has left an invalid one.
pub(super) async fn create_index(
    pools: &[&Pool],
    settings: &Settings,
    (sql, index): (&str, &NewIndex),
    terms: Terms,
) -> Result<Bytes, Failure> {
    let Some(name) = &index.name else {
        let message = "CREATE INDEX CONCURRENTLY without a name can't be taken back on one shard \
                       when it fails on another";
        return Err(Refusal::unsupported(message).hint("name the index").into());
    };
    let settings = Arc::new(settings.clone());
    // Where the index is found before, it is somebody else's: PostgreSQL refuses to make it anew,
    // or is told to leave it.
    let mut places = Vec::with_capacity(pools.len());
    for pool in pools {
        places.push(place_of(pool, &settings, (name, index)).await?);
    }
    let mut answer = BytesMut::new();
    for (at, pool) in pools.iter().enumerate() {
        match run_on(pool, &settings, sql, terms).await {
            Ok(frames) => answer = joined(answer, &frames),
            Err(failure) => {
                let ours = pools.iter().zip(&places).take(at + 1);
                let mut left = Vec::new();
                for (pool, place) in ours.filter(|(_, place)| !place.is_there) {
                    let drop = format!("DROP INDEX CONCURRENTLY IF EXISTS {}", place.index);
                    if run_on(pool, &settings, &drop, terms).await.is_err() {
                        left.push(pool.shard());
                    }
                }
                return Err(told(failure, &taken_back(&left)));
            }
        }
    }
    Ok(answer.freeze())
}

/// Where an index is to be on one shard.
struct Place {
    /// Its name with its schema, quoted.
    index: String,
    is_there: bool,
}

async fn place_of(
    pool: &Pool,
    settings: &Arc<Settings>,
    (name, index): (&str, &NewIndex),
) -> Result<Place, Failure> {
    let table = match &index.table.schema {
        Some(schema) => qualified(schema, &index.table.name),
        None => ident(&index.table.name),
    };
    let question = format!(
        "SELECT pg_catalog.format('%I.%I', n.nspname, {name}), \
           pg_catalog.to_regclass(pg_catalog.format('%I.%I', n.nspname, {name})) IS NOT NULL \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.oid = pg_catalog.to_regclass({table})",
        name = literal(name),
        table = literal(&table),
    );
    let mut shard = Participant::borrow(pool).await?;
    shard.establish(settings, b"").await?;
    let rows = shard.rows(&question).await?;
    shard.give_back_idle();
    // Without the table the statement fails by itself.
    let row = rows.into_iter().next().unwrap_or_default();
    let mut values = row.into_iter();
    let found = values.next().flatten();
    Ok(Place {
        index: found.unwrap_or_else(|| ident(name)),
        is_there: values.next().flatten().is_none_or(|there| there == "t"),
    })
}

/// Runs a statement on one shard, outside of a transaction.
async fn run_on(
    pool: &Pool,
    settings: &Arc<Settings>,
    sql: &str,
    terms: Terms,
) -> Result<Bytes, Failure> {
    let mut shard = Participant::borrow(pool).await?;
    shard.establish(settings, b"").await?;
    let ran = match terms.limit {
        None => shard.run_alone(sql).await,
        Some(limit) => match tokio::time::timeout(limit, shard.run_alone(sql)).await {
            Ok(ran) => ran,
            Err(_) => {
                if let Some(lease) = shard.lease.take() {
                    cancel::stop(lease, terms.grace).await;
                }
                return Err(Error::Timeout(limit).into());
            }
        },
    };
    if !matches!(ran, Err(Failure::Own(_))) {
        shard.give_back_idle();
    }
    ran
}

/// The notices of both, and the newer one's end.
fn joined(mut answer: BytesMut, frames: &[u8]) -> BytesMut {
    let is_end = |tag| tag == wire::backend::tag::COMMAND_COMPLETE;
    let mut kept = BytesMut::new();
    let mut rest: &[u8] = &answer;
    while let Ok(Some(frame)) = Frame::parse(rest, usize::MAX) {
        if !is_end(frame.tag()) && kept.len() + frame.bytes().len() <= MAX_ANSWER_BYTES {
            kept.extend_from_slice(frame.bytes());
        }
        rest = rest.get(frame.bytes().len()..).unwrap_or_default();
    }
    answer = kept;
    answer.extend_from_slice(frames);
    answer
}

/// A failure that says how far the statement got.
fn told(failure: Failure, how_far: &str) -> Failure {
    let error = match failure {
        Failure::Shard(frame) => super::told(&frame),
        Failure::Own(error) => error,
    };
    let hint = match error.hint() {
        Some(hint) => format!("{hint}; {how_far}"),
        None => how_far.to_owned(),
    };
    Failure::Own(Error::Shard {
        sqlstate: error.sqlstate().to_owned(),
        message: error.to_string(),
        detail: error.detail().map(str::to_owned),
        hint: Some(hint),
    })
}

fn on(done: &[&Pool], left: &[&Pool]) -> String {
    let Some((failed, untouched)) = left.split_first() else {
        return String::new();
    };
    let mut text = format!("it failed on shard {}", failed.shard());
    if !done.is_empty() {
        text += &format!(", is done on {}", listed(done.iter().map(|it| it.shard())));
    }
    if !untouched.is_empty() {
        let untouched = listed(untouched.iter().map(|it| it.shard()));
        text += &format!(", was not begun on {untouched}");
    }
    text + ": compare them with \"shardctl schema diff\", and run it again"
}

fn taken_back(left: &[&ShardId]) -> String {
    if left.is_empty() {
        return "no shard has the index".to_owned();
    }
    format!(
        "the index is left on shards {}, where it may be invalid: see \"shardctl schema diff\" and \
         drop it",
        listed(left.iter().copied())
    )
}

fn listed<'a>(shards: impl Iterator<Item = &'a ShardId>) -> String {
    let names: Vec<&str> = shards.map(ShardId::as_str).collect();
    names.join(", ")
}
