//! The ring: who owns how much of the token space.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::Grid;

/// The ring at an epoch.
#[derive(Debug, Clone, Serialize)]
pub struct Ring {
    epoch: u64,
    vnode_count: u32,
    shards: Vec<Share>,
}

#[derive(Debug, Clone, Serialize)]
struct Share {
    shard_id: String,
    vnodes: usize,
    share: f64,
    tokens: Vec<u32>,
}

impl From<pb::GetRingResponse> for Ring {
    fn from(ring: pb::GetRingResponse) -> Self {
        let share = |share: pb::RingShare| Share {
            shard_id: share.shard_id,
            vnodes: share.tokens.len(),
            share: share.share,
            tokens: share.tokens,
        };
        Self {
            epoch: ring.epoch,
            vnode_count: ring.vnode_count,
            shards: ring.shares.into_iter().map(share).collect(),
        }
    }
}

impl Report for Ring {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["SHARD", "VNODES", "SHARE"]);
        for Share {
            shard_id,
            vnodes,
            share,
            tokens: _,
        } in &self.shards
        {
            let percent = format!("{:.2}%", share * 100.0);
            grid.row([shard_id.clone(), vnodes.to_string(), percent]);
        }
        grid.render()
    }
}
