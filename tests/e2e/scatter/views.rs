//! Views over tables whose rows are on four shards, against one server that has all rows.

use std::io::Write as _;

use anyhow::Context as _;
use tests::raw::{Message, Raw, bind, execute, parse, sync};

use super::{Tally, both};
use crate::suite::{Outcome, same};

const CORPUS: &str = include_str!("views.sql");

/// Statements, and texts of their parameters.
const WITH_PARAMETERS: [(&str, &[&str]); 6] = [
    (
        "SELECT id FROM v_paid WHERE customer_id = $1 ORDER BY id",
        &["5"],
    ),
    ("SELECT id FROM v_paid WHERE total > $1 ORDER BY id", &["5"]),
    (
        "SELECT number FROM v_named WHERE customer = ANY($1) ORDER BY number LIMIT $2",
        &["{1,2,3}", "4"],
    ),
    (
        "SELECT count(*), sum(qty) FROM v_lines WHERE status = $1",
        &["new"],
    ),
    ("SELECT total FROM v_sums WHERE customer_id = $1", &["6"]),
    (
        "SELECT o.id, p.id FROM sc_orders o JOIN v_paid p USING (customer_id) WHERE customer_id = $1 ORDER BY 1, 2",
        &["5"],
    ),
];

pub(super) async fn views_are_read_as_on_one_server() -> Outcome {
    let (cluster, single) = both().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    let mut tally = Tally::default();
    let lines = CORPUS.lines();
    for line in lines.filter(|line| !line.starts_with("--") && !line.is_empty()) {
        let (mark, sql) = line.split_once(' ').context("a mark and a statement")?;
        let expected = mark.chars().next().context("a mark")?;
        if expected == '+' {
            for side in [&mut router, &mut server] {
                let answer = side.query(sql).await?;
                let error = answer.iter().find(|message| message.tag == b'E');
                anyhow::ensure!(error.is_none(), "{sql}: {error:?}");
            }
            continue;
        }
        tally.ask((&mut router, &mut server), expected, sql).await?;
    }
    writeln!(
        std::io::stderr(),
        "views: {} answered, {} refused",
        tally.answered,
        tally.refused
    )?;
    tally.check()?;
    for (sql, parameters) in WITH_PARAMETERS {
        let parameters: Vec<Option<&[u8]>> = parameters
            .iter()
            .map(|text| Some(text.as_bytes()))
            .collect();
        for name in ["", "named"] {
            let batch = [
                parse(name, sql, &[]),
                bind("", name, false, &parameters),
                execute("", 0),
                sync(),
            ];
            let batch = batch.concat();
            let rows = |messages: Vec<Message>| -> anyhow::Result<_> {
                let error = messages.iter().find(|message| message.tag == b'E');
                anyhow::ensure!(error.is_none(), "{sql}: {error:?}");
                let rows = messages.iter().filter(|message| message.tag == b'D');
                rows.map(Message::values)
                    .collect::<anyhow::Result<Vec<_>>>()
            };
            let routed = rows(router.exchange(&batch).await?)?;
            let direct = rows(server.exchange(&batch).await?)?;
            same!(routed, direct, "{sql}");
        }
        for side in [&mut router, &mut server] {
            side.query("DEALLOCATE named").await?;
        }
    }
    Ok(())
}
