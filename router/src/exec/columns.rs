//! Names the columns of INSERTs that leave them out, by asking a shard which columns their tables
//! have. What is asked is remembered in [`crate::schema`].

use std::sync::Arc;

use bytes::BytesMut;
use topology::TableName;
use wire::backend::{DataRow, tag};
use wire::frontend::encode;
use wire::quote::literal;

use super::conversation::{self, Lost};
use super::exchange::error_of;
use crate::core::Core;
use crate::error::Error;
use crate::pool::settings::Settings;
use crate::pool::{Lease, Pool};
use crate::route::{self, Plan, Refusal};
use crate::schema::Columns;
use crate::view::Serving;

/// Longest message of the answer.
const MAX_MESSAGE_BYTES: usize = 64 << 10;

/// The text with the names of the columns of each INSERT that needs them; none when none does.
///
/// # Errors
/// A table does not exist, or no shard could be asked. Nothing has happened.
pub async fn name(
    core: &Core,
    serving: &Serving,
    sql: &str,
    plans: &[Plan],
) -> Result<Option<String>, Error> {
    let mut inserts = Vec::new();
    for insert in route::unnamed_inserts(plans) {
        let width = insert.unnamed.width.unwrap_or(0);
        inserts.push((insert, of_table(core, serving, &insert.table, width).await?));
    }
    if inserts.is_empty() {
        return Ok(None);
    }
    let inserts: Vec<_> = inserts
        .iter()
        .map(|(it, columns)| (*it, &**columns))
        .collect();
    Ok(route::name_columns(sql, &inserts))
}

async fn of_table(
    core: &Core,
    serving: &Serving,
    table: &TableName,
    width: usize,
) -> Result<Columns, Error> {
    let (schema, epoch) = (&core.schema, serving.snapshot.epoch());
    if let Some(columns) = schema.columns(table, epoch, width) {
        return Ok(columns);
    }
    let _turn = schema.asking.lock().await;
    if let Some(columns) = schema.columns(table, epoch, width) {
        return Ok(columns);
    }
    let asked = schema.ask();
    let limit = core.config.sharding.connect_timeout;
    let columns = tokio::time::timeout(limit, ask_any(serving, table)).await;
    let columns = columns.map_err(|_| Error::Timeout(limit))??;
    if columns.is_empty() {
        return Err(no_table(table).into());
    }
    schema.keep(table, &columns, epoch, asked);
    Ok(columns)
}

/// Asks the first shard that answers.
async fn ask_any(serving: &Serving, table: &TableName) -> Result<Columns, Error> {
    let mut last = Error::NoShard;
    for (_, pool) in serving.ready() {
        match ask(pool, table).await {
            Ok(columns) => return Ok(columns),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn ask(pool: &Pool, table: &TableName) -> Result<Columns, Error> {
    let mut lease = pool.checkout().await.map_err(Error::Pool)?;
    let lost = |_: Lost| Error::BackendLost {
        shard: pool.shard().clone(),
    };
    let unspeakable = |error: wire::EncodeError| Error::Protocol(error.to_string());
    let settings = Arc::new(Settings::default());
    let mut out = BytesMut::new();
    let mut answers = 1;
    if *lease.settings != *settings {
        // A session's limits and its search path are none of this question's.
        encode::query(&mut out, settings.establish().as_bytes()).map_err(unspeakable)?;
        answers += 1;
    }
    encode::query(&mut out, question(table).as_bytes()).map_err(unspeakable)?;
    conversation::send(&mut lease, &mut out)
        .await
        .map_err(lost)?;
    let (mut columns, mut failed) = (Vec::new(), None);
    while answers > 0 {
        let received = conversation::receive(&mut lease, MAX_MESSAGE_BYTES).await;
        let message = received.map_err(lost)?;
        match message.tag() {
            tag::READY_FOR_QUERY => answers -= 1,
            tag::ERROR_RESPONSE => failed = Some(error_of(message.body())),
            tag::DATA_ROW if answers == 1 => columns.extend(column(message.body())),
            _ => {}
        }
    }
    match failed {
        // Which settings are in force now is not known: the backend is closed.
        Some(error) => Err(error),
        None => {
            give_back(lease, settings);
            Ok(columns.into())
        }
    }
}

fn give_back(mut lease: Lease, settings: Arc<Settings>) {
    lease.settings = settings;
    conversation::shrink(&mut lease);
    lease.give_back();
}

fn column(body: &[u8]) -> Option<String> {
    let row = DataRow::decode(body).ok()?;
    let name = row.values.iter().next()??;
    std::str::from_utf8(name).ok().map(str::to_owned)
}

fn question(table: &TableName) -> String {
    format!(
        "SELECT a.attname FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {} AND c.relname = {} AND a.attnum > 0 AND NOT a.attisdropped \
         ORDER BY a.attnum",
        literal(table.schema()),
        literal(table.name())
    )
}

fn no_table(table: &TableName) -> Refusal {
    Refusal {
        sqlstate: "42P01",
        message: format!("relation \"{table}\" does not exist"),
        hint: None,
    }
}
