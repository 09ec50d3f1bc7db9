//! What shards are asked, as messages, and what they say to it.

use bytes::{Bytes, BytesMut};
use wire::Format;
use wire::backend::{
    Column, CommandComplete, DataRow, Diagnostic, RowDescription, parameter_description, tag,
};
use wire::frontend::{TargetKind, encode};
use wire::quote::{ident, literal};

use super::exact;
use super::leases::{Leases, for_clients};
use super::{Arguments, Failure};
use crate::error::Error;
use crate::exec::conversation::Message;
use crate::query::TableRef;
use crate::route::Refusal;
use crate::scatter::order::{Kind, is_collated};
use crate::scatter::plan::Order;

/// A statement that is parsed, bound, described and executed, as messages.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) bytes: Bytes,
}

impl Question {
    pub(super) fn new(
        sql: &str,
        types: &[u32],
        values: &[(Format, Option<Bytes>)],
        results: &[Format],
    ) -> Result<Self, Failure> {
        let mut out = BytesMut::new();
        encode::parse(&mut out, b"", sql.as_bytes(), types)?;
        let formats: Vec<Format> = values.iter().map(|(format, _)| *format).collect();
        let values: Vec<Option<&[u8]>> = values.iter().map(|(_, value)| value.as_deref()).collect();
        encode::bind(&mut out, b"", b"", &formats, &values, results)?;
        encode::describe(&mut out, TargetKind::Portal, b"")?;
        encode::execute(&mut out, b"", 0)?;
        encode::sync(&mut out);
        Ok(Self {
            bytes: out.freeze(),
        })
    }
}

/// What a shard says of a statement.
#[derive(Debug, Clone, Default)]
pub(super) struct Described {
    pub(super) parameters: Vec<u32>,
    pub(super) columns: Vec<OwnedColumn>,
}

/// A column of a result.
#[derive(Debug, Clone)]
pub(super) struct OwnedColumn {
    pub(super) name: String,
    raw_name: Bytes,
    table_oid: u32,
    table_column: i16,
    pub(super) type_oid: u32,
    type_bytes: i16,
    type_modifier: i32,
}

impl OwnedColumn {
    fn of(column: &Column<'_>) -> Self {
        Self {
            name: column.name.to_lossy().into_owned(),
            raw_name: Bytes::copy_from_slice(column.name.as_bytes()),
            table_oid: column.table_oid,
            table_column: column.table_column,
            type_oid: column.type_oid,
            type_bytes: column.type_bytes,
            type_modifier: column.type_modifier,
        }
    }

    /// As a RowDescription has it.
    pub(super) fn as_wire(&self, format: Format) -> Column<'_> {
        Column {
            name: wire::Text::new(&self.raw_name),
            table_oid: self.table_oid,
            table_column: self.table_column,
            type_oid: self.type_oid,
            type_bytes: self.type_bytes,
            type_modifier: self.type_modifier,
            format,
        }
    }
}

/// Has the first shard describe a statement.
pub(super) async fn describe(
    leases: &mut Leases,
    sql: &str,
    types: &[u32],
) -> Result<Described, Failure> {
    let mut out = BytesMut::new();
    encode::parse(&mut out, b"", sql.as_bytes(), types)?;
    encode::describe(&mut out, TargetKind::Statement, b"")?;
    encode::sync(&mut out);
    leases.send(0, out.freeze()).await?;
    let mut described = Described::default();
    let mut failure = None;
    loop {
        let message = leases.receive(0).await?;
        match message.tag() {
            tag::PARAMETER_DESCRIPTION => {
                if let Ok(types) = parameter_description(message.body()) {
                    described.parameters = types.iter().collect();
                }
            }
            tag::ROW_DESCRIPTION => {
                if let Ok(columns) = RowDescription::decode(message.body()) {
                    let columns = columns.columns();
                    described.columns = columns.map(|column| OwnedColumn::of(&column)).collect();
                }
            }
            tag::ERROR_RESPONSE => failure = Some(for_clients(message)),
            tag::READY_FOR_QUERY => break,
            _ => {}
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(described),
    }
}

/// Waits until a shard has begun to answer; gives its RowDescription. What comes after it is left
/// to be read.
pub(super) async fn begun(leases: &mut Leases, at: usize) -> Result<Bytes, Failure> {
    let mut heading = None;
    loop {
        if heading.is_some() && leases.peek(at).await? {
            return heading.ok_or_else(|| Error::NoShard.into());
        }
        let message = leases.receive(at).await?;
        match message.tag() {
            tag::ROW_DESCRIPTION | tag::COPY_OUT_RESPONSE => heading = Some(message.into_bytes()),
            tag::ERROR_RESPONSE => return Err(for_clients(message)),
            tag::READY_FOR_QUERY => return Err(Error::NoShard.into()),
            _ => {}
        }
    }
}

/// Sends the last query to the first shard and waits for its heading.
pub(super) async fn begin_last(leases: &mut Leases, question: Question) -> Result<Bytes, Failure> {
    leases.send(0, question.bytes).await?;
    begun(leases, 0).await
}

/// The next row of the last query; the first shard alone has anything to say.
pub(super) async fn next_of_last(
    leases: &mut Leases,
    completed: &mut u64,
) -> Result<Option<Bytes>, Failure> {
    loop {
        let message = leases.receive(0).await?;
        match message.tag() {
            tag::DATA_ROW | tag::COPY_DATA => return Ok(Some(message.into_bytes())),
            tag::COMMAND_COMPLETE => {
                let complete = CommandComplete::decode(message.body()).ok();
                *completed = complete.and_then(CommandComplete::rows).unwrap_or(0);
            }
            tag::ERROR_RESPONSE => return Err(for_clients(message)),
            tag::READY_FOR_QUERY => return Ok(None),
            _ => {}
        }
    }
}

/// Runs a query of the router's own on the first shard that gives one row.
async fn one_row(leases: &mut Leases, question: Question) -> Result<Vec<Option<String>>, Failure> {
    leases.send(0, question.bytes).await?;
    let (mut row, mut failure) = (Vec::new(), None);
    loop {
        let message: Message = leases.receive(0).await?;
        match message.tag() {
            tag::DATA_ROW => {
                if let Ok(data) = DataRow::decode(message.body()) {
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    row = data.values.iter().map(|value| value.map(text)).collect();
                }
            }
            tag::ERROR_RESPONSE => failure = Some(for_clients(message)),
            tag::READY_FOR_QUERY => break,
            _ => {}
        }
    }
    failure.map_or(Ok(row), Err)
}

/// What an expression comes to that is no column's, as a bigint; none is NULL.
pub(super) async fn integer(
    leases: &mut Leases,
    expression: &str,
    types: &[u32],
    arguments: &Arguments,
) -> Result<Option<i64>, Failure> {
    // Whether it may be one without a cast was said when the whole statement was described.
    let sql = format!("SELECT ({expression})::pg_catalog.int8");
    let row = one_row(leases, Question::new(&sql, types, &arguments.values, &[])?).await?;
    let value = row.into_iter().next().flatten();
    Ok(value.and_then(|value| value.parse().ok()))
}

/// The query that COPY of a table stands for: a plain table's columns that are not generated, or
/// those that are named.
pub(super) async fn table_query(
    leases: &mut Leases,
    table: &TableRef,
    columns: &[String],
) -> Result<String, Failure> {
    let name = match &table.schema {
        Some(schema) => format!("{}.{}", ident(schema), ident(&table.name)),
        None => ident(&table.name),
    };
    let sql = format!(
        "SELECT c.relkind, pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' \
         ORDER BY a.attnum) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a \
         ON a.attrelid = c.oid WHERE c.oid = pg_catalog.to_regclass({}) AND a.attnum > 0 \
         AND NOT a.attisdropped AND a.attgenerated = '' GROUP BY c.relkind",
        literal(&name)
    );
    let row = one_row(leases, Question::new(&sql, &[], &[], &[])?).await?;
    let [Some(kind), Some(all)] = row.as_slice() else {
        return Err(no_table(&table.name).into());
    };
    if kind != "r" {
        return Err(no_plain_table(&table.name).into());
    }
    let named: Vec<String> = columns.iter().map(|column| ident(column)).collect();
    let list = if named.is_empty() {
        all.clone()
    } else {
        named.join(", ")
    };
    Ok(format!("SELECT {list} FROM ONLY {name}"))
}

fn no_table(name: &str) -> Refusal {
    Refusal {
        sqlstate: "42P01",
        message: format!("relation \"{name}\" does not exist"),
        hint: None,
    }
}

fn no_plain_table(name: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("COPY of \"{name}\" is not supported: it is not a plain table"),
        hint: Some("use COPY (SELECT ...) TO STDOUT".to_owned()),
    }
}

/// What a shard says to a question of rows of one text.
pub(super) async fn lines(leases: &mut Leases, at: usize) -> Result<Vec<String>, Failure> {
    let (mut lines, mut failure) = (Vec::new(), None);
    loop {
        let message = leases.receive(at).await?;
        match message.tag() {
            tag::DATA_ROW => {
                if let Ok(data) = DataRow::decode(message.body()) {
                    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                    lines.extend(data.values.iter().flatten().map(text));
                }
            }
            tag::ERROR_RESPONSE => failure = Some(for_clients(message)),
            tag::READY_FOR_QUERY => break,
            _ => {}
        }
    }
    failure.map_or(Ok(lines), Err)
}

/// What a type and a collation are called on the first shard.
#[derive(Debug, Clone)]
pub(super) struct Name {
    pub(super) type_name: String,
    /// None for the database's own.
    pub(super) collation: Option<String>,
}

/// The collation of a column of a query, as SQL.
fn collation_of(probe: &str, columns: usize, at: usize) -> String {
    let names: Vec<String> = (0..columns).map(|at| format!("c{at}")).collect();
    format!(
        "pg_catalog.pg_collation_for((SELECT q.c{at} FROM ({probe}) q({}) LIMIT 0))",
        names.join(", ")
    )
}

/// The names of the types and collations of a query's columns.
pub(super) async fn names(
    leases: &mut Leases,
    probe: &str,
    described: &Described,
    arguments: &Arguments,
    types: &[u32],
) -> Result<Vec<Name>, Failure> {
    let of_type = types
        .iter()
        .map(|oid| format!("pg_catalog.format_type({oid}, -1)"));
    let mut wanted: Vec<String> = of_type.collect();
    let collated = |oid: &u32| is_collated(*oid) || matches!(oid, 1002 | 1009 | 1014 | 1015);
    for (at, oid) in types.iter().enumerate() {
        wanted.push(match collated(oid) {
            true => collation_of(probe, types.len(), at),
            false => "NULL".to_owned(),
        });
    }
    wanted.extend(exact::QUESTIONS.map(str::to_owned));
    let sql = format!("SELECT {}", wanted.join(", "));
    let asks_nothing = !types.iter().any(collated);
    let (parameters, values): (&[u32], &[_]) = match asks_nothing {
        true => (&[], &[]),
        false => (&described.parameters, &arguments.values),
    };
    let row = one_row(leases, Question::new(&sql, parameters, values, &[])?).await?;
    exact::check(types, row.get(2 * types.len()..).unwrap_or_default())?;
    let (type_names, collations) = row.split_at(types.len().min(row.len()));
    let named = type_names
        .iter()
        .zip(collations)
        .map(|(type_name, collation)| Name {
            type_name: type_name
                .clone()
                .unwrap_or_else(|| "pg_catalog.text".to_owned()),
            collation: collation.clone().filter(|it| !it.contains("\"default\"")),
        });
    Ok(named.collect())
}

/// How the keys of an order are compared, by the types of the columns from `first` on; none where
/// only PostgreSQL knows.
pub(super) async fn kinds(
    leases: &mut Leases,
    probe: &str,
    described: &Described,
    arguments: &Arguments,
    (first, keys): (usize, &[(u32, Order)]),
) -> Result<Option<Vec<Kind>>, Failure> {
    let kinds: Option<Vec<Kind>> = keys.iter().map(|(oid, _)| Kind::of(*oid)).collect();
    let Some(kinds) = kinds else {
        return Ok(None);
    };
    let mut wanted = Vec::new();
    for (at, (oid, _)) in (first..).zip(keys) {
        if is_collated(*oid) {
            wanted.push(collation_of(probe, first + keys.len(), at));
        }
    }
    if wanted.is_empty() {
        return Ok(Some(kinds));
    }
    // Servers before PostgreSQL 15 have one provider of the database's own collation.
    wanted.push(
        "(SELECT CASE WHEN coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' \
         THEN d.datcollate END FROM pg_catalog.pg_database d \
         WHERE d.datname = pg_catalog.current_database())"
            .to_owned(),
    );
    let sql = format!("SELECT {}", wanted.join(", "));
    let question = Question::new(&sql, &described.parameters, &arguments.values, &[])?;
    let row = one_row(leases, question).await?;
    let Some((database, collations)) = row.split_last() else {
        return Ok(None);
    };
    let database = database.as_deref().unwrap_or("");
    let by_bytes = collations.iter().all(|collation| {
        let collation = collation.as_deref().unwrap_or("");
        let name = collation
            .trim_start_matches("pg_catalog.")
            .trim_matches('"');
        is_by_bytes(if name == "default" { database } else { name })
    });
    Ok(by_bytes.then_some(kinds))
}

/// Whether a collation is the order of the bytes of UTF-8.
fn is_by_bytes(collation: &str) -> bool {
    const BY_BYTES: [&str; 8] = [
        "C",
        "POSIX",
        "ucs_basic",
        "C.UTF-8",
        "C.UTF8",
        "C.utf8",
        "C.utf-8",
        "pg_c_utf8",
    ];
    BY_BYTES.contains(&collation)
}

/// Whether an error is that there is no such column.
pub(super) fn is_unknown_column(error: &Bytes) -> bool {
    has_code(error, "42703")
}

/// Whether an error is that a column is neither grouped by nor aggregated.
pub(super) fn is_of_grouping(error: &Bytes) -> bool {
    has_code(error, "42803")
}

fn has_code(error: &Bytes, wanted: &str) -> bool {
    let body = error.get(wire::frame::HEADER_BYTES..).unwrap_or_default();
    let code = Diagnostic::decode_error(body)
        .ok()
        .and_then(Diagnostic::code);
    code.is_some_and(|code| code.to_string() == wanted)
}

/// Whether an error's message has these words.
pub(super) fn says(error: &Bytes, words: &str) -> bool {
    let body = error.get(wire::frame::HEADER_BYTES..).unwrap_or_default();
    let message = Diagnostic::decode_error(body)
        .ok()
        .and_then(Diagnostic::message);
    message.is_some_and(|message| message.to_lossy().contains(words))
}

/// Whether two RowDescriptions have the same types. Those that users create have ids of their own
/// on each shard, and travel as texts.
pub(super) fn are_alike(one: &Bytes, other: &Bytes) -> bool {
    const FIRST_OF_USERS: u32 = 16_384;
    if one.first() == Some(&tag::COPY_OUT_RESPONSE) {
        return one == other;
    }
    let types = |frame: &Bytes| -> Option<Vec<u32>> {
        let body = frame.get(wire::frame::HEADER_BYTES..)?;
        let description = RowDescription::decode(body).ok()?;
        let types = description
            .columns()
            .map(|column| column.type_oid.min(FIRST_OF_USERS));
        Some(types.collect())
    };
    types(one).is_some_and(|one| types(other) == Some(one))
}
