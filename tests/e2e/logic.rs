//! Files of sqllogictest, each on one PostgreSQL server and through a router over four shards. What
//! they expect is what the one server answers; `onlyif router` marks what is refused.

use std::sync::Arc;

use anyhow::Context as _;
use async_trait::async_trait;
use libtest_mimic::Trial;
use sqllogictest::{AsyncDB, DBOutput, DefaultColumnType, Runner};
use tests::cluster::Plan;
use tests::pg::Address;
use tests::raw::{Message, Raw};
use tests::{Cluster, Postgres};

use crate::suite::{Outcome, Suite, alone};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: logic_files_say_the_same_of_a_router_and_of_one_server).into()
}

const FILES: [(&str, &str); 3] = [
    ("queries.slt", include_str!("logic/queries.slt")),
    ("types.slt", include_str!("logic/types.slt")),
    ("writes.slt", include_str!("logic/writes.slt")),
];

async fn logic_files_say_the_same_of_a_router_and_of_one_server() -> Outcome {
    let single = Postgres::start().await?;
    let plan = Plan {
        shards: 4,
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    for (name, script) in FILES {
        run("postgres", &single.address(), (name, script)).await?;
        run("router", &cluster.router(0)?.address(), (name, script)).await?;
    }
    Ok(())
}

async fn run(engine: &'static str, address: &Address, (name, script): (&str, &str)) -> Outcome {
    let mut runner = Runner::new(|| async {
        let raw = Raw::connect(address).await.map_err(Failed::connection)?;
        Ok(Engine { engine, raw })
    });
    let ran = runner.run_script_with_name_async(script, name).await;
    ran.map_err(|error| anyhow::anyhow!("{}", error.display(false)))
        .with_context(|| engine)
}

/// One session.
struct Engine {
    engine: &'static str,
    raw: Raw,
}

/// An error of the server, or of the connection, which has no SQLSTATE.
#[derive(Debug)]
struct Failed {
    text: String,
    sqlstate: Option<String>,
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Failed {}

impl Failed {
    #[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
    fn connection(error: anyhow::Error) -> Self {
        Self {
            text: format!("{error:#}"),
            sqlstate: None,
        }
    }
}

#[async_trait]
impl AsyncDB for Engine {
    type Error = Failed;
    type ColumnType = DefaultColumnType;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<DefaultColumnType>, Failed> {
        let messages = self.raw.query(sql).await.map_err(Failed::connection)?;
        let failed = messages.iter().find(|message| message.tag == b'E');
        if let Some(error) = failed {
            return Err(Failed {
                text: error.text(),
                sqlstate: error.sqlstate(),
            });
        }
        let rows: Result<Vec<_>, Failed> = messages
            .iter()
            .filter(|message| message.tag == b'D')
            .map(shown)
            .collect();
        if messages.iter().any(|message| message.tag == b'T') {
            let rows = rows?;
            let columns = rows.first().map_or(1, Vec::len);
            return Ok(DBOutput::Rows {
                types: vec![DefaultColumnType::Any; columns],
                rows,
            });
        }
        let tag = messages.iter().find(|message| message.tag == b'C');
        let tag = tag.map(Message::text).unwrap_or_default();
        let count = tag.rsplit(' ').next().and_then(|word| word.parse().ok());
        Ok(DBOutput::StatementComplete(count.unwrap_or(0)))
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &str {
        self.engine
    }

    fn error_sql_state(error: &Failed) -> Option<String> {
        error.sqlstate.clone()
    }
}

/// A row as the files have it.
fn shown(message: &Message) -> Result<Vec<String>, Failed> {
    let values = message.values().map_err(Failed::connection)?;
    let text = |value: Option<Vec<u8>>| match value {
        None => "NULL".to_owned(),
        Some(bytes) if bytes.is_empty() => "(empty)".to_owned(),
        Some(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
    };
    Ok(values.into_iter().map(text).collect())
}
