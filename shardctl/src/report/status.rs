//! The whole at a glance: leader, epoch, managers, shards.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::{Report, present};
use crate::grid::{Grid, NONE, facts};

/// The status.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    leader: Option<Leader>,
    term: u64,
    epoch: u64,
    managers: Vec<Manager>,
    shards: Vec<Shard>,
}

#[derive(Debug, Clone, Serialize)]
struct Leader {
    id: String,
    address: String,
}

#[derive(Debug, Clone, Serialize)]
struct Manager {
    address: String,
    id: Option<String>,
    role: &'static str,
    epoch: Option<u64>,
    version: Option<String>,
    error: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Shard {
    id: String,
    status: String,
    health: &'static str,
    error: Option<String>,
    owned_vnodes: u32,
    primary_endpoint: String,
}

/// What one manager said of itself, or why it said nothing.
pub type Answer = (String, Result<pb::GetStatusResponse, String>);

impl Status {
    /// Puts together what each manager said, the view of the one that was chosen, and the topology
    /// that it sees.
    #[must_use]
    pub fn new(
        answers: Vec<Answer>,
        chosen: &pb::GetStatusResponse,
        topology: pb::GetTopologyResponse,
    ) -> Self {
        let leader = (!chosen.leader_id.is_empty()).then(|| Leader {
            id: chosen.leader_id.clone(),
            address: chosen.leader_address.clone(),
        });
        let shards = topology
            .shards
            .into_iter()
            .map(|shard| Shard::new(shard, &chosen.shards));
        Self {
            leader,
            term: chosen.term,
            epoch: topology.epoch,
            managers: answers.into_iter().map(Manager::from).collect(),
            shards: shards.collect(),
        }
    }
}

impl From<Answer> for Manager {
    fn from((address, answer): Answer) -> Self {
        match answer {
            Ok(answer) => Self {
                address,
                id: Some(answer.manager_id),
                role: if answer.is_leader {
                    "leader"
                } else {
                    "follower"
                },
                epoch: Some(answer.epoch),
                version: Some(answer.version),
                error: None,
            },
            Err(error) => Self {
                address,
                id: None,
                role: "unreachable",
                epoch: None,
                version: None,
                error: Some(error),
            },
        }
    }
}

impl Shard {
    fn new(shard: pb::Shard, probes: &[pb::ShardHealth]) -> Self {
        let probe = probes.iter().find(|probe| probe.shard_id == shard.id);
        let (health, error) = match probe {
            None => ("unknown", None),
            Some(probe) if probe.healthy => ("healthy", None),
            Some(probe) => ("unhealthy", present(probe.error.clone())),
        };
        Self {
            id: shard.id,
            status: shard.status,
            health,
            error,
            owned_vnodes: shard.owned_vnodes,
            primary_endpoint: shard.primary_endpoint,
        }
    }
}

impl Report for Status {
    fn table(&self) -> String {
        let leader = self.leader.as_ref();
        let leader = leader.map(|leader| format!("{} at {}", leader.id, leader.address));
        let head = facts(&[
            ("Leader", leader.unwrap_or_else(|| "nobody".to_owned())),
            ("Term", self.term.to_string()),
            ("Epoch", self.epoch.to_string()),
        ]);
        format!("{head}\n{}\n{}", self.managers(), self.shards())
    }
}

impl Status {
    fn managers(&self) -> String {
        let mut grid = Grid::new(&["MANAGER", "ID", "ROLE", "EPOCH", "VERSION", "ERROR"]);
        for manager in &self.managers {
            grid.row([
                manager.address.clone(),
                cell(manager.id.as_ref()),
                manager.role.to_owned(),
                cell(manager.epoch.as_ref()),
                cell(manager.version.as_ref()),
                cell(manager.error.as_ref()),
            ]);
        }
        grid.render()
    }

    fn shards(&self) -> String {
        let mut grid = Grid::new(&["SHARD", "STATUS", "HEALTH", "VNODES", "PRIMARY", "ERROR"]);
        for shard in &self.shards {
            grid.row([
                shard.id.clone(),
                shard.status.clone(),
                shard.health.to_owned(),
                shard.owned_vnodes.to_string(),
                shard.primary_endpoint.clone(),
                cell(shard.error.as_ref()),
            ]);
        }
        grid.render()
    }
}

fn cell(value: Option<&impl ToString>) -> String {
    value.map_or_else(|| NONE.to_owned(), ToString::to_string)
}
