//! Where LOCK TABLE goes. A lock holds off others only where all of them ask the same server.

use topology::ShardIndex;

use super::tables::{Kind, Tables, shown, unregistered};
use super::{Plan, Refusal};
use crate::query::TableRef;

/// Plans LOCK TABLE.
pub(super) fn plan(locked: &[TableRef], tables: Tables<'_>) -> Result<Plan, Refusal> {
    let mut home: Option<ShardIndex> = None;
    for table in locked {
        let index = match tables.kind(table) {
            Kind::Home(_, index) => index,
            Kind::Sharded(sharded) => return Err(on_one_shard(shown(sharded.name))),
            Kind::Reference(name) => return Err(on_one_shard(shown(name))),
            Kind::System => return Err(on_one_shard(&table.name)),
            Kind::View(name, _) => return Err(on_one_shard(shown(name))),
            Kind::Unregistered => return Err(unregistered(table)),
        };
        if home.is_some_and(|home| home != index) {
            return Err(Refusal::unsupported(
                "LOCK TABLE of tables on several shards is not supported",
            )
            .hint("send one statement for each table"));
        }
        home = Some(index);
    }
    home.map(Plan::Home)
        .ok_or_else(|| Refusal::statement("LOCK TABLE without a table"))
}

fn on_one_shard(table: impl std::fmt::Display) -> Refusal {
    Refusal::unsupported(format!(
        "LOCK TABLE of \"{table}\" is not supported: it would hold off those on one shard only"
    ))
    .hint("lock rows by shard key with SELECT ... FOR UPDATE, or lock an unsharded table")
}
