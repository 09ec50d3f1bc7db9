//! The rules for new rows of a sharded table: the statement must show each row's key, since a row
//! on the wrong shard is a lost row.

use super::columns::{CellId, Origin, Place};
use super::pins::{Nulls, Pins};
use super::tables::Sharded;
use super::{KeyColumn, Refusal, UnnamedInsert};
use crate::query::{Insert, NewRows, Value};

/// An INSERT into a sharded table.
#[derive(Debug)]
pub(super) struct ShardedInsert<'a> {
    pub(super) target: Place,
    pub(super) table: Sharded<'a>,
    pub(super) insert: &'a Insert,
}

/// What remains to be asked when all facts are known.
#[derive(Debug)]
pub(super) enum Pending {
    /// The key is a parameter: whether it is NULL is seen with each execution.
    Checked(KeyColumn),
    /// The key is an output of a query.
    Output(CellId),
    /// Nothing.
    Nothing,
}

impl ShardedInsert<'_> {
    /// What has to be known before it can be planned; none when nothing has to be.
    pub(super) fn unnamed(&self) -> Option<UnnamedInsert> {
        let Insert {
            columns: None,
            unnamed: Some(unnamed),
            rows: NewRows::Values(_) | NewRows::Query(_),
            ..
        } = self.insert
        else {
            return None;
        };
        Some(UnnamedInsert {
            table: self.table.name.clone(),
            unnamed: unnamed.clone(),
        })
    }

    /// Where the columns' order is not known.
    pub(super) fn names_no_columns(&self) -> Refusal {
        let KeyColumn { table, column } = self.table.key_column();
        Refusal::unsupported(format!(
            "INSERT into sharded table \"{table}\" does not name its columns"
        ))
        .hint(format!(
            "name the columns: INSERT INTO {table} ({column}, ...)"
        ))
    }

    /// Pins the target by its new rows.
    pub(super) fn pin(&self, pins: &mut Pins<'_>) -> Result<Pending, Refusal> {
        let key = self.table.key_column();
        if self.insert.rows == NewRows::Defaults {
            return Err(no_value(&key));
        }
        let columns = self.insert.columns.as_ref();
        let columns = columns.ok_or_else(|| self.names_no_columns())?;
        let position = columns.iter().position(|column| *column == key.column);
        let position = position.ok_or_else(|| no_value(&key))?;
        match &self.insert.rows {
            NewRows::Defaults => Err(no_value(&key)),
            NewRows::Values(rows) => {
                let values: Option<Vec<_>> = rows.iter().map(|row| row.get(position)).collect();
                let values = values.ok_or_else(|| no_value(&key))?;
                let checked = check(&values, &key)?;
                if pins.insert_values(self.target, &values)? {
                    Ok(checked)
                } else {
                    Err(no_value(&key))
                }
            }
            NewRows::Query(query) => {
                let cell = pins.insert_query(self.target, *query, position);
                cell.map(Pending::Output).ok_or_else(|| not_pinned(&key))
            }
        }
    }

    /// Asks what [`Self::pin`] left open.
    pub(super) fn check(
        &self,
        pending: Pending,
        pins: &Pins<'_>,
    ) -> Result<Option<KeyColumn>, Refusal> {
        let key = self.table.key_column();
        let cell = match pending {
            Pending::Nothing => return Ok(None),
            Pending::Checked(key) => return Ok(Some(key)),
            Pending::Output(cell) => cell,
        };
        match (pins.cell(cell), pins.base(cell)) {
            (None, _) => Err(not_pinned(&key)),
            (Some(_), Some(Origin::Values(values))) => {
                let values: Vec<&Value> = values.iter().map(|value| &**value).collect();
                match check(&values, &key)? {
                    Pending::Checked(key) => Ok(Some(key)),
                    Pending::Output(_) | Pending::Nothing => Ok(None),
                }
            }
            (Some(_), Some(Origin::Array(..))) => Ok(Some(key)),
            (Some(Nulls::Never), _) => Ok(None),
            (Some(Nulls::Perhaps), _) => Err(Refusal::unsupported(format!(
                "the query may give NULL for shard key \"{}\" of table \"{}\"",
                key.column, key.table
            ))
            .hint("take the key from a table that no outer join can leave out")),
        }
    }
}

fn check(values: &[&Value], key: &KeyColumn) -> Result<Pending, Refusal> {
    if values.iter().any(|value| **value == Value::Null) {
        return Err(Refusal::null_key(key));
    }
    let parameters = values
        .iter()
        .any(|value| matches!(value, Value::Parameter(..)));
    Ok(if parameters {
        Pending::Checked(key.clone())
    } else {
        Pending::Nothing
    })
}

fn no_value(key: &KeyColumn) -> Refusal {
    let KeyColumn { table, column } = key;
    Refusal::unsupported(format!(
        "INSERT into sharded table \"{table}\" does not show the value of its shard key \"{column}\""
    ))
    .hint(format!("give \"{column}\" as a constant of its own type or as a parameter in every row"))
}

fn not_pinned(key: &KeyColumn) -> Refusal {
    let KeyColumn { table, column } = key;
    Refusal::unsupported(format!(
        "the query does not show which shard key \"{column}\" its rows for table \"{table}\" have"
    ))
    .hint(
        "send it over the Postgres front without a hint, or restrict the query to one value of the \
         column that gives the key",
    )
}
