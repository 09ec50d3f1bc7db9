//! Rows that the router answers with itself: SHOW of its own settings and EXPLAIN (ROUTE).

use bytes::{Bytes, BytesMut};
use wire::backend::{Column, encode};
use wire::{Format, Text};

use super::housekeeping::{bare_description, is_bare};
use super::prepared::Prepared;
use super::{Session, hints, local};
use crate::query::{self, Class, ShardingCall, Statement};
use crate::route::explain::{self, Question};
use crate::route::{Parameters, Plan};
use crate::view::Serving;

/// PostgreSQL's id of the type text.
const TEXT_OID: u32 = 25;

/// PostgreSQL's id of the type bigint.
const INT8_OID: u32 = 20;

/// Rows of one text column.
pub(super) fn rows<'a>(
    values: impl IntoIterator<Item = &'a str>,
) -> Result<BytesMut, wire::EncodeError> {
    let mut out = BytesMut::new();
    for value in values {
        encode::data_row(&mut out, &[Some(value.as_bytes())])?;
    }
    Ok(out)
}

/// The name of the only column of a statement that the router answers with rows.
#[must_use]
pub(super) fn column_of(class: &Class) -> Option<&str> {
    match class {
        Class::ExplainRoute(_) => Some(explain::COLUMN),
        Class::Sharding(call) => Some(call.name()),
        Class::Show(name) => hints::named_by(class).map(|_| name.as_str()),
        _ => None,
    }
}

/// The RowDescription of such a statement; empty for any other, whose answer has no rows.
pub(super) fn heading(class: &Class) -> Result<Bytes, wire::EncodeError> {
    heading_in(class, Format::Text)
}

/// As [`heading`], of values in a format.
pub(super) fn heading_in(class: &Class, format: Format) -> Result<Bytes, wire::EncodeError> {
    let heading = |name| heading_of(name, type_of(class), format);
    column_of(class).map_or(Ok(Bytes::new()), heading)
}

/// The RowDescription of a plan, of this type.
pub(super) fn plan_heading(type_oid: u32, format: Format) -> Result<Bytes, wire::EncodeError> {
    heading_of(explain::COLUMN, type_oid, format)
}

fn heading_of(name: &str, type_oid: u32, format: Format) -> Result<Bytes, wire::EncodeError> {
    let mut out = BytesMut::new();
    let column = Column {
        name: Text::new(name.as_bytes()),
        table_oid: 0,
        table_column: 0,
        type_oid,
        type_bytes: if type_oid == INT8_OID { 8 } else { -1 },
        type_modifier: -1,
        format,
    };
    encode::row_description(&mut out, &[column])?;
    Ok(out.freeze())
}

/// The type of that column.
fn type_of(class: &Class) -> u32 {
    match class {
        Class::Sharding(ShardingCall::NextId | ShardingCall::NextIds(_)) => INT8_OID,
        _ => TEXT_OID,
    }
}

/// Whether no shard is needed to prepare, describe and run a statement.
#[must_use]
pub(super) fn is_own(class: &Class) -> bool {
    is_bare(class) || hints::named_by(class).is_some() || column_of(class).is_some()
}

/// The types of a statement's parameters: those declared, and text where the client left them open.
#[must_use]
pub(super) fn parameter_types(prepared: &Prepared) -> Vec<u32> {
    let mut types = prepared.parameter_types.to_vec();
    let used = usize::from(query::parameters(prepared.sql()));
    types.resize(types.len().max(used), TEXT_OID);
    for oid in &mut types {
        if *oid == 0 {
            *oid = TEXT_OID;
        }
    }
    types
}

/// The description of a statement for which [`is_own`] holds.
pub(super) fn description(prepared: &Prepared) -> Result<Bytes, wire::EncodeError> {
    let class = prepared.statement().map(|statement| &statement.class);
    let Some(class) = class.filter(|class| column_of(class).is_some()) else {
        return Ok(bare_description());
    };
    let mut out = BytesMut::new();
    encode::parameter_description(&mut out, &parameter_types(prepared))?;
    out.extend_from_slice(&heading(class)?);
    Ok(out.freeze())
}

/// The description of a portal of a statement that the router answers itself.
pub(super) fn portal_description(prepared: &Prepared) -> Result<Bytes, wire::EncodeError> {
    let class = prepared.statement().map(|statement| &statement.class);
    match class.filter(|class| column_of(class).is_some()) {
        Some(class) => heading(class),
        None => Ok(local::frames(encode::no_data)),
    }
}

impl Session {
    /// The answer to EXPLAIN (ROUTE), without its heading; none for any other statement.
    pub(super) fn explain_route(
        &self,
        (statement, sql): (&Statement, &str),
        plan: Option<&Plan>,
        params: Option<&dyn Parameters>,
        serving: &Serving,
    ) -> Result<Option<Bytes>, wire::EncodeError> {
        let (Class::ExplainRoute(_), Some(plan)) = (&statement.class, plan) else {
            return Ok(None);
        };
        let question = Question {
            plan,
            params,
            hints: self.hints(statement),
        };
        let mut answer = explain::explain(question, &serving.snapshot);
        if let Some(lines) = self.explain_scatter((statement, sql), plan, params, serving) {
            answer.lines = lines;
        } else if let Some(lines) = self.explain_pulled((statement, sql), plan, params, serving) {
            answer.lines = lines;
        }
        let mut out = rows(answer.lines.iter().map(String::as_str))?;
        encode::command_complete(&mut out, "EXPLAIN");
        Ok(Some(out.freeze()))
    }
}
