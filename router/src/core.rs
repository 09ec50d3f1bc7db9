//! What every front of this router shares.

use std::sync::Arc;

use topology::store::Store;

use crate::cache::Cache;
use crate::config::Config;
use crate::hold::Holding;
use crate::ids::Ids;
use crate::managers::Managers;
use crate::metrics::Metrics;
use crate::moving::Moving;
use crate::replica;
use crate::schema::Schema;
use crate::twopc::TwoPhase;
use crate::view::View;

/// The shared parts.
#[derive(Debug)]
pub struct Core {
    pub config: Config,
    pub view: View,
    /// Statements that wait for a newer topology.
    pub holding: Holding,
    /// Statements that a shard refused because their rows are being moved.
    pub moving: Moving,
    pub cache: Cache,
    /// etcd, for what is not of the topology.
    pub store: Arc<dyn Store>,
    /// Makes unique ids.
    pub ids: Ids,
    /// The way to the manager that leads.
    pub managers: Managers,
    /// The columns of tables.
    pub schema: Schema,
    pub metrics: Metrics,
    pub replicas: replica::metrics::Metrics,
    /// Commits on several shards.
    pub twopc: TwoPhase,
}
