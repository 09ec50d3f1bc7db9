//! An application sees the shard's own bytes: every message of a list of statements is compared,
//! to the byte, between the router and a direct session on the shard of the key.

use std::sync::Arc;

use libtest_mimic::Trial;
use tests::Cluster;
use tests::raw::{Message, Raw, bind, close, describe, execute, flush, parse, sync};

use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        simple_queries_are_answered_byte_for_byte_as_by_the_shard,
        extended_queries_are_answered_byte_for_byte_as_by_the_shard,
        warnings_about_transactions_are_those_of_postgresql,
        changes_of_settings_are_reported_as_by_the_shard,
    )
    .into()
}

const COLUMNS: &str = "k bigint NOT NULL, id int, name varchar(5) CHECK (name <> 'bad'), \
    a numeric(10,2), b bytea, c timestamptz, d jsonb, e int[], f float8, \
    UNIQUE (k, id)";

/// With `KEY` in the place of the key. Each is run twice over: on the router and on the shard.
const STATEMENTS: &[&str] = &[
    "INSERT INTO TABLE_ (k, id, name, a, b, c, d, e, f) VALUES (KEY, 1, 'one', 1.5, '\\x00ff', '2024-02-29 12:00+00', '{\"a\": [1]}', '{1,2,NULL}', 'NaN')",
    "INSERT INTO TABLE_ (k, id, name) VALUES (KEY, 2, NULL), (KEY, 3, '') RETURNING *",
    "SELECT * FROM TABLE_ WHERE k = KEY ORDER BY id",
    "SELECT t.*, id AS \"An Alias\", 'text'::text, NULL, 1::smallint FROM TABLE_ t WHERE k = KEY AND id = 1",
    "SELECT count(*), sum(a), avg(f) FROM TABLE_ WHERE k = KEY",
    "SELECT FROM TABLE_ WHERE k = KEY AND id = 1",
    "UPDATE TABLE_ SET a = a + 1 WHERE k = KEY AND id = 1",
    "UPDATE TABLE_ SET a = 1 WHERE k = KEY AND id = 99",
    "DELETE FROM TABLE_ WHERE k = KEY AND id = 3 RETURNING id",
    "INSERT INTO TABLE_ (k, id) VALUES (KEY, 1)",
    "INSERT INTO TABLE_ (k, id) VALUES (KEY, 1) ON CONFLICT (k, id) DO NOTHING",
    "INSERT INTO TABLE_ (k, id, name) VALUES (KEY, 9, 'bad')",
    "INSERT INTO TABLE_ (k, id, name) VALUES (KEY, 9, 'too long')",
    "SELECT id/0 FROM TABLE_ WHERE k = KEY",
    "SELECT nowhere FROM TABLE_ WHERE k = KEY",
    "SELECT id + name FROM TABLE_ WHERE k = KEY",
    "SELECT no_such_function(id) FROM TABLE_ WHERE k = KEY",
    "SELECT name::int FROM TABLE_ WHERE k = KEY AND id = 1",
    "SELECT (SELECT id FROM TABLE_ WHERE k = KEY) FROM TABLE_ WHERE k = KEY",
    "SELECT d->'a'->0, e[1], c AT TIME ZONE 'UTC' FROM TABLE_ WHERE k = KEY AND id = 1",
    "EXPLAIN (COSTS OFF) SELECT * FROM TABLE_ WHERE k = KEY",
    "SELECT 1; SELECT 2",
    "SELECT",
    "",
    ";",
    "SELEC 1",
    "SELECT 'unterminated",
    "SELECT 1/0",
    "SELECT 1 AS one, 'x' AS two WHERE false",
    "SHOW server_version",
    "SHOW no_such_setting",
    "SET no_such_setting = 1",
    "VALUES (1, 'a'), (2, 'b')",
    "SELECT generate_series(1, 3)",
    "SELECT to_char(1234.5, '9G999D99')",
    "SELECT current_user, current_database()",
];

/// A message as it must be the same on both sides.
pub(super) fn comparable(messages: Vec<Message>) -> Vec<String> {
    comparable_but(messages, &[])
}

/// As [`comparable`], without some fields of errors and notices.
pub(super) fn comparable_but(messages: Vec<Message>, left_out: &[char]) -> Vec<String> {
    let shown = messages.into_iter().map(|message| match message.tag {
        b'E' | b'N' => {
            let mut fields = message.fields();
            fields.retain(|letter, _| !left_out.contains(letter));
            format!("{} {fields:?}", char::from(message.tag))
        }
        tag => format!("{} {}", char::from(tag), message.body.escape_ascii()),
    });
    shown.collect()
}

async fn both(cluster: &Cluster) -> anyhow::Result<(Raw, Raw, i64)> {
    let key = cluster.key_on("shard-2", 1).await?;
    let routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let direct = Raw::connect(&cluster.shard("shard-2")?.address()).await?;
    Ok((routed, direct, key))
}

async fn simple_queries_are_answered_byte_for_byte_as_by_the_shard(cluster: &Cluster) -> Outcome {
    cluster
        .create("fidelity_a", COLUMNS, ("k", "bigint"))
        .await?;
    let (mut routed, mut direct, key) = both(cluster).await?;
    let mut wanted = Vec::new();
    for statement in STATEMENTS {
        let sql = statement
            .replace("TABLE_", "fidelity_a")
            .replace("KEY", &key.to_string());
        wanted.push((direct.query(&sql).await?, sql));
    }
    // The same rows again, from an empty table.
    cluster
        .shard("shard-2")?
        .psql("TRUNCATE fidelity_a")
        .await?;
    for (messages, sql) in wanted {
        same!(
            comparable(routed.query(&sql).await?),
            comparable(messages),
            "{sql}"
        );
    }
    Ok(())
}

async fn extended_queries_are_answered_byte_for_byte_as_by_the_shard(cluster: &Cluster) -> Outcome {
    cluster
        .create("fidelity_b", COLUMNS, ("k", "bigint"))
        .await?;
    let (mut routed, mut direct, key) = both(cluster).await?;
    let mut wanted = Vec::new();
    for (number, statement) in STATEMENTS.iter().enumerate() {
        let sql = statement
            .replace("TABLE_", "fidelity_b")
            .replace("KEY", "$1");
        let values: &[Option<&[u8]>] = if statement.contains("KEY") {
            &[Some(&key.to_be_bytes())]
        } else {
            &[]
        };
        let name = if number % 2 == 0 {
            String::new()
        } else {
            format!("statement {number}")
        };
        // Int8 by declaration, so that `$1` may stand alone in VALUES.
        let oids: &[u32] = if values.is_empty() { &[] } else { &[20] };
        let batch = [
            parse(&name, &sql, oids),
            describe(b'S', &name),
            bind("", &name, true, values),
            describe(b'P', ""),
            flush(),
            execute("", 0),
            close(b'S', &name),
            sync(),
        ];
        let batch = batch.concat();
        wanted.push((direct.exchange(&batch).await?, batch, sql));
    }
    cluster
        .shard("shard-2")?
        .psql("TRUNCATE fidelity_b")
        .await?;
    for (messages, batch, sql) in wanted {
        same!(
            comparable(routed.exchange(&batch).await?),
            comparable(messages),
            "{sql}"
        );
    }
    Ok(())
}

async fn warnings_about_transactions_are_those_of_postgresql(cluster: &Cluster) -> Outcome {
    let (mut routed, mut direct, _) = both(cluster).await?;
    for sql in [
        "COMMIT",
        "ROLLBACK",
        "BEGIN",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT a",
        "BEGIN; SAVEPOINT a; ROLLBACK TO nowhere",
        "ROLLBACK",
        "RELEASE SAVEPOINT a",
        "SET LOCAL work_mem = '5MB'",
        "COMMIT AND CHAIN",
    ] {
        let (is, wanted) = (routed.query(sql).await?, direct.query(sql).await?);
        // Without a backend it is the router that answers, which has no place in PostgreSQL's source.
        let place = ['F', 'L', 'R'];
        same!(
            comparable_but(is, &place),
            comparable_but(wanted, &place),
            "{sql}"
        );
    }
    Ok(())
}

async fn changes_of_settings_are_reported_as_by_the_shard(cluster: &Cluster) -> Outcome {
    let (mut routed, mut direct, _) = both(cluster).await?;
    for sql in [
        "SET TimeZone = 'Europe/Berlin'",
        "SELECT '2024-07-01 12:00+00'::timestamptz",
        "SET DateStyle = 'SQL, DMY'",
        "SET application_name = 'renamed'",
        "SET client_encoding = 'UTF8'",
        "SHOW TimeZone",
        "RESET ALL",
        "SHOW TimeZone",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        "SHOW default_transaction_read_only",
        "DISCARD ALL",
        "SHOW default_transaction_read_only",
    ] {
        let (is, wanted) = (routed.query(sql).await?, direct.query(sql).await?);
        same!(comparable(is), comparable(wanted), "{sql}");
    }
    same!(routed.parameters, direct.parameters);
    Ok(())
}
