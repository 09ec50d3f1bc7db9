//! The leading manager dies before and after every step of a job: the job goes on by itself, and
//! nothing is lost. The programs need the feature `manager/failpoints`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::folder::Folder;
use tokio::time::{Instant, sleep};

use super::job::{self, ask, begin, find, is_at};
use super::load::{self, Load};
use super::remains;
use crate::suite::{Outcome, Suite, alone, long, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite: the_leader_dies_in_each_phase_of_a_job));
    trials.extend(long!(suite:
        torture_by_deaths_with_another_manager_at_hand,
        torture_by_deaths_of_the_only_manager,
    ));
    trials
}

/// How long one job may take, deaths included.
const LIMIT: Duration = Duration::from_secs(90);

/// From the start of a job to its cutover.
const FORWARD: [&str; 15] = [
    "raise_term",
    "preflight",
    "prepare",
    "record_copying",
    "discard",
    "copy",
    "record_following",
    "follow",
    "verify",
    "record_holding",
    "await_acks",
    "fence",
    "drain",
    "open",
    "record_mirroring",
];
/// From the operator's word that it may stay so, to the end.
const FINISH: [&str; 6] = [
    "record_cleaning",
    "stop_streams",
    "remove",
    "await_routers",
    "drop_guards",
    "record_done",
];
/// From the operator's word to go back, to the end.
const ROLLBACK: [&str; 15] = [
    "follow",
    "verify",
    "record_holding",
    "await_acks",
    "fence",
    "drain",
    "record_opening",
    "unfence",
    "record_following",
    "record_cleaning",
    "stop_streams",
    "remove",
    "await_routers",
    "drop_guards",
    "record_undone",
];
/// What a leader does that finds a cutover under way.
const ABORT: [&str; 4] = ["record_aborting", "close", "unfence", "rest"];

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Finish,
    Rollback,
}

/// Deaths within one job, and when the first of them is to come.
#[derive(Debug)]
struct Case {
    end: End,
    /// Whether it is to come after the operator's word, not before.
    is_late: bool,
    deaths: Vec<String>,
}

impl Case {
    fn early(deaths: &[&str]) -> Self {
        Self::new(End::Finish, false, deaths)
    }

    fn new(end: End, is_late: bool, deaths: &[&str]) -> Self {
        Self {
            end,
            is_late,
            deaths: deaths.iter().map(|&death| death.to_owned()).collect(),
        }
    }
}

/// Every point, each in a job of its own.
fn all() -> Vec<Case> {
    let mut cases = Vec::new();
    for moment in ["before", "after"] {
        let point = |step: &str| format!("{moment}:{step}");
        cases.extend(FORWARD.map(|step| Case::early(&[&point(step)])));
        cases.extend(FINISH.map(|step| Case::new(End::Finish, true, &[&point(step)])));
        cases.extend(ROLLBACK.map(|step| Case::new(End::Rollback, true, &[&point(step)])));
        // The second leader dies while it takes back what the first one has fenced and opened.
        cases.extend(ABORT.map(|step| Case::early(&["after:open", &point(step)])));
        let late = |step: &str| Case::new(End::Rollback, true, &["after:drain", &point(step)]);
        cases.extend(ABORT.map(late));
        cases.push(Case::early(&["after:open", &point("record_following")]));
        cases.push(late("record_mirroring"));
    }
    cases
}

struct Ground {
    cluster: Cluster,
    failpoints: PathBuf,
    /// The shard that the next job takes vnodes from.
    at: usize,
}

impl Ground {
    async fn start(managers: usize) -> anyhow::Result<Self> {
        let failpoints = Folder::shared()?.fresh("failpoints");
        let cluster = Cluster::start(Plan {
            managers,
            routers: 2,
            manager_config: json!({ "leader": { "lease_ttl": "1s" } }),
            manager_environment: vec![(
                "SHARDING_FAILPOINT_FILE",
                failpoints.to_string_lossy().into_owned(),
            )],
            ..Plan::default()
        })
        .await?;
        load::prepare(&cluster).await?;
        Ok(Self {
            cluster,
            failpoints,
            at: 0,
        })
    }

    /// Starts managers that have died: at once where nobody else is left to lead.
    async fn revive(&mut self, others_are_enough: bool) -> anyhow::Result<usize> {
        let mut dead = Vec::new();
        let count = self.cluster.managers.len();
        for manager in &mut self.cluster.managers {
            if manager.0.check_running().is_err() {
                dead.push(manager);
            }
        }
        if dead.is_empty() || (others_are_enough && dead.len() < count) {
            return Ok(0);
        }
        let revived = dead.len();
        for manager in dead {
            manager.0.start().await?;
        }
        Ok(revived)
    }

    /// Sees a job through to a status, deaths included.
    async fn see_through(&mut self, job: &str, status: &str) -> Outcome {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.revive(true).await?;
            let found = find(&self.cluster, job).await?;
            if is_at(&found, status)? {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "not {status} in time: {found:#}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn arm(&self, case: &Case) -> Outcome {
        Ok(std::fs::write(&self.failpoints, case.deaths.join("\n"))?)
    }

    /// One job with its deaths, under load.
    async fn run(&mut self, case: &Case) -> Outcome {
        let began = Instant::now();
        let load = Load::paced(&self.cluster, 6, Duration::from_millis(3));
        let (from, to) = if self.at == 0 {
            ("shard-1", "shard-2")
        } else {
            ("shard-2", "shard-1")
        };
        if !case.is_late {
            self.arm(case)?;
        }
        let id = begin(&self.cluster, "move", job::some_vnodes(from, to, 24)).await?;
        self.see_through(&id, "completed").await?;
        if case.is_late {
            self.arm(case)?;
        }
        let (request, status) = match case.end {
            End::Finish => ("finish", "completed"),
            End::Rollback => ("rollback", "rolled_back"),
        };
        ask(&self.cluster, &id, request).await?;
        self.see_through(&id, status).await?;
        if case.end == End::Finish {
            self.at = 1 - self.at;
        }
        let ledger = load.stop().await?;
        self.revive(false).await?;
        let left = std::fs::read_to_string(&self.failpoints)?;
        same!(left, "", "deaths that did not come");
        ledger.check(&self.cluster).await?;
        same!(ledger.other_errors(), Vec::new());
        remains::none(&self.cluster, &["events", "counters"]).await?;
        crate::suite::told!(
            "{:?} {:?}: {:.1} s, {} writes, longest {} ms, errors {:?}",
            case.end,
            case.deaths,
            began.elapsed().as_secs_f64(),
            ledger.writes(),
            ledger.longest().as_millis(),
            ledger.errors,
        );
        load::reset(&self.cluster).await
    }

    async fn run_all(mut self, cases: &[Case]) -> Outcome {
        for case in cases {
            self.run(case).await.with_context(|| format!("{case:?}"))?;
        }
        Ok(())
    }
}

async fn the_leader_dies_in_each_phase_of_a_job() -> Outcome {
    let cases = [
        Case::early(&[
            "after:prepare",
            "after:copy",
            "after:verify",
            "after:fence",
            "after:close",
            "before:record_mirroring",
        ]),
        Case::new(
            End::Rollback,
            true,
            &["after:drain", "before:unfence", "after:record_opening"],
        ),
        Case::new(
            End::Finish,
            true,
            &["after:stop_streams", "before:drop_guards"],
        ),
    ];
    Ground::start(2).await?.run_all(&cases).await
}

async fn torture_by_deaths_with_another_manager_at_hand() -> Outcome {
    Ground::start(2).await?.run_all(&all()).await
}

async fn torture_by_deaths_of_the_only_manager() -> Outcome {
    Ground::start(1).await?.run_all(&all()).await
}
