//! A system whose managers die or freeze at given places, and jobs that are seen through there.
//! The managers need the feature `manager/failpoints`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::Cluster;
use tests::cluster::{Plan, dying_by};
use tests::folder::Folder;
use tokio::time::{Instant, sleep};

use super::job::{self, is_at};
use super::load::{self, Load};
use super::remains;
use crate::suite::{Outcome, same};

/// How long one job may take, deaths included.
const LIMIT: Duration = Duration::from_secs(90);

/// How a job ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Finish,
    Rollback,
}

/// Deaths within one job, and when the first of them is to come:
/// places as the manager names them, such as `before:fence`, or `freeze before:fence`.
#[derive(Debug)]
pub(crate) struct Case {
    end: End,
    /// Whether it is to come after the operator's word, not before.
    is_late: bool,
    deaths: Vec<String>,
}

impl Case {
    pub(crate) fn early(deaths: &[&str]) -> Self {
        Self::new(End::Finish, false, deaths)
    }

    pub(crate) fn new(end: End, is_late: bool, deaths: &[&str]) -> Self {
        Self {
            end,
            is_late,
            deaths: deaths.iter().map(|&death| death.to_owned()).collect(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ground {
    cluster: Cluster,
    /// The file with the deaths to come.
    failpoints: PathBuf,
    _folder: Arc<Folder>,
    /// The shard that the next job takes vnodes from.
    at: usize,
}

impl Ground {
    pub(crate) async fn start(managers: usize) -> anyhow::Result<Self> {
        let folder = Folder::shared()?;
        let failpoints = folder.fresh("failpoints");
        let cluster = Cluster::start(Plan {
            managers,
            routers: 2,
            manager_config: json!({ "leader": { "lease_ttl": "2s" } }),
            manager_environment: dying_by(&failpoints),
            ..Plan::default()
        })
        .await?;
        load::prepare(&cluster).await?;
        Ok(Self {
            cluster,
            failpoints,
            _folder: folder,
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

    /// Starts a job, whoever dies over it.
    async fn begin(&mut self, path: &str, body: Value) -> anyhow::Result<String> {
        let before = job::ids(&self.cluster).await?;
        let deadline = Instant::now() + LIMIT;
        loop {
            match job::try_to_begin(&self.cluster, path, body.clone(), &before).await {
                Ok(id) => return Ok(id),
                Err(error) => anyhow::ensure!(Instant::now() < deadline, "{error:#}"),
            }
            self.revive(true).await?;
            sleep(job::RETRY).await;
        }
    }

    /// Asks a job for something, whoever dies over it.
    async fn ask(&mut self, job: &str, request: &str) -> Outcome {
        let deadline = Instant::now() + LIMIT;
        let mut is_again = false;
        while !job::try_to_ask(&self.cluster, job, request, is_again).await? {
            is_again = true;
            anyhow::ensure!(Instant::now() < deadline, "no {request}");
            self.revive(true).await?;
            sleep(job::RETRY).await;
        }
        Ok(())
    }

    /// Sees a job through to a status, deaths included.
    async fn see_through(&mut self, job: &str, status: &str) -> Outcome {
        let deadline = Instant::now() + LIMIT;
        loop {
            self.revive(true).await?;
            let found = job::try_to_find(&self.cluster, job).await;
            if let Ok(found) = &found
                && is_at(found, status)?
            {
                return self.thaw();
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "not {status} in time: {found:#?}"
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Lets frozen managers go on.
    fn thaw(&self) -> Outcome {
        for manager in &self.cluster.managers {
            if manager.0.is_paused() {
                manager.0.resume()?;
            }
        }
        Ok(())
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
        let id = self.begin("move", job::some_vnodes(from, to, 24)).await?;
        self.see_through(&id, "completed").await?;
        if case.is_late {
            // What the mirrors' streams begin with at the flip is over by then.
            job::until_step(&self.cluster, &id, "stay").await?;
            self.arm(case)?;
        }
        let (request, status) = match case.end {
            End::Finish => ("finish", "completed"),
            End::Rollback => ("rollback", "rolled_back"),
        };
        self.ask(&id, request).await?;
        self.see_through(&id, status).await?;
        if case.end == End::Finish {
            self.at = 1 - self.at;
        }
        self.thaw()?;
        if case.deaths.iter().any(|death| death.starts_with("freeze")) {
            // It goes on with what it was about to do.
            sleep(Duration::from_secs(1)).await;
        }
        let ledger = load.stop().await?;
        self.revive(false).await?;
        let left = std::fs::read_to_string(&self.failpoints)?;
        same!(left, "", "deaths that did not come");
        ledger.check(&self.cluster).await?;
        same!(ledger.other_errors(), Vec::new());
        remains::none(&self.cluster).await?;
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

    /// All of them, one after another.
    pub(crate) async fn run_all(mut self, cases: &[Case]) -> Outcome {
        // To look at some of them more closely, e.g. TORTURE=before:fence.
        let wanted = std::env::var("TORTURE").unwrap_or_default();
        let is_wanted = |case: &&Case| format!("{case:?}").contains(&wanted);
        for case in cases.iter().filter(is_wanted) {
            self.run(case).await.with_context(|| format!("{case:?}"))?;
        }
        Ok(())
    }
}
