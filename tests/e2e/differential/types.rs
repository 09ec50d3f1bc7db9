//! Random queries over columns of every kind of type, on four shards and on one server: NULL, NaN,
//! infinities, time zones, collations, scales, arrays, json, enums, domains.
//!
//! Left out are values that are equal and look different, such as 0 and 0.00: which of them a
//! DISTINCT or a group shows is up to the server, on one as on several.

use std::io::Write as _;
use std::sync::Arc;

use libtest_mimic::Trial;
use tests::cluster::Plan;
use tests::random::Random;
use tests::raw::{Message, Raw};
use tests::{Cluster, Postgres};
use tokio::time::Instant;

use super::{number, seconds};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: queries_of_every_type_are_answered_as_by_one_server).into()
}

/// Queries of a short run.
const QUERIES: u32 = 250;

/// Columns, their types, and values of them.
const COLUMNS: &[(&str, &str, &[&str])] = &[
    ("i2", "int2", &["-32768", "32767", "0", "7"]),
    (
        "i4",
        "int4",
        &["-2147483648", "2147483647", "0", "-5", "12"],
    ),
    (
        "i8",
        "int8",
        &["-9223372036854775808", "9223372036854775807", "77"],
    ),
    (
        "nu",
        "numeric",
        &[
            "'NaN'",
            "'Infinity'",
            "'-Infinity'",
            "0",
            "1.50",
            "-3.14159265358979323846",
            "1e30",
        ],
    ),
    (
        "nf",
        "numeric(12,3)",
        &["1.5", "-2.125", "99999999.999", "0"],
    ),
    (
        "f8",
        "float8",
        &["'NaN'", "'Infinity'", "'-Infinity'", "0", "1.5", "-2.25"],
    ),
    ("f4", "float4", &["'NaN'", "0.5", "1.5", "'-Infinity'"]),
    (
        "tx",
        "text",
        &[
            "''", "'a'", "'B'", "'ä'", "'Z'", "'a '", "'aa'", "'10'", "E'x\\ny'",
        ],
    ),
    ("vc", "varchar(8)", &["'q'", "'Q'", "'zz'", "''"]),
    ("ch", "char(4)", &["'a'", "'ab'", "'B'", "''"]),
    ("tc", "text COLLATE \"C\"", &["'a'", "'B'", "'ä'"]),
    ("bo", "bool", &["true", "false"]),
    (
        "da",
        "date",
        &[
            "'2020-02-29'",
            "'infinity'",
            "'-infinity'",
            "'0001-01-01 BC'",
        ],
    ),
    (
        "ts",
        "timestamp",
        &["'2020-01-01'", "'infinity'", "'1969-12-31 23:59:59.999999'"],
    ),
    (
        "tz",
        "timestamptz",
        &[
            "'2020-01-01 00:00+05'",
            "'2020-01-01 00:00Z'",
            "'2021-06-01 12:00 America/New_York'",
        ],
    ),
    ("ti", "time", &["'23:59:59.5'", "'00:00'", "'24:00'"]),
    ("tt", "timetz", &["'10:00+02'", "'10:00-03'", "'08:00Z'"]),
    (
        "iv",
        "interval",
        &["'1 month'", "'-1 day'", "'1 year 2 mons -3 days'", "'0'"],
    ),
    (
        "uu",
        "uuid",
        &[
            "'00000000-0000-0000-0000-000000000001'",
            "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
        ],
    ),
    ("byt", "bytea", &["'\\x00'", "'\\x'", "'\\xff00'"]),
    ("bi", "bit varying(9)", &["b'101'", "b''", "b'111111111'"]),
    (
        "ip",
        "inet",
        &["'10.0.0.1'", "'10.0.0.0/8'", "'::1'", "'10.0.0.1/24'"],
    ),
    ("en", "dt_mood", &["'sad'", "'ok'", "'happy'"]),
    ("dm", "dt_pos", &["1", "5", "999"]),
    (
        "ar",
        "int[]",
        &["'{1,2}'", "'{}'", "'{NULL,1}'", "'{{1,2},{3,4}}'"],
    ),
    ("ta", "text[]", &["'{a,b}'", "'{\"\"}'", "'{ä,NULL}'"]),
    (
        "js",
        "jsonb",
        &[
            "'{\"a\":1}'",
            "'[1,2]'",
            "'null'",
            "'1.10'",
            "'{\"b\":null}'",
        ],
    ),
    ("rg", "int4range", &["'[1,5)'", "'empty'", "'(,3]'"]),
    ("mo", "money", &["'1.50'", "'-2'"]),
    ("oi", "oid", &["1", "4294967295"]),
];

/// Those that can be added up, averaged, and of which there is a least one.
const SUMS: &[&str] = &["i2", "i4", "i8", "nu", "nf", "f8", "f4", "mo", "iv", "dm"];
const MEANS: &[&str] = &["i2", "i4", "i8", "nu", "nf", "f8", "iv"];
const LEAST: &[&str] = &[
    "i4", "i8", "nu", "nf", "f8", "f4", "tx", "vc", "tc", "ch", "da", "ts", "tz", "ti", "tt", "iv",
    "en", "ip", "mo", "oi", "ar",
];

/// A query, and whether the order of its rows is defined.
struct Query {
    sql: String,
    is_ordered: bool,
}

struct Maker(Random);

impl Maker {
    fn one(&mut self, of: &[&'static str]) -> &'static str {
        let &one = self.0.pick(of);
        one
    }

    fn column(&mut self) -> (&'static str, &'static str, &'static [&'static str]) {
        *self.0.pick(COLUMNS)
    }

    fn name(&mut self) -> &'static str {
        self.column().0
    }

    fn value(&mut self, of: &[&'static str]) -> &'static str {
        if self.0.chance(15) {
            "NULL"
        } else {
            self.one(of)
        }
    }

    fn expression(&mut self) -> String {
        let name = self.name();
        match self.0.below(10) {
            0 => format!("{name}::text"),
            1 => "n % 5".to_owned(),
            2 => format!("coalesce({name}::text, '-')"),
            3 => "date_trunc('month', ts)".to_owned(),
            4 => "CASE WHEN i4 > 0 THEN 'p' WHEN i4 IS NULL THEN NULL ELSE 'n' END".to_owned(),
            _ => name.to_owned(),
        }
    }

    fn condition(&mut self) -> String {
        let (name, _, values) = self.column();
        match self.0.below(8) {
            0 | 1 => {
                let operator = self.one(&["=", "<", ">=", "<>"]);
                format!("{name} {operator} {}", self.one(values))
            }
            2 => format!("{name} IS NOT NULL"),
            3 => format!(
                "n BETWEEN {} AND {}",
                self.0.below(40),
                30 + self.0.below(50)
            ),
            4 => format!("k IN ({}, {})", 1 + self.0.below(25), 1 + self.0.below(25)),
            5 => "tx LIKE '%a%'".to_owned(),
            6 => format!("NOT ({})", self.condition()),
            _ => format!("({} OR {})", self.condition(), self.condition()),
        }
    }

    fn filter(&mut self) -> String {
        if self.0.chance(50) {
            format!(" WHERE {}", self.condition())
        } else {
            String::new()
        }
    }

    fn aggregate(&mut self) -> String {
        match self.0.below(9) {
            0 => "count(*)".to_owned(),
            1 => format!("count(DISTINCT {})", self.name()),
            2 => format!("sum({})", self.one(SUMS)),
            3 => format!("avg({})", self.one(MEANS)),
            4 => format!("min({})", self.one(LEAST)),
            5 => format!("max({})", self.one(LEAST)),
            6 => format!("{}(bo)", self.one(&["bool_and", "bool_or", "every"])),
            7 => format!("count(*) FILTER (WHERE {})", self.condition()),
            _ => "array_agg(n ORDER BY n)".to_owned(),
        }
    }

    fn direction(&mut self) -> &'static str {
        self.one(&["", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
    }

    fn query(&mut self) -> Query {
        let filter = self.filter();
        match self.0.below(6) {
            0 | 1 => self.rows(&filter),
            2 => Query {
                sql: format!(
                    "SELECT {}, {} FROM dt{filter}",
                    self.aggregate(),
                    self.aggregate()
                ),
                is_ordered: true,
            },
            3 => {
                let (group, having) = (self.expression(), self.0.below(3));
                let sql = format!(
                    "SELECT {group}, n % 3, {} FROM dt{filter} GROUP BY 1, 2 \
                     HAVING count(*) > {having} ORDER BY 1{}, 2",
                    self.aggregate(),
                    self.direction()
                );
                Query {
                    sql,
                    is_ordered: true,
                }
            }
            4 => Query {
                sql: format!("SELECT DISTINCT {}, bo FROM dt{filter}", self.expression()),
                is_ordered: false,
            },
            _ => {
                let join = self.one(&["JOIN", "LEFT JOIN"]);
                let sql = format!(
                    "SELECT a.n, b.n, b.{} FROM dt a {join} dt b ON a.k = b.k AND b.n < {} \
                     ORDER BY 1, 2 LIMIT {}",
                    self.name(),
                    self.0.below(80),
                    1 + self.0.below(30)
                );
                Query {
                    sql,
                    is_ordered: true,
                }
            }
        }
    }

    fn rows(&mut self, filter: &str) -> Query {
        let (first, second) = (self.expression(), self.expression());
        let mut sql = format!("SELECT {first}, {second}, n FROM dt{filter}");
        let is_ordered = self.0.chance(70);
        if is_ordered {
            let by = self.name();
            let order = format!(
                " ORDER BY {by}{}, 1{}, n",
                self.direction(),
                self.direction()
            );
            sql.push_str(&order);
            if self.0.chance(50) {
                let cut = format!(" LIMIT {} OFFSET {}", self.0.below(12), self.0.below(9));
                sql.push_str(&cut);
            }
        }
        Query { sql, is_ordered }
    }

    /// An INSERT of eighty rows.
    fn insert(&mut self) -> String {
        let names: Vec<&str> = COLUMNS.iter().map(|(name, ..)| *name).collect();
        let rows: Vec<String> = (0..80)
            .map(|n| {
                let values: Vec<&str> = COLUMNS
                    .iter()
                    .map(|(_, _, values)| self.value(values))
                    .collect();
                format!("({}, {n}, {})", 1 + self.0.below(25), values.join(", "))
            })
            .collect();
        format!(
            "INSERT INTO dt (k, n, {}) VALUES {}",
            names.join(", "),
            rows.join(", ")
        )
    }
}

async fn queries_of_every_type_are_answered_as_by_one_server() -> Outcome {
    let plan = Plan {
        shards: 4,
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let single = Postgres::start().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut server = Raw::connect(&single.address()).await?;
    let seed = number("DIFFERENTIAL_SEED").unwrap_or(1);
    let mut maker = Maker(Random::new(seed));
    for sql in set_up(&mut maker) {
        for session in [&mut router, &mut server] {
            let answer = session.query(&sql).await?;
            let failed = answer.iter().find_map(Message::sqlstate);
            anyhow::ensure!(failed.is_none(), "{sql}: {failed:?}");
        }
    }
    let end = seconds().map(|limit| Instant::now() + limit);
    let (mut asked, mut refused) = (0_u32, 0_u32);
    while end.map_or(asked < QUERIES, |end| Instant::now() < end) {
        asked += 1;
        let query = maker.query();
        // Within a transaction that has written, too.
        let within = asked.is_multiple_of(5);
        if within {
            router.query("BEGIN").await?;
            router.query("UPDATE dt SET n = n WHERE k = 3").await?;
        }
        let routed = router.query(&query.sql).await?;
        if within {
            router.query("ROLLBACK").await?;
        }
        let code = routed.iter().find_map(Message::sqlstate);
        if code.as_deref() == Some("0A000") {
            refused += 1;
            continue;
        }
        let alone = server.query(&query.sql).await?;
        let context = format!("DIFFERENTIAL_SEED={seed}, query {asked}: {}", query.sql);
        same!(code, alone.iter().find_map(Message::sqlstate), "{context}");
        let (found, wanted) = (rows_of(&routed, &query)?, rows_of(&alone, &query)?);
        same!(found, wanted, "{context}");
    }
    let share = f64::from(refused) * 100.0 / f64::from(asked);
    writeln!(
        std::io::stderr(),
        "{asked} queries, {refused} refused ({share:.1} %)"
    )?;
    anyhow::ensure!(refused < asked / 20, "{refused} of {asked} refused");
    Ok(())
}

fn set_up(maker: &mut Maker) -> Vec<String> {
    let columns = COLUMNS
        .iter()
        .map(|(name, kind, _)| format!("{name} {kind}"));
    let columns: Vec<String> = columns.collect();
    vec![
        "CREATE TYPE dt_mood AS ENUM ('ok', 'sad', 'happy')".to_owned(),
        "CREATE DOMAIN dt_pos AS int CHECK (VALUE > 0)".to_owned(),
        // One server takes the hint for a comment.
        format!(
            "/* shard_key = k */ CREATE TABLE dt (k bigint NOT NULL, n int, {})",
            columns.join(", ")
        ),
        maker.insert(),
    ]
}

/// The rows of an answer, sorted where their order is not defined.
fn rows_of(messages: &[Message], query: &Query) -> anyhow::Result<Vec<Vec<Option<Vec<u8>>>>> {
    let rows = messages.iter().filter(|message| message.tag == b'D');
    let mut rows = rows
        .map(Message::values)
        .collect::<anyhow::Result<Vec<_>>>()?;
    if !query.is_ordered {
        rows.sort();
    }
    Ok(rows)
}
