//! What must hold between the records of one topology, checked whenever a snapshot is made.
//!
//! Not here: that each token has one owner (I1), which a [`crate::Ring`] guarantees by its
//! construction, and that epochs grow by one (I2), which each control write's conditions demand and
//! [`crate::watch`] checks again.

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
            Placement::Sharded { .. }
            | Placement::Reference
            | Placement::Unsharded { .. }
            | Placement::View { .. } => {}
        }
    }
    Ok(())
}
