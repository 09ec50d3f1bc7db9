//! Jobs in memory that move nothing, for tests of the fronts. The test says what becomes of them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use topology::Term;

use super::api::{Error, JobView, Jobs, LegView, Request, Start, Status, free_for};
use super::ids::JobId;
use super::plan::Plan;
use super::record::Options;
use crate::audit::Author;

/// The jobs; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Fake(Arc<Mutex<Vec<JobView>>>);

impl Fake {
    fn with<T>(&self, act: impl FnOnce(&mut Vec<JobView>) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Changes a job, as its driver would.
    pub fn change(&self, id: &JobId, change: impl FnOnce(&mut JobView)) -> Result<JobView, Error> {
        self.with(|jobs| {
            let job = jobs.iter_mut().find(|job| job.id == *id);
            let job = job.ok_or_else(|| Error::UnknownJob { id: id.clone() })?;
            change(job);
            Ok(job.clone())
        })
    }
}

#[async_trait]
impl Jobs for Fake {
    async fn start(&self, start: Start) -> Result<JobView, Error> {
        self.with(|jobs| {
            free_for(&start.plan, &*jobs)?;
            let job = begun(&start.plan, start.options, &start.author);
            jobs.insert(0, job.clone());
            Ok(job)
        })
    }

    async fn list(&self) -> Result<Vec<JobView>, Error> {
        Ok(self.with(|jobs| jobs.clone()))
    }

    async fn find(&self, id: &JobId) -> Result<JobView, Error> {
        self.change(id, |_| {})
    }

    async fn renew(&self, _term: Term) {}

    async fn ask(
        &self,
        _term: Term,
        _author: &Author,
        id: &JobId,
        request: Request,
    ) -> Result<JobView, Error> {
        self.find(id).await?.may_be_asked(request)?;
        self.change(id, |job| match request {
            Request::Pause => job.status = Status::Paused,
            Request::Resume => job.status = Status::Precopy,
            Request::Cancel => job.status = Status::Cancelled,
            Request::Rollback => {
                job.status = Status::RolledBack;
                job.is_reversible = false;
            }
            Request::Finish => job.is_reversible = false,
        })
    }
}

fn begun(plan: &Plan, options: Options, author: &Author) -> JobView {
    let leg = |(number, flows): (usize, &Vec<_>)| LegView {
        number: u16::try_from(number).unwrap_or(u16::MAX),
        flows: flows.clone(),
        phase: "planned".to_owned(),
        step: "preflight".to_owned(),
        progress: 0.0,
        keys_migrated: 0,
        total_keys: 0,
        pause: None,
        attempts: 0,
        certificates: Vec::new(),
        error: None,
    };
    JobView {
        id: JobId::new(),
        kind: plan.kind,
        plan: plan.id.clone(),
        source_shards: plan.sources(),
        target_shards: plan.targets(),
        status: Status::Pending,
        state: "planned".to_owned(),
        is_reversible: false,
        is_settled: true,
        progress: 0.0,
        keys_migrated: 0,
        total_keys: 0,
        bytes_migrated: 0,
        total_bytes: 0,
        lag_bytes: 0,
        lag: Duration::ZERO,
        rate: 0.0,
        eta: None,
        pause: Duration::ZERO,
        max_pause: Duration::ZERO,
        attempts: 0,
        error_message: None,
        created_by: author.actor.clone(),
        created_at: SystemTime::now(),
        started_at: None,
        completed_at: None,
        options,
        legs: plan.legs.iter().enumerate().map(leg).collect(),
    }
}
