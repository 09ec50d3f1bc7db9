//! Where COPY of a table goes: its rows must all be on one shard, since they come and go in one
//! stream. COPY of a query goes where the query goes.

use super::tables::{Kind, Tables, shown, unregistered};
use super::{Plan, Refusal};
use crate::query::CopyStatement;

/// Refuses what no shard is asked: a file or a program is one server's, not the cluster's.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check(copy: &CopyStatement) -> Result<(), Refusal> {
    if copy.through_client {
        return Ok(());
    }
    Err(Refusal::unsupported(
        "COPY with a file or a program is not supported by the router: it belongs to one server",
    )
    .hint("use COPY FROM STDIN or COPY TO STDOUT, in psql \\copy"))
}

/// Plans COPY of a table.
pub(super) fn plan(copy: &CopyStatement, tables: Tables<'_>) -> Result<Plan, Refusal> {
    let Some(table) = &copy.table else {
        return Err(Refusal::statement("COPY of neither a table nor a query"));
    };
    match (tables.kind(table), copy.from) {
        (Kind::Home(_, index), _) => Ok(Plan::Home(index)),
        (Kind::Reference(_) | Kind::System, false) => Ok(Plan::Any { writes: false }),
        (Kind::Reference(name), true) => Err(Refusal::reference_write(name)),
        (Kind::System, true) => Err(Refusal::system_write(table)),
        (Kind::Sharded(sharded), true) => Err(Refusal::unsupported(format!(
            "COPY into sharded table \"{}\" is not supported: its rows may belong to several shards",
            shown(sharded.name)
        ))
        .hint("use INSERT, with the rows of one shard in each statement")),
        (Kind::Sharded(sharded), false) => Err(Refusal::sharded_copy(&sharded.key_column())),
        (Kind::Unregistered, _) => Err(unregistered(table)),
    }
}
