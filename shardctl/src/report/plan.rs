//! A plan: what would move where, and what that changes.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use super::amount::{bytes, count, seconds};
use crate::grid::{Grid, NONE, facts, printable};

/// The plan.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    id: String,
    r#type: String,
    epoch: u64,
    legs: Vec<Leg>,
    shards: Vec<Shard>,
    moved_vnodes: u32,
    moved_share: f64,
    rows: Option<u64>,
    bytes: Option<u64>,
    seconds: Option<f64>,
    assumed_bytes_per_second: u64,
    notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Leg {
    source_shard: String,
    flows: Vec<Flow>,
}

#[derive(Debug, Clone, Serialize)]
struct Flow {
    from: String,
    to: String,
    vnodes: Vec<u32>,
    share: f64,
    rows: Option<u64>,
    bytes: Option<u64>,
    seconds: Option<f64>,
}

#[derive(Debug, Clone, Serialize)]
struct Shard {
    shard_id: String,
    is_new: bool,
    vnodes_before: u32,
    vnodes_after: u32,
    share_before: f64,
    share_after: f64,
}

impl From<pb::Plan> for Plan {
    fn from(plan: pb::Plan) -> Self {
        Self {
            id: plan.id,
            r#type: plan.r#type,
            epoch: plan.epoch,
            legs: plan.legs.into_iter().map(Leg::from).collect(),
            shards: plan.shards.into_iter().map(Shard::from).collect(),
            moved_vnodes: plan.moved_vnodes,
            moved_share: plan.moved_share,
            rows: plan.rows,
            bytes: plan.bytes,
            seconds: plan.seconds,
            assumed_bytes_per_second: plan.assumed_rate,
            notes: plan.notes,
        }
    }
}

impl From<pb::PlanLeg> for Leg {
    fn from(leg: pb::PlanLeg) -> Self {
        Self {
            source_shard: leg.source_shard,
            flows: leg.flows.into_iter().map(Flow::from).collect(),
        }
    }
}

impl From<pb::PlanFlow> for Flow {
    fn from(flow: pb::PlanFlow) -> Self {
        Self {
            from: flow.from,
            to: flow.to,
            vnodes: flow.vnodes,
            share: flow.share,
            rows: flow.rows,
            bytes: flow.bytes,
            seconds: flow.seconds,
        }
    }
}

impl From<pb::PlanShard> for Shard {
    fn from(shard: pb::PlanShard) -> Self {
        Self {
            shard_id: shard.shard_id,
            is_new: shard.is_new,
            vnodes_before: shard.vnodes_before,
            vnodes_after: shard.vnodes_after,
            share_before: shard.share_before,
            share_after: shard.share_after,
        }
    }
}

impl Report for Plan {
    fn table(&self) -> String {
        let head = facts(&[
            ("Plan", self.id.clone()),
            ("Type", self.r#type.replace('_', " ")),
            ("Epoch", self.epoch.to_string()),
            (
                "Moves",
                format!(
                    "{} vnodes, {} of the keys",
                    self.moved_vnodes,
                    share(self.moved_share)
                ),
            ),
            ("Rows", amount(self.rows, count)),
            ("Size", amount(self.bytes, bytes)),
            ("Time", self.time()),
        ]);
        let mut text = format!("{head}\n{}\n{}", self.shards(), self.flows());
        for note in &self.notes {
            text.push_str(&format!("\nnote: {}", printable(note)));
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("\nRun it:  shardctl reshard run {}\n", self.id));
        text
    }
}

impl Plan {
    fn time(&self) -> String {
        match self.seconds {
            None => NONE.to_owned(),
            Some(_) => format!(
                "about {} at {}/s",
                seconds(self.seconds),
                bytes(self.assumed_bytes_per_second)
            ),
        }
    }

    /// Shards that change, each before and after.
    fn shards(&self) -> String {
        let header = ["SHARD", "VNODES", "AFTER", "SHARE", "AFTER", "CHANGE"];
        let mut grid = Grid::new(&header);
        for shard in &self.shards {
            let (before, after) = (shard.vnodes_before, shard.vnodes_after);
            let difference = i64::from(after) - i64::from(before);
            let change = match (shard.is_new, difference) {
                (true, _) => format!("new, {difference:+}"),
                (false, 0) => NONE.to_owned(),
                (false, _) => format!("{difference:+}"),
            };
            grid.row([
                shard.shard_id.clone(),
                before.to_string(),
                after.to_string(),
                share(shard.share_before),
                share(shard.share_after),
                change,
            ]);
        }
        grid.render()
    }

    fn flows(&self) -> String {
        let header = [
            "LEG", "FROM", "TO", "VNODES", "SHARE", "ROWS", "SIZE", "TIME",
        ];
        let mut grid = Grid::new(&header);
        for (number, leg) in (1..).zip(&self.legs) {
            let number: u32 = number;
            for flow in &leg.flows {
                grid.row([
                    number.to_string(),
                    flow.from.clone(),
                    flow.to.clone(),
                    flow.vnodes.len().to_string(),
                    share(flow.share),
                    amount(flow.rows, count),
                    amount(flow.bytes, bytes),
                    seconds(flow.seconds),
                ]);
            }
        }
        grid.render()
    }
}

fn share(share: f64) -> String {
    format!("{:.2}%", share * 100.0)
}

fn amount(number: Option<u64>, write: fn(u64) -> String) -> String {
    number.map_or_else(|| NONE.to_owned(), write)
}
