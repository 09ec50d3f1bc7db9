//! The text of the statements that change many rows of a mirror at once. Their parameters are
//! arrays of text, one a column, that are cast to the columns' types.

use std::fmt::Write as _;

use super::catalog::{Column, Differs, Table};
use super::chunk::Op;
use super::plan::Kind;
use crate::identifier::quoted;
use crate::reshard::shape::Shape;

/// Which value of a row a parameter holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The value before, of the column at this place of the identity.
    Old(usize),
    /// The value after, of the column at this place of the shape.
    New(usize),
}

/// A statement and its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The SQL.
    pub sql: String,
    /// What its parameters hold.
    pub parameters: Vec<Value>,
}

/// The statement for a kind of change. Its row count is the number of rows that were changed, or
/// that were found where nothing is to be changed.
///
/// # Errors
/// [`Differs`] when the table lacks a column.
pub fn text(kind: &Kind, shape: &Shape, table: &Table) -> Result<Text, Differs> {
    let mut builder = Builder {
        shape,
        table,
        target: quoted(&table.name),
        parameters: Vec::new(),
    };
    let sql = match kind.op {
        Op::Insert => builder.insert()?,
        Op::Delete => builder.delete()?,
        Op::Update => builder.update(kind.set.as_deref())?,
    };
    let parameters = builder.parameters;
    Ok(Text { sql, parameters })
}

struct Builder<'a> {
    shape: &'a Shape,
    table: &'a Table,
    target: String,
    parameters: Vec<Value>,
}

impl<'a> Builder<'a> {
    fn insert(&mut self) -> Result<String, Differs> {
        let (mut names, mut values) = (String::new(), String::new());
        for at in 0..self.shape.columns.len() {
            let column = self.column(at)?;
            let comma = if at == 0 { "" } else { ", " };
            put(&mut names, format_args!("{comma}{}", column.quoted()));
            let value = self.cast(Value::New(at), column);
            put(&mut values, format_args!("{comma}{value}"));
        }
        Ok(format!(
            "INSERT INTO {} ({names}) OVERRIDING SYSTEM VALUE SELECT {values} FROM {}",
            self.target,
            self.source()
        ))
    }

    fn delete(&mut self) -> Result<String, Differs> {
        let (rows, condition) = self.rows()?;
        Ok(format!(
            "DELETE FROM {} AS t USING {rows} WHERE {condition}",
            self.target
        ))
    }

    fn update(&mut self, set: Option<&[usize]>) -> Result<String, Differs> {
        let usual: Vec<usize>;
        let set = match set {
            Some(set) => set,
            None => {
                let width = self.shape.columns.len();
                let identity = &self.shape.identity;
                usual = (0..width).filter(|at| !identity.contains(at)).collect();
                &usual
            }
        };
        let mut assignments = String::new();
        for at in set {
            let column = self.column(*at)?;
            // Such a column only ever takes its default, on the owner too.
            if column.is_identity_always {
                continue;
            }
            let comma = if assignments.is_empty() { "" } else { ", " };
            let value = self.cast(Value::New(*at), column);
            put(
                &mut assignments,
                format_args!("{comma}{} = {value}", column.quoted()),
            );
        }
        if assignments.is_empty() {
            let (rows, condition) = self.rows()?;
            return Ok(format!(
                "SELECT FROM {} AS t, {rows} WHERE {condition}",
                self.target
            ));
        }
        let (rows, condition) = self.rows()?;
        Ok(format!(
            "UPDATE {} AS t SET {assignments} FROM {rows} WHERE {condition}",
            self.target
        ))
    }

    /// The rows that are meant, and how they are found.
    fn rows(&mut self) -> Result<(String, String), Differs> {
        let places = self.shape.identity.clone();
        let mut conditions = Vec::with_capacity(places.len());
        if !self.shape.is_whole {
            for (at, place) in places.iter().enumerate() {
                let column = self.column(*place)?;
                let value = self.cast(Value::Old(at), column);
                conditions.push(format!("t.{} = {value}", column.quoted()));
            }
            return Ok((self.source(), conditions.join(" AND ")));
        }
        for (at, place) in places.iter().enumerate() {
            let column = self.column(*place)?;
            let name = column.quoted();
            let value = self.parameter(Value::Old(at));
            // The types' output functions are exact, which their equality need not be, and their
            // casts to text are not always the same.
            conditions.push(format!(
                "(CASE WHEN r.{name} IS NOT NULL THEN format('%s', r.{name}) END) COLLATE \"C\" \
                 IS NOT DISTINCT FROM {value}"
            ));
            if *place == self.shape.key {
                // For an index on the key, if there is one.
                conditions.push(format!("r.{name} = {value}::{}", column.type_name));
            }
        }
        let source = self.source();
        let (target, conditions) = (&self.target, conditions.join(" AND "));
        // Of rows that are alike, each change takes one.
        let rows = format!(
            "{source} CROSS JOIN LATERAL (SELECT r.tableoid AS o, r.ctid AS c FROM {target} AS r \
             WHERE {conditions} LIMIT 1) AS w"
        );
        Ok((rows, "t.tableoid = w.o AND t.ctid = w.c".to_owned()))
    }

    fn column(&self, at: usize) -> Result<&'a Column, Differs> {
        let name = self
            .shape
            .columns
            .get(at)
            .map(|column| column.name.as_str());
        let found = self
            .table
            .columns
            .iter()
            .find(|each| Some(each.name.as_str()) == name);
        found.ok_or_else(|| Differs::Missing(name.unwrap_or_default().to_owned()))
    }

    /// A value of the present row, in the column's type.
    fn cast(&mut self, value: Value, column: &Column) -> String {
        format!("{}::{}", self.parameter(value), column.type_name)
    }

    /// A value of the present row, as text.
    fn parameter(&mut self, value: Value) -> String {
        let known = self.parameters.iter().position(|each| *each == value);
        let place = known.unwrap_or_else(|| {
            self.parameters.push(value);
            self.parameters.len() - 1
        });
        format!("v.c{place}")
    }

    /// The rows that the parameters hold.
    fn source(&self) -> String {
        let (mut arrays, mut names) = (String::new(), String::new());
        for place in 0..self.parameters.len() {
            let comma = if place == 0 { "" } else { ", " };
            put(&mut arrays, format_args!("{comma}${}::text[]", place + 1));
            put(&mut names, format_args!("{comma}c{place}"));
        }
        format!("unnest({arrays}) AS v({names})")
    }
}

fn put(text: &mut String, piece: std::fmt::Arguments<'_>) {
    text.write_fmt(piece).expect("a string takes any text");
}

#[cfg(test)]
mod tests;
