//! Queries over the rows of several shards: planned, asked of each shard, and put together.

pub mod exec;
pub mod order;
mod own;
pub mod plan;

use crate::query::{Class, Data, Statement};
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
        | Plan::Home(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::Refused(_) => false,
    };
    match &statement.class {
        Class::Select(data) if may_be && !hinted && statement.functions.is_empty() => Some(data),
        _ => None,
    }
}
