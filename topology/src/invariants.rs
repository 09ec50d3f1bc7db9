//! The invariants that can be checked on a topology alone, as predicates with the ids that
//! ARCHITECTURE.md gives them.

use crate::records::Placement;
use crate::snapshot::{InvalidTopology, Snapshot};

/// Every table's group and home shard exist.
///
/// # Errors
/// [`InvalidTopology`] names the first table that does not fit.
pub fn tables_fit(snapshot: &Snapshot) -> Result<(), InvalidTopology> {
    for table in snapshot.tables() {
        let name = || table.name.to_string();
        match &table.placement {
            Placement::Sharded { group, .. } if snapshot.group(group).is_none() => {
                return Err(InvalidTopology::UnknownGroup {
                    table: name(),
                    group: group.clone(),
                });
            }
            Placement::Unsharded { shard_id } if snapshot.index_of(shard_id).is_none() => {
                let what = format!("table {}", name());
                return Err(InvalidTopology::UnknownShard {
                    what,
                    shard: shard_id.clone(),
                });
            }
            Placement::Sharded { .. } | Placement::Reference | Placement::Unsharded { .. } => {}
        }
    }
    Ok(())
}
