//! Shards: one, or all of them.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use super::promotion::{self, Server};
use crate::grid::{Grid, NONE, facts, or_none};

/// A shard.
#[derive(Debug, Clone, Serialize)]
pub struct Shard {
    id: String,
    name: String,
    primary_endpoint: String,
    replicas: Vec<String>,
    status: String,
    version: u64,
    vnode_count: u32,
    owned_vnodes: u32,
    weight: u32,
    created_at: String,
    updated_at: String,
    promoting: bool,
    timeline: Option<u32>,
    system_identifier: Option<String>,
    /// Only of one shard by itself, once it was probed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    servers: Vec<Server>,
}

impl From<pb::Shard> for Shard {
    fn from(shard: pb::Shard) -> Self {
        Self {
            id: shard.id,
            name: shard.name,
            primary_endpoint: shard.primary_endpoint,
            replicas: shard.replicas,
            status: shard.status,
            version: shard.version,
            vnode_count: shard.vnode_count,
            owned_vnodes: shard.owned_vnodes,
            weight: shard.weight,
            created_at: shard.created_at,
            updated_at: shard.updated_at,
            promoting: shard.promoting,
            timeline: Some(shard.timeline).filter(|timeline| *timeline > 0),
            system_identifier: Some(shard.system_identifier).filter(|text| !text.is_empty()),
            servers: shard.servers.into_iter().map(Server::from).collect(),
        }
    }
}

impl Report for Shard {
    fn table(&self) -> String {
        let replicas = match self.replicas.as_slice() {
            [] => NONE.to_owned(),
            replicas => replicas.join(", "),
        };
        let shown = facts(&[
            ("Id", self.id.clone()),
            ("Name", self.name.clone()),
            ("Status", self.status.clone()),
            ("Primary", self.primary_endpoint.clone()),
            ("Replicas", replicas),
            (
                "Vnodes",
                format!("{} of {}", self.owned_vnodes, self.vnode_count),
            ),
            ("Weight", self.weight.to_string()),
            ("Version", self.version.to_string()),
            ("Created", or_none(&self.created_at)),
            ("Updated", or_none(&self.updated_at)),
        ]);
        if self.servers.is_empty() {
            return shown;
        }
        format!("{shown}\n{}", promotion::servers(&self.servers))
    }
}

/// All shards.
#[derive(Debug, Clone, Serialize)]
pub struct Shards {
    shards: Vec<Shard>,
}

impl From<Vec<pb::Shard>> for Shards {
    fn from(shards: Vec<pb::Shard>) -> Self {
        Self {
            shards: shards.into_iter().map(Shard::from).collect(),
        }
    }
}

impl Report for Shards {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["ID", "STATUS", "VNODES", "WEIGHT", "REPLICAS", "PRIMARY"]);
        for shard in &self.shards {
            grid.row([
                shard.id.clone(),
                shard.status.clone(),
                shard.owned_vnodes.to_string(),
                shard.weight.to_string(),
                shard.replicas.len().to_string(),
                shard.primary_endpoint.clone(),
            ]);
        }
        grid.render()
    }
}
