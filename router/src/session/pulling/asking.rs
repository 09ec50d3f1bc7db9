//! What a shard is asked before the rows of a query are inserted: whether the INSERT is one, in
//! PostgreSQL's own words, and of which types everything is.

use bytes::{Bytes, BytesMut};
use wire::backend::RowDescription;
use wire::frame::HEADER_BYTES;
use wire::frontend::{TargetKind, encode};
use wire::quote::{literal, qualified};

use super::batch::rows_of;
use super::{Asked, not_understood};
use crate::query::Pulled;
use crate::route::{PulledInto, Refusal, Target};
use crate::scatter::exec::exact;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::view::Serving;

/// How the rows of a query are inserted.
#[derive(Debug)]
pub(super) struct Program {
    /// The query, whose last output may be the key as the column holds it.
    pub(super) query: String,
    /// The INSERT of some of its rows.
    pub(super) insert: String,
    /// The types of the parameters of both.
    pub(super) types: Vec<u32>,
    /// How many of the query's outputs are inserted.
    pub(super) width: usize,
    /// Which output is the key.
    pub(super) key: usize,
    /// What RETURNING hands out; none without it.
    pub(super) heading: Option<Bytes>,
    /// Whether all rows of a shard have to be inserted at once.
    pub(super) at_once: bool,
}

/// What a shard says of a statement.
#[derive(Debug)]
struct Described {
    parameters: Vec<u32>,
    heading: Option<Bytes>,
    columns: Vec<u32>,
}

/// A column of the table.
#[derive(Debug)]
struct TableColumn {
    name: String,
    type_oid: u32,
    type_name: String,
}

impl Session {
    /// Finds out how the rows are inserted, within the transaction, which is begun if none is open.
    pub(super) async fn program_of(
        &mut self,
        serving: &Serving,
        asked: &Asked<'_>,
        (pulled, target): (&Pulled, Target),
    ) -> Result<Program, Stopped> {
        let into = asked.into;
        self.begin_implicitly().await?;
        self.flight.note_writes(false);
        self.attach(serving, target).await?;
        let own = &asked.arguments.types;
        let whole = self.describe_on_shard(serving, asked.sql, own).await?;
        if whole.parameters.len() > asked.arguments.values.len() {
            return Err(no_parameter(asked.arguments.values.len()).into());
        }
        let columns = self.columns_into(serving, into).await?;
        let casts = casts(pulled, into, &columns)?;
        let query = pulled.query(&casts).ok_or_else(not_understood)?;
        let types = whole.parameters;
        let rows = self.describe_on_shard(serving, &query, &types).await?;
        if rows.columns.len() != into.columns.len() {
            return Err(not_understood().into());
        }
        let names = self.names_of(serving, &rows.columns).await?;
        let stored = named(&columns, &into.key.column.column)?;
        let given = rows.columns.get(into.place).copied();
        let width = rows.columns.len();
        let (query, key) = if given.is_some_and(|given| is_alike(given, stored.type_oid)) {
            (query, into.place)
        } else {
            (
                with_key(&query, width, into.place, &stored.type_name),
                width,
            )
        };
        let insert = pulled.insert(&rows_of(types.len(), &names));
        Ok(Program {
            query,
            insert: insert.ok_or_else(not_understood)?,
            types,
            width,
            key,
            heading: whole.heading,
            at_once: pulled.updates(),
        })
    }

    /// What is handed out by an INSERT that is bound to arguments.
    pub(super) async fn heading_into(
        &mut self,
        serving: &Serving,
        asked: &Asked<'_>,
        target: Target,
    ) -> Result<Option<Bytes>, Stopped> {
        self.begin_implicitly().await?;
        self.flight.note_writes(false);
        self.attach(serving, target).await?;
        let arguments = asked.arguments;
        let formats: Vec<_> = arguments.values.iter().map(|(format, _)| *format).collect();
        let values: Vec<_> = arguments
            .values
            .iter()
            .map(|(_, it)| it.as_deref())
            .collect();
        let mut out = BytesMut::new();
        encode::parse(&mut out, b"", asked.sql.as_bytes(), &arguments.types)?;
        encode::bind(&mut out, b"", b"", &formats, &values, &arguments.results)?;
        encode::describe(&mut out, TargetKind::Portal, b"")?;
        encode::sync(&mut out);
        let said = self.require(out, &serving.snapshot).await?;
        Ok(said.heading)
    }

    async fn describe_on_shard(
        &mut self,
        serving: &Serving,
        sql: &str,
        types: &[u32],
    ) -> Result<Described, Stopped> {
        let mut out = BytesMut::new();
        encode::parse(&mut out, b"", sql.as_bytes(), types)?;
        encode::describe(&mut out, TargetKind::Statement, b"")?;
        encode::sync(&mut out);
        let said = self.require(out, &serving.snapshot).await?;
        let body = said.heading.as_ref().and_then(|it| it.get(HEADER_BYTES..));
        let columns = body.and_then(|body| RowDescription::decode(body).ok());
        let columns = columns.into_iter().flat_map(RowDescription::columns);
        Ok(Described {
            parameters: said.parameters,
            columns: columns.map(|column| column.type_oid).collect(),
            heading: said.heading,
        })
    }

    /// The columns of the table, as this transaction sees them.
    async fn columns_into(
        &mut self,
        serving: &Serving,
        into: &PulledInto,
    ) -> Result<Vec<TableColumn>, Stopped> {
        let table = &into.key.table;
        let sql = format!(
            "SELECT a.attname, a.atttypid::pg_catalog.int8, \
             pg_catalog.format_type(a.atttypid, -1) FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = {}::pg_catalog.regclass AND a.attnum > 0 AND NOT a.attisdropped",
            literal(&qualified(table.schema(), table.name()))
        );
        let said = self.ask_for(serving, &sql).await?;
        let column = |row: Vec<Option<String>>| {
            let mut values = row.into_iter().flatten();
            Some(TableColumn {
                name: values.next()?,
                type_oid: values.next()?.parse().ok()?,
                type_name: values.next()?,
            })
        };
        Ok(said.into_iter().filter_map(column).collect())
    }

    /// The names of types, where values of them keep what they are as texts.
    async fn names_of(&mut self, serving: &Serving, types: &[u32]) -> Result<Vec<String>, Stopped> {
        let named = types
            .iter()
            .map(|oid| format!("pg_catalog.format_type({oid}, -1)"));
        let wanted: Vec<String> = named.chain(exact::QUESTIONS.map(str::to_owned)).collect();
        let sql = format!("SELECT {}", wanted.join(", "));
        let row = self.ask_for(serving, &sql).await?.into_iter().next();
        let row = row.unwrap_or_default();
        let (names, settings) = row.split_at(types.len().min(row.len()));
        exact::check(types, settings)?;
        let names: Option<Vec<String>> = names.iter().cloned().collect();
        Ok(names.ok_or_else(not_understood)?)
    }

    /// The rows of a question of the router's own.
    async fn ask_for(
        &mut self,
        serving: &Serving,
        sql: &str,
    ) -> Result<Vec<Vec<Option<String>>>, Stopped> {
        let mut out = BytesMut::new();
        encode::query(&mut out, sql.as_bytes())?;
        let said = self.require(out, &serving.snapshot).await?;
        Ok(said.all_values().collect())
    }
}

fn named<'c>(columns: &'c [TableColumn], name: &str) -> Result<&'c TableColumn, Refusal> {
    let found = columns.iter().find(|column| column.name == name);
    found.ok_or_else(not_understood)
}

/// The types that untyped constants get: those of the columns that they are for.
fn casts(
    pulled: &Pulled,
    into: &PulledInto,
    columns: &[TableColumn],
) -> Result<Vec<(crate::query::Untyped, String)>, Refusal> {
    let untyped = pulled.untyped().ok_or_else(between_stars)?;
    let mut casts = Vec::with_capacity(untyped.len());
    for one in untyped {
        let place = one.place(into.columns.len());
        let name = place.and_then(|place| into.columns.get(place));
        let column = named(columns, name.ok_or_else(not_understood)?)?;
        casts.push((one, column.type_name.clone()));
    }
    Ok(casts)
}

/// Whether a value of one type is the key that a column of the other gets of it, in its text.
fn is_alike(given: u32, stored: u32) -> bool {
    // smallint, integer, bigint; text, varchar.
    let of = |types: &[u32]| types.contains(&given) && types.contains(&stored);
    given == stored || of(&[20, 21, 23]) || of(&[25, 1043])
}

/// The query with the key behind its outputs, as a column of the type holds it.
fn with_key(query: &str, width: usize, key: usize, type_name: &str) -> String {
    let columns: Vec<String> = (0..width).map(|at| format!("c{at}")).collect();
    let columns = columns.join(", ");
    format!("SELECT {columns}, q.c{key}::{type_name} FROM ({query}) AS q({columns})")
}

fn no_parameter(values: usize) -> Refusal {
    Refusal {
        sqlstate: "42P02",
        message: format!("there is no parameter ${}", values + 1),
        hint: None,
    }
}

fn between_stars() -> Refusal {
    Refusal::unsupported(
        "a constant without a type between two `*` is not supported in an INSERT for several shards",
    )
    .hint("give the constant a type: 'x'::text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_another_type_are_cast_by_a_shard() {
        assert!(is_alike(23, 20) && is_alike(1043, 25) && is_alike(2950, 2950));
        assert!(!is_alike(1700, 20) && !is_alike(1042, 25) && !is_alike(25, 20));
        assert_eq!(
            with_key("SELECT 1.5, 'a'::text", 2, 0, "bigint"),
            "SELECT c0, c1, q.c0::bigint FROM (SELECT 1.5, 'a'::text) AS q(c0, c1)"
        );
    }
}
