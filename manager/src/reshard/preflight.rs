//! Looks whether a job can be done at all, and says everything that stands in its way at once:
//! what, where and what to do about it. It only reads.

use topology::{Shard, ShardId, TableName};

use super::flow::{Bounds, MovedTable};
use super::ids::LegId;
use super::session::{Error, Session, Sessions};

mod pair;
mod server;
mod tables;

/// Whether a finding keeps a job from being begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does.
    Refuses,
    /// An operator should know it.
    Notes,
}

/// Something that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Whether it keeps the job from being begun.
    pub severity: Severity,
    /// The check, e.g. `replica-identity`.
    pub check: &'static str,
    /// The shard.
    pub shard: ShardId,
    /// The table, if it is about one.
    pub table: Option<TableName>,
    /// What is found.
    pub problem: String,
    /// What to do about it, or what will happen.
    pub remedy: String,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Inquiry<'a> {
    /// The leg; its tag is in the names of the sessions.
    pub leg: &'a LegId,
    /// The shard that rows leave.
    pub source: &'a Shard,
    /// The shards that they go to, each with its ranges.
    pub targets: Vec<(&'a Shard, Bounds)>,
    /// All sharded tables of the group.
    pub tables: &'a [MovedTable],
    /// Tables that are the same on all shards.
    pub reference: &'a [TableName],
}

/// All findings, those that refuse first. A shard that cannot be reached is one of them.
///
/// # Errors
/// When a shard breaks off in the middle of the questions.
pub async fn check(sessions: &Sessions, inquiry: &Inquiry<'_>) -> Result<Vec<Finding>, Error> {
    let mut findings = Vec::new();
    let mut source = open(sessions, inquiry.leg, inquiry.source, &mut findings).await;
    if let Some(source) = &source {
        findings.extend(server::check(source, server::Role::Source).await?);
        findings.extend(tables::check(source, inquiry).await?);
    }
    for (shard, bounds) in &inquiry.targets {
        let Some(mut target) = open(sessions, inquiry.leg, shard, &mut findings).await else {
            continue;
        };
        findings.extend(server::check(&target, server::Role::Target).await?);
        if let Some(source) = &mut source {
            let pair = pair::check(source, &mut target, inquiry, bounds).await?;
            findings.extend(pair);
        }
    }
    findings.sort_by_key(|finding| finding.severity != Severity::Refuses);
    Ok(findings)
}

async fn open(
    sessions: &Sessions,
    leg: &LegId,
    shard: &Shard,
    findings: &mut Vec<Finding>,
) -> Option<Session> {
    match sessions.open(shard, leg, "preflight").await {
        Ok(session) => Some(session),
        Err(error) => {
            findings.push(Finding {
                severity: Severity::Refuses,
                check: "reachable",
                shard: shard.id.clone(),
                table: None,
                problem: platform::telemetry::error_chain(&error),
                remedy: "start the server, or register the shard's present address".to_owned(),
            });
            None
        }
    }
}
