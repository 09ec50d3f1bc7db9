//! Queries over the rows of several shards, against one PostgreSQL server that has all rows: the
//! same rows, in the same order where one is asked for, under the same names and types; the same
//! error; or a refusal.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::{Message, Raw, describe, execute, message, parse, sync};
use tests::{Cluster, Postgres};

use crate::suite::{Outcome, Suite, alone, same};

mod around;
mod views;

use around::what_is_around_a_query_over_several_shards_is_right;
use views::views_are_read_as_on_one_server;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        four_shards_answer_as_one_server_would_or_refuse,
        what_is_around_a_query_over_several_shards_is_right,
        views_are_read_as_on_one_server,
    )
    .into()
}

const CORPUS: &str = include_str!("scatter/corpus.sql");

const TYPES: &str = "CREATE TYPE sc_mood AS ENUM ('sad', 'ok', 'happy')";

const ORDERS: &str = "id int, customer_id bigint NOT NULL, status text, total int, big bigint, \
    price numeric(12,3), num numeric, ratio float8, small float4, tiny int2, exact float8, \
    exactf float4, flag bool, day date, at timestamp, atz timestamptz, dur interval, t time, \
    ttz timetz, uid uuid, raw bytea, bits varbit, addr inet, net cidr, mac macaddr, cash money, \
    name varchar(20), code char(5), ctext text COLLATE \"C\", ident oid, mood sc_mood, tags int[], \
    doc jsonb, span int4range, js json, country text";

const ITEMS: &str = "id int, customer_id bigint NOT NULL, sku text, qty int";

const DOCS: &str = "n int, slug text PRIMARY KEY";

/// Rows of the orders, of the items and of the documents.
const ROWS: [i64; 3] = [90, 60, 30];

/// What a column has in a row: one of these, or NULL, in turn.
const VALUES: [(&str, &[&str]); 34] = [
    (
        "status",
        &["'new'", "'paid'", "'Zoo'", "'ähre'", "'new '", "''"],
    ),
    ("total", &["7", "3", "41", "12", "0", "-5", "29"]),
    (
        "big",
        &[
            "9223372036854775807",
            "9000000000000000000",
            "-12",
            "4611686018427387904",
        ],
    ),
    (
        "price",
        &["12.5", "0.001", "99999.999", "'NaN'", "-3.250", "12.50"],
    ),
    (
        "num",
        &[
            "1.10",
            "1.1",
            "1e30",
            "'Infinity'",
            "-0.000000001",
            "'-Infinity'",
            "'NaN'",
            "10000",
            "9999.9999",
        ],
    ),
    (
        "ratio",
        &[
            "'NaN'",
            "'Infinity'",
            "-0.0",
            "0.0",
            "'-Infinity'",
            "1e-300",
            "2.5",
        ],
    ),
    ("small", &["1.5", "'NaN'", "3e30", "-2.25", "0.1"]),
    ("tiny", &["1", "-32768", "32767", "5"]),
    ("exact", &["0.5", "2.25", "-8", "1024.125"]),
    ("exactf", &["0.5", "2.25", "-8", "16.75", "3"]),
    ("flag", &["true", "false", "true"]),
    (
        "day",
        &[
            "'2020-02-29'",
            "'infinity'",
            "'-infinity'",
            "'0044-03-15 BC'",
            "'1999-12-31'",
        ],
    ),
    (
        "at",
        &[
            "'2024-01-05 10:00'",
            "'2024-02-05 10:00:00.000001'",
            "'2023-12-31 23:59:59'",
            "'1900-01-01'",
        ],
    ),
    (
        "atz",
        &[
            "'2024-01-05 10:00+02'",
            "'2024-01-05 09:00+00'",
            "'infinity'",
        ],
    ),
    (
        "dur",
        &[
            "'1 mon'",
            "'30 days'",
            "'29 days 24:00:00'",
            "'-1 day'",
            "'1 year 2 mons'",
            "'00:00:01.5'",
        ],
    ),
    ("t", &["'10:00'", "'24:00'", "'00:00:00.000001'"]),
    (
        "ttz",
        &["'10:00+02'", "'09:00+01'", "'08:00+00'", "'23:00-05'"],
    ),
    (
        "uid",
        &[
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "'00000000-0000-0000-0000-000000000001'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    ("raw", &["'\\x00ff'", "'\\x'", "'\\xff'", "'\\x00'"]),
    (
        "bits",
        &["B'101'", "B'1010'", "B''", "B'1'", "B'100000000'"],
    ),
    (
        "addr",
        &[
            "'10.0.0.1'",
            "'10.0.0.0/8'",
            "'::1'",
            "'10.0.0.1/24'",
            "'192.168.1.5'",
            "'fe80::1/64'",
        ],
    ),
    (
        "net",
        &[
            "'10.0.0.0/8'",
            "'10.0.0.0/16'",
            "'2001:db8::/32'",
            "'192.168.0.0/24'",
        ],
    ),
    ("mac", &["'08:00:2b:01:02:03'", "'ff:ff:ff:ff:ff:ff'"]),
    ("cash", &["12.34", "-5", "1000000"]),
    (
        "name",
        &["'anna'", "'Berta'", "'änne'", "'a na'", "'anna b'"],
    ),
    ("code", &["'a'", "'ab'", "'a b'", "'B'", "''"]),
    ("ctext", &["'b'", "'B'", "'ä'", "'a'", "'ab'"]),
    ("ident", &["1", "4294967295", "77"]),
    ("mood", &["'happy'", "'sad'", "'ok'"]),
    ("tags", &["'{1,2}'", "'{}'", "'{3}'", "'{1,NULL}'"]),
    (
        "doc",
        &["'{\"a\": 1}'", "'{\"b\": \"x\"}'", "'[1, 2]'", "'null'"],
    ),
    ("span", &["'[1,5)'", "'empty'", "'(,3]'"]),
    ("js", &["'{\"a\":1}'", "'[]'"]),
    ("country", &["'de'", "'fr'", "'xx'"]),
];

fn orders_row(id: i64) -> String {
    let mut names = vec!["id", "customer_id"];
    let mut values = vec![id.to_string(), (id * 7 % 31).to_string()];
    for (at, (name, choices)) in (0_i64..).zip(VALUES) {
        names.push(name);
        let turn = usize::try_from((id * 5 + id / 3 + at) % 97).unwrap_or(0) % (choices.len() + 1);
        values.push(choices.get(turn).map_or("NULL", |it| it).to_owned());
    }
    let (names, values) = (names.join(", "), values.join(", "));
    format!("INSERT INTO sc_orders ({names}) VALUES ({values})")
}

fn items_row(id: i64) -> String {
    let (key, qty) = (id * 11 % 37, id % 6);
    format!(
        "INSERT INTO sc_items (id, customer_id, sku, qty) VALUES ({id}, {key}, 'sku{}', {qty})",
        id % 9
    )
}

fn docs_row(id: i64) -> String {
    format!(
        "INSERT INTO sc_docs (n, slug) VALUES ({}, 'doc {id} ü')",
        id % 4
    )
}

const COUNTRIES: &str = "CREATE TABLE sc_countries (code text PRIMARY KEY, name text);
    INSERT INTO sc_countries VALUES ('de', 'Germany'), ('fr', 'France'), ('gr', 'Greece')";

const FUNCTION: &str = "CREATE FUNCTION sc_own(int) RETURNS int LANGUAGE sql AS 'SELECT $1'";

/// Four shards with tables and rows, and one server with the same.
async fn both() -> anyhow::Result<(Cluster, Postgres)> {
    let cluster = Cluster::start(Plan {
        shards: 4,
        ..Plan::default()
    })
    .await?;
    let single = Postgres::start().await?;
    for server in cluster.shards.iter().chain([&single]) {
        server.psql(TYPES).await?;
        server.psql(COUNTRIES).await?;
        server.psql(FUNCTION).await?;
        server.psql("CREATE SEQUENCE sc_seq").await?;
    }
    let body = json!({ "name": "public.sc_countries", "kind": "reference" });
    cluster.post_when_led("/tables", &body).await?;
    let tables = [
        ("sc_orders", ORDERS, ("customer_id", "bigint")),
        ("sc_items", ITEMS, ("customer_id", "bigint")),
        ("sc_docs", DOCS, ("slug", "text")),
    ];
    for (name, columns, key) in tables {
        cluster.create(name, columns, key).await?;
        single
            .psql(&format!("CREATE TABLE {name} ({columns})"))
            .await?;
    }
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    let makers: [fn(i64) -> String; 3] = [orders_row, items_row, docs_row];
    for (make, rows) in makers.into_iter().zip(ROWS) {
        for id in 1..=rows {
            let sql = make(id);
            for side in [&mut router, &mut server] {
                let answer = side.query(&sql).await?;
                same!(answer.iter().find_map(Message::sqlstate), None, "{sql}");
            }
        }
    }
    Ok((cluster, single))
}

/// How a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Simple,
    Extended,
    Binary,
}

/// What a client makes of an answer.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Answer {
    sqlstate: Option<String>,
    tags: Vec<String>,
    columns: Vec<(String, u32, i16, i32, i16)>,
    rows: Vec<Vec<Option<Vec<u8>>>>,
    text: String,
}

/// Columns of a RowDescription without the tables that they come from; types of users are alike.
fn columns(body: &[u8]) -> Vec<(String, u32, i16, i32, i16)> {
    let mut rest = body.get(2..).unwrap_or_default();
    let mut found = Vec::new();
    while let Some(end) = rest.iter().position(|byte| *byte == 0) {
        let name = String::from_utf8_lossy(&rest[..end]).into_owned();
        let fixed = &rest[end + 1..end + 19];
        let number = |from: usize| {
            i32::from_be_bytes([
                fixed[from],
                fixed[from + 1],
                fixed[from + 2],
                fixed[from + 3],
            ])
        };
        let short = |from: usize| i16::from_be_bytes([fixed[from], fixed[from + 1]]);
        let oid = u32::from_ne_bytes(number(6).to_ne_bytes()).min(16_384);
        found.push((name, oid, short(10), number(12), short(16)));
        rest = &rest[end + 19..];
    }
    found
}

/// What became of the statements of a corpus.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    refused: usize,
    wrong: Vec<String>,
}

impl Tally {
    /// Asks the router and the server the same in every way, up to the first difference.
    async fn ask(
        &mut self,
        (router, server): (&mut Raw, &mut Raw),
        expected: char,
        sql: &str,
    ) -> anyhow::Result<()> {
        for way in [Way::Simple, Way::Extended, Way::Binary] {
            let direct = ask(server, sql, way).await?;
            let routed = ask(router, sql, way).await;
            let routed = routed.with_context(|| format!("{way:?}: {sql}"))?;
            let (fault, is_refusal) = judge(expected, &routed, &direct);
            self.refused += usize::from(is_refusal);
            self.answered += usize::from(!is_refusal);
            if let Some(fault) = fault {
                self.wrong.push(format!("{way:?} {sql}\n    {fault}"));
                break;
            }
        }
        Ok(())
    }

    /// Fails when anything was answered otherwise than by one server.
    fn check(&self) -> Outcome {
        anyhow::ensure!(
            self.wrong.is_empty(),
            "{} are wrong:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
        Ok(())
    }
}

async fn ask(side: &mut Raw, sql: &str, way: Way) -> anyhow::Result<Answer> {
    let messages = match way {
        Way::Simple => side.query(sql).await?,
        Way::Extended | Way::Binary => {
            let format = i16::from(way == Way::Binary).to_be_bytes();
            let body = [&[0, 0, 0, 0, 0, 0, 0, 1][..], &format].concat();
            let batch = [
                parse("", sql, &[]),
                message(b'B', &body),
                describe(b'P', ""),
                execute("", 0),
                sync(),
            ];
            side.exchange(&batch.concat()).await?
        }
    };
    let of = |tag| messages.iter().filter(move |message| message.tag == tag);
    let rows: anyhow::Result<Vec<_>> = of(b'D').map(Message::values).collect();
    Ok(Answer {
        sqlstate: messages.iter().find_map(Message::sqlstate),
        tags: of(b'C')
            .map(|it| String::from_utf8_lossy(&it.body).into_owned())
            .collect(),
        columns: of(b'T').flat_map(|it| columns(&it.body)).collect(),
        rows: rows?,
        text: of(b'E').map(|it| format!("{it:?}")).collect(),
    })
}

/// What is wrong with an answer, if anything; whether it is a refusal.
fn judge(expected: char, routed: &Answer, direct: &Answer) -> (Option<String>, bool) {
    let refused = routed.sqlstate.as_deref() == Some("0A000") && direct.sqlstate != routed.sqlstate;
    let sorted = |answer: &Answer| {
        let mut rows = answer.rows.clone();
        rows.sort();
        rows
    };
    let wrong = match (expected, refused) {
        ('!' | '?', true) => None,
        ('!', false) => Some("is not refused".to_owned()),
        (_, true) => Some(format!("is refused: {}", routed.text)),
        _ if routed.sqlstate != direct.sqlstate => Some(format!(
            "router says {:?} {}, server says {:?} {}",
            routed.sqlstate, routed.text, direct.sqlstate, direct.text
        )),
        ('e', _) if direct.sqlstate.is_none() => Some("is no error".to_owned()),
        ('e', _) => None,
        (_, _) if routed.columns != direct.columns => Some(format!(
            "columns {:?}, not {:?}",
            routed.columns, direct.columns
        )),
        (_, _) if routed.tags != direct.tags => {
            Some(format!("tags {:?}, not {:?}", routed.tags, direct.tags))
        }
        ('=', _) if routed.rows != direct.rows => Some(differing(&routed.rows, &direct.rows)),
        (_, _) if sorted(routed) != sorted(direct) => {
            Some(differing(&sorted(routed), &sorted(direct)))
        }
        _ => None,
    };
    (wrong, refused)
}

fn differing(routed: &[Vec<Option<Vec<u8>>>], direct: &[Vec<Option<Vec<u8>>>]) -> String {
    let show = |row: Option<&Vec<Option<Vec<u8>>>>| {
        let value = |value: &Option<Vec<u8>>| match value {
            Some(value) => String::from_utf8_lossy(value).into_owned(),
            None => "NULL".to_owned(),
        };
        row.map(|row| row.iter().map(value).collect::<Vec<_>>().join("|"))
    };
    let length = routed.len().max(direct.len());
    let at = (0..length)
        .find(|at| routed.get(*at) != direct.get(*at))
        .unwrap_or(0);
    format!(
        "row {at} is {:?}, not {:?}",
        show(routed.get(at)),
        show(direct.get(at))
    )
}

async fn four_shards_answer_as_one_server_would_or_refuse() -> Outcome {
    let (cluster, single) = both().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    let mut tally = Tally::default();
    for line in CORPUS
        .lines()
        .filter(|line| !line.starts_with("--") && !line.is_empty())
    {
        let (mark, sql) = line.split_once(' ').context("a mark and a statement")?;
        let expected = mark.chars().next().context("a mark")?;
        tally.ask((&mut router, &mut server), expected, sql).await?;
    }
    let Tally {
        answered, refused, ..
    } = tally;
    let share = 100 * refused / (answered + refused);
    writeln!(
        std::io::stderr(),
        "scatter: {answered} answered, {refused} refused, {share} %"
    )?;
    tally.check()
}
