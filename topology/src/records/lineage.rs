//! Which server is a shard's primary, beyond its address: of which cluster, on which timeline; and
//! that it is about to be another one.

use std::fmt;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Endpoint, codec};
use crate::Epoch;

/// What tells a primary from one of before a promotion. Each promotion begins a timeline with a
/// higher number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lineage {
    /// PostgreSQL's system identifier, which a primary shares with its replicas.
    pub system: String,
    /// The timeline that it writes.
    pub timeline: u32,
}

impl Lineage {
    /// Whether a primary may be used where this one was: of the same cluster, and not from before
    /// the last promotion.
    #[must_use]
    pub fn is_succeeded_by(&self, found: &Self) -> bool {
        self.system == found.system && self.timeline <= found.timeline
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "system {} on timeline {}", self.system, self.timeline)
    }
}

/// A promotion that is under way: routers let go of the primary and send it nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Its id, in the audit log too.
    pub id: String,
    /// The epoch of its beginning: a router that has applied it has let go of the primary.
    pub epoch: Epoch,
    /// The replica that was asked for; none is the most advanced one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Endpoint>,
    /// Somebody vouches that the old primary takes no writes, so that it need not be asked.
    #[serde(default)]
    pub is_down: bool,
    /// Whether commits may be lost.
    #[serde(default)]
    pub accepts_loss: bool,
    /// When it began.
    #[serde(with = "codec::rfc3339")]
    pub since: SystemTime,
}
