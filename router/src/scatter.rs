//! Queries over the rows of several shards: planned, asked of each shard, and put together.

pub mod exec;
pub mod explained;
pub mod order;
pub mod own;
pub mod plan;

use crate::query::{Class, Data, Statement, TableRef};
use crate::route::{Plan, Refusal};

/// The query of a statement that no shard by itself can answer, as its refusal says, and that all of
/// them might answer together. One that is `hinted` at a shard is none.
#[must_use]
pub fn candidate<'s>(
    (statement, hinted): (&'s Statement, bool),
    plan: &Plan,
    refusal: &Refusal,
) -> Option<&'s Data> {
    let may_be = match plan {
        Plan::NeedsHint {
            writes: false,
            refusal: own,
            ..
        } => own == refusal,
        Plan::Key { writes: false, .. } => refusal.is_of_several_shards(),
        Plan::Key { .. }
        | Plan::NeedsHint { .. }
        | Plan::Any { .. }
        | Plan::Catalog
        | Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => false,
    };
    query_of(&statement.class).filter(|_| may_be && !hinted && statement.functions.is_empty())
}

/// The query that a statement is, or that it copies out or explains.
#[must_use]
pub fn query_of(class: &Class) -> Option<&Data> {
    match class {
        Class::Select(data) => Some(data),
        Class::Explain { inner, .. } | Class::ExplainRoute(inner) => match &**inner {
            Class::Select(data) => Some(data),
            _ => None,
        },
        Class::Copy(copy) if !copy.from && copy.through_client => match copy.query.as_deref() {
            Some(Class::Select(data)) => Some(data),
            _ => None,
        },
        _ => None,
    }
}

/// The sharded table that is copied out, and which of its columns.
#[must_use]
pub fn copied_table<'s>(
    statement: &'s Statement,
    plan: &Plan,
) -> Option<(&'s TableRef, &'s [String])> {
    match (&statement.class, plan) {
        (Class::Copy(copy), Plan::Refused(refusal))
            if !copy.from && copy.through_client && refusal.is_of_a_sharded_copy() =>
        {
            Some((copy.table.as_ref()?, &copy.columns))
        }
        _ => None,
    }
}
