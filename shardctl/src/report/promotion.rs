//! What a promotion would do, or has done; and the servers of a shard.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::{Grid, NONE, facts};

/// A promotion.
#[derive(Debug, Clone, Serialize)]
pub struct Promotion {
    shard_id: String,
    done: bool,
    from: String,
    to: String,
    old_primary_error: Option<String>,
    received_lsn: String,
    behind_bytes: Option<u64>,
    may_be_lost: Option<String>,
    system_identifier: String,
    old_timeline: Option<u32>,
    new_timeline: Option<u32>,
    jobs: Vec<String>,
    notes: Vec<String>,
    epoch: Option<u64>,
    took_ms: Option<u64>,
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn number(number: u32) -> Option<u32> {
    Some(number).filter(|number| *number > 0)
}

impl From<pb::Promotion> for Promotion {
    fn from(it: pb::Promotion) -> Self {
        Self {
            shard_id: it.shard_id,
            done: it.done,
            from: it.from,
            to: it.to,
            old_primary_error: text(it.old_primary_error),
            received_lsn: it.received_lsn,
            behind_bytes: it.behind_bytes,
            may_be_lost: text(it.may_be_lost),
            system_identifier: it.system_identifier,
            old_timeline: number(it.old_timeline),
            new_timeline: number(it.new_timeline),
            jobs: it.jobs,
            notes: it.notes,
            epoch: it.done.then_some(it.epoch),
            took_ms: it.done.then_some(it.took_ms),
        }
    }
}

impl Report for Promotion {
    fn table(&self) -> String {
        let or = |text: &Option<String>, none: &str| text.clone().unwrap_or(none.to_owned());
        let list = |texts: &[String]| match texts {
            [] => NONE.to_owned(),
            texts => texts.join("; "),
        };
        let behind = self.behind_bytes;
        let behind = behind.map_or("unknown".to_owned(), |bytes| format!("{bytes} bytes"));
        let mut lines = vec![
            ("Shard", self.shard_id.clone()),
            ("From", self.from.clone()),
            ("To", self.to.clone()),
            ("Old primary", or(&self.old_primary_error, "answers")),
            ("Received", self.received_lsn.clone()),
            ("Behind", behind),
            ("May be lost", or(&self.may_be_lost, "nothing")),
            ("Jobs", list(&self.jobs)),
        ];
        if self.done {
            let timeline = |timeline: Option<u32>| {
                timeline.map_or(NONE.to_owned(), |timeline| timeline.to_string())
            };
            let (old, new) = (timeline(self.old_timeline), timeline(self.new_timeline));
            let took = self.took_ms.unwrap_or_default();
            lines.push(("Timeline", format!("{old} -> {new}")));
            lines.push(("Took", format!("{took} ms")));
        }
        lines.push(("Notes", list(&self.notes)));
        facts(&lines)
    }
}

/// A server of a shard.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Server {
    endpoint: String,
    role: String,
    reachable: bool,
    error: Option<String>,
    system_identifier: Option<String>,
    timeline: Option<u32>,
    received_lsn: Option<String>,
    replayed_lsn: Option<String>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    synchronous: bool,
    seen_at: String,
}

impl From<pb::ShardServer> for Server {
    fn from(it: pb::ShardServer) -> Self {
        Self {
            endpoint: it.endpoint,
            role: it.role,
            reachable: it.reachable,
            error: text(it.error),
            system_identifier: text(it.system_identifier),
            timeline: number(it.timeline),
            received_lsn: text(it.received_lsn),
            replayed_lsn: text(it.replayed_lsn),
            lag_bytes: it.lag_bytes,
            lag_seconds: it.lag_seconds,
            synchronous: it.synchronous,
            seen_at: it.seen_at,
        }
    }
}

/// The servers as a table of their own.
pub(super) fn servers(servers: &[Server]) -> String {
    let mut grid = Grid::new(&["SERVER", "ROLE", "TIMELINE", "RECEIVED", "REPLAYED", "LAG"]);
    for server in servers {
        let or = |text: &Option<String>| text.clone().unwrap_or(NONE.to_owned());
        let timeline = server.timeline.map(|timeline| timeline.to_string());
        let lag = server.lag_bytes.map(|bytes| format!("{bytes} B"));
        grid.row([
            server.endpoint.clone(),
            server.role.clone(),
            or(&timeline),
            or(&server.received_lsn),
            or(&server.replayed_lsn),
            or(&lag),
        ]);
    }
    grid.render()
}
