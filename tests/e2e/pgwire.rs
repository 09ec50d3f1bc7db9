//! The Postgres front: what an application and its driver see, against what PostgreSQL would send.

use std::fmt::Debug;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::raw::Message;
use tokio_postgres::error::DbError;

use crate::suite::Suite;

mod bound;
mod bounds;
mod by_sql;
mod cancel;
mod changed;
mod copy;
mod cursors;
mod encodings;
mod fidelity;
mod hints;
mod keys;
mod limits;
mod login;
mod one_connection;
mod peers;
mod pipeline;
mod refusals;
mod schema;
mod session;
mod shards_tls;
mod sharing;
mod threads;
mod tls;
mod transactions;
mod unnamed;
mod waiting;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        waiting::trials(suite),
        limits::trials(suite),
        shards_tls::trials(suite),
        threads::trials(suite),
        tls::trials(suite),
        peers::trials(suite),
        bound::trials(suite),
        bounds::trials(suite),
        cancel::trials(suite),
        changed::trials(suite),
        one_connection::trials(suite),
        copy::trials(suite),
        cursors::trials(suite),
        encodings::trials(suite),
        login::trials(suite),
        keys::trials(suite),
        transactions::trials(suite),
        fidelity::trials(suite),
        session::trials(suite),
        sharing::trials(suite),
        pipeline::trials(suite),
        hints::trials(suite),
        refusals::trials(suite),
        schema::trials(suite),
        by_sql::trials(suite),
        unnamed::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// The server's error of a statement that must not succeed.
pub(crate) fn refused<T: Debug>(
    result: Result<T, tokio_postgres::Error>,
) -> anyhow::Result<DbError> {
    let error = result.err().context("the statement succeeded")?;
    let cause = error.as_db_error().cloned();
    cause.with_context(|| format!("not an error of the server: {error}"))
}

/// The SQLSTATE of the first error among some messages.
pub(crate) fn sqlstate(messages: &[Message]) -> Option<String> {
    messages.iter().find_map(Message::sqlstate)
}

/// The SQLSTATE and the text of the first error among some messages.
pub(crate) fn error_of(messages: &[Message]) -> anyhow::Result<(String, String)> {
    let error = messages.iter().find(|message| message.tag == b'E');
    let mut fields = error
        .with_context(|| format!("no error in {messages:?}"))?
        .fields();
    let (code, text) = (fields.remove(&'C'), fields.remove(&'M'));
    Ok((code.unwrap_or_default(), text.unwrap_or_default()))
}

/// The transaction status in the ReadyForQuery that ends some messages: I, T or E.
pub(crate) fn status(messages: &[Message]) -> anyhow::Result<char> {
    let last = messages.last().filter(|message| message.tag == b'Z');
    let byte = last.and_then(|message| message.body.first());
    byte.map(|&byte| char::from(byte))
        .with_context(|| format!("no ReadyForQuery: {messages:?}"))
}

/// The first column of all rows among some messages, as text.
pub(crate) fn column(messages: &[Message]) -> anyhow::Result<Vec<String>> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(|row| {
        let value = row
            .values()?
            .into_iter()
            .next()
            .flatten()
            .unwrap_or_default();
        Ok(String::from_utf8(value)?)
    })
    .collect()
}
