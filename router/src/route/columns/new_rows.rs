//! The rows of an INSERT's query, all of which are taken: there, constants and arrays are found
//! behind casts and under the names that are written beside an alias.

use std::borrow::Cow;

use super::{CellId, Column, Columns, MAX_DEPTH, Origin, Place, outputs_without_star};
use crate::query::{ArrayColumn, Output, ScopeId, Source, Value};

impl<'a> Columns<'a> {
    /// The output at a position of an INSERT's query. New names of columns and casts of constants
    /// are looked through here only: of conditions they would show more values, some of which
    /// another condition may rule out.
    pub(in crate::route) fn new_rows_at(
        &mut self,
        scope: ScopeId,
        position: usize,
    ) -> Option<CellId> {
        self.whole = true;
        let cell = self.output_at(scope, position);
        self.whole = false;
        cell
    }

    /// Where a column's values come from when nothing can have put NULL in their place.
    pub(in crate::route) fn base(&self, mut cell: CellId) -> Option<&Origin<'a>> {
        for _ in 0..MAX_DEPTH {
            match self.origin(cell)? {
                Origin::Column(Column::Output { place, cell: inner })
                    if self.entry(*place).is_some_and(|entry| !entry.nullable) =>
                {
                    cell = *inner;
                }
                origin => return Some(origin),
            }
        }
        None
    }

    /// The output at a position of a list whose rows are all taken.
    pub(super) fn new_row(
        &mut self,
        scope: ScopeId,
        outputs: &'a [Output],
        position: usize,
    ) -> Option<Origin<'a>> {
        if let [Output::Star(_)] = outputs {
            let level = self.scope(scope)?;
            let ([entry], []) = (level.entries.as_slice(), level.merged.as_slice()) else {
                return None;
            };
            let Source::Rows(inner) = entry.source else {
                return None;
            };
            let cell = self.output_at(inner, position)?;
            let place = Place { scope, entry: 0 };
            return Some(Origin::Column(Column::Output { place, cell }));
        }
        match outputs_without_star(outputs, position)? {
            Output::Column { column, .. } => self.resolve(scope, column).map(Origin::Column),
            Output::Value(value) => Some(Origin::Values(vec![Cow::Borrowed(value)])),
            Output::Cast(column, family) => {
                let Column::Output { place, cell } = self.resolve(scope, column)? else {
                    return None;
                };
                let is_shown = self.entry(place).is_some_and(|entry| !entry.nullable);
                let Some(Origin::Values(values)) = self.base(cell).filter(|_| is_shown) else {
                    return None;
                };
                let cast =
                    |value: &Cow<'_, Value>| Cow::Owned(value.clone().into_owned().cast(*family));
                Some(Origin::Values(values.iter().map(cast).collect()))
            }
            Output::Array(_) => {
                let arrays = arrays_among(outputs)?;
                let before = outputs.iter().take(position);
                let at = before.filter(|output| matches!(output, Output::Array(_)));
                Some(Origin::Array(arrays, at.count()))
            }
            Output::Star(_) => None,
        }
    }

    /// The output of a scope that has this name beside an alias.
    pub(super) fn renamed(
        &mut self,
        inner: ScopeId,
        names: &[String],
        name: &str,
    ) -> Option<CellId> {
        let mut positions = (0..).zip(names).filter(|(_, own)| *own == name);
        let (Some((position, _)), None, true) = (positions.next(), positions.next(), self.whole)
        else {
            return None;
        };
        let cell = self.output_at(inner, position)?;
        let is_typed = match self.origin(cell)? {
            // Text, where the client has not declared a type.
            Origin::Values(values) => !values
                .iter()
                .any(|value| matches!(**value, Value::Parameter(_, None))),
            Origin::Column(_) | Origin::Cells(_) | Origin::Array(..) => true,
        };
        is_typed.then_some(cell)
    }
}

/// The arrays of a list that become rows side by side; none when something else in it may make
/// more rows.
fn arrays_among(outputs: &[Output]) -> Option<Vec<&ArrayColumn>> {
    let mut arrays = Vec::new();
    for output in outputs {
        match output {
            Output::Array(array) => arrays.push(array),
            Output::Value(Value::Other) => return None,
            Output::Column { .. } | Output::Star(_) | Output::Value(_) | Output::Cast(..) => {}
        }
    }
    Some(arrays)
}
