//! What the router and the manager must agree on: ids, the key hash, the ring, the topology at an
//! epoch, and how all of it is stored in etcd.
//!
//! The core is pure; only [`store`] and [`watch`] touch the network.
#![warn(missing_docs)]

pub mod access;
pub mod decision;
pub mod hash;
pub mod ids;
pub mod invariants;
pub mod key;
pub mod keys;
pub mod numbers;
pub mod parts;
mod percent;
pub mod presence;
pub mod records;
pub mod ring;
pub mod routers;
pub mod snapshot;
pub mod store;
pub mod strides;
pub mod verifier;
pub mod watch;

pub use ids::{Epoch, GroupName, ShardId, TableName, Term, Token, UserName};
pub use key::{Key, KeyType};
pub use parts::Parts;
pub use records::{Consistency, Endpoint, Group, Lineage, Placement, Shard, ShardState, Table};
pub use ring::Ring;
pub use snapshot::{ShardIndex, Snapshot};
pub use verifier::Verifier;
