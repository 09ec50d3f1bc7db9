//! Where a key lives.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::Grid;

/// A key and its place on the ring.
#[derive(Debug, Clone, Serialize)]
pub struct Route {
    key: String,
    group: String,
    token: u32,
    vnode: u32,
    shard_id: String,
    epoch: u64,
}

impl Route {
    /// The manager's answer beside what was asked.
    #[must_use]
    pub fn new(key: String, group: String, answer: pb::ShardForKeyResponse) -> Self {
        let pb::ShardForKeyResponse {
            shard_id,
            token,
            vnode,
            epoch,
        } = answer;
        Self {
            key,
            group,
            token,
            vnode,
            shard_id,
            epoch,
        }
    }
}

impl Report for Route {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["KEY", "GROUP", "TOKEN", "VNODE", "SHARD"]);
        grid.row([
            self.key.clone(),
            self.group.clone(),
            format!("{:08x}", self.token),
            format!("{:08x}", self.vnode),
            self.shard_id.clone(),
        ]);
        grid.render()
    }
}
