//! Changes of the schema through the router: all kinds of objects, the registration of tables, and
//! what is done about shards that differ.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Message, Raw};

use crate::suite::Suite;

mod diff;
mod objects;
mod references;
mod register;
mod sequences;
mod unsharded;
mod views;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        diff::trials(suite),
        objects::trials(suite),
        references::trials(suite),
        register::trials(suite),
        sequences::trials(suite),
        unsharded::trials(suite),
        views::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs a statement that must succeed.
async fn done(router: &mut Raw, sql: &str) -> anyhow::Result<Vec<Message>> {
    let answer = router.query(sql).await.context(sql.to_owned())?;
    let code = answer.iter().find_map(Message::sqlstate);
    anyhow::ensure!(code.is_none(), "{sql}: {answer:?}");
    Ok(answer)
}

/// The SQLSTATE, the text and the hint of the error that a statement must end with.
async fn refused(router: &mut Raw, sql: &str) -> anyhow::Result<(String, String, String)> {
    let answer = router.query(sql).await?;
    let error = answer.iter().find(|message| message.tag == b'E');
    let Some(error) = error else {
        anyhow::bail!("{sql} succeeded: {answer:?}");
    };
    let mut fields = error.fields();
    let mut field = |name| fields.remove(&name).unwrap_or_default();
    Ok((field('C'), field('M'), field('H')))
}

/// The first column of all rows among some messages, as text.
fn column(messages: &[Message]) -> anyhow::Result<Vec<String>> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    rows.map(|row| {
        let value = row.values()?.into_iter().next().flatten();
        Ok(String::from_utf8(value.unwrap_or_default())?)
    })
    .collect()
}

/// What a question gives on each shard.
async fn on_each(cluster: &Cluster, question: &str) -> anyhow::Result<Vec<String>> {
    let mut answers = Vec::new();
    for shard in &cluster.shards {
        answers.push(shard.psql(question).await?);
    }
    Ok(answers)
}
