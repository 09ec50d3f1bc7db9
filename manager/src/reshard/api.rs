//! What the fronts ask of jobs, and what they are told: the trait that REST and gRPC are written
//! against, and the picture of a job that operators see. Knows no machine, no driver and no store.

use std::fmt;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use platform::Kind as ErrorKind;
use serde::{Deserialize, Serialize};
use topology::records::DecodeError;
use topology::{ShardId, Term, store};

use super::flow::Flow;
use super::ids::JobId;
use super::plan::{Kind, Plan, PlanId};
use super::record::Options;
use crate::audit::Author;
use crate::commit;
use crate::error::Code;

/// The public word for where a job is; [`JobView::state`] says it finer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Accepted; nothing is copied yet.
    Pending,
    /// Rows are copied from a snapshot.
    Precopy,
    /// Changes since the snapshot are followed, and rows compared.
    Deltasync,
    /// Writes to the moving keys are held for a moment.
    Cutover,
    /// The targets own the rows. Until the reverse streams end it can be rolled back.
    Completed,
    /// It stopped, and the sources own what was not cut over.
    Failed,
    /// An operator stopped it for now.
    Paused,
    /// An operator ended it before the cutover.
    Cancelled,
    /// The sources own the rows again.
    RolledBack,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Precopy,
        Self::Deltasync,
        Self::Cutover,
        Self::Completed,
        Self::Failed,
        Self::Paused,
        Self::Cancelled,
        Self::RolledBack,
    ];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Precopy => "precopy",
            Self::Deltasync => "deltasync",
            Self::Cutover => "cutover",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Paused => "paused",
            Self::Cancelled => "cancelled",
            Self::RolledBack => "rolled_back",
        }
    }

    /// Whether the job does not leave it unless an operator asks for that.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::Completed | Self::Failed | Self::Cancelled | Self::RolledBack => true,
            Self::Pending | Self::Precopy | Self::Deltasync | Self::Cutover | Self::Paused => false,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What an operator asks of a job that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Request {
    /// Do nothing more for now; streams go on, so that nothing has to be copied again.
    Pause,
    /// Go on.
    Resume,
    /// End it before the cutover; the sources keep the rows.
    Cancel,
    /// Move everything back, by the same protocol the other way.
    Rollback,
    /// End the reverse streams and remove the rows that were left behind.
    Finish,
}

impl Request {
    /// Every request.
    pub const ALL: [Self; 5] = [
        Self::Pause,
        Self::Resume,
        Self::Cancel,
        Self::Rollback,
        Self::Finish,
    ];

    /// The word of the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Rollback => "rollback",
            Self::Finish => "finish",
        }
    }

    /// The action in the audit log.
    #[must_use]
    pub fn action(self) -> &'static str {
        match self {
            Self::Pause => "pause_reshard",
            Self::Resume => "resume_reshard",
            Self::Cancel => "cancel_reshard",
            Self::Rollback => "rollback_reshard",
            Self::Finish => "finish_reshard",
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A job to be started. Its targets are registered shards.
#[derive(Debug, Clone)]
pub struct Start {
    /// The term in which this manager leads.
    pub term: Term,
    /// Who asks for it.
    pub author: Author,
    /// What moves.
    pub plan: Plan,
    /// How.
    pub options: Options,
}

/// What a comparison of all rows found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    /// When it was compared.
    pub at: SystemTime,
    /// The instant whose rows were compared, e.g. `before the hold` or `at the cutover`.
    pub instant: String,
    /// Whether both sides were equal.
    pub is_equal: bool,
    /// Tables that were compared.
    pub tables: u32,
    /// Rows that were compared.
    pub rows: u64,
    /// A checksum over all of them.
    pub digest: String,
}

/// One leg of a job: what is cut over at once.
#[derive(Debug, Clone, PartialEq)]
pub struct LegView {
    /// Its place in the job, from 0.
    pub number: u16,
    /// What moves.
    pub flows: Vec<Flow>,
    /// The phase, e.g. `copying` or `following_from`.
    pub phase: String,
    /// What is done within the phase, e.g. `verify`.
    pub step: String,
    /// How much of it is done, 0.0 to 1.0.
    pub progress: f64,
    /// Rows that were copied.
    pub keys_migrated: u64,
    /// Rows to be copied, as estimated.
    pub total_keys: u64,
    /// From the hold to the flip, of the cutover that succeeded.
    pub pause: Option<Duration>,
    /// Cutovers that were tried.
    pub attempts: u32,
    /// What the comparisons found.
    pub certificates: Vec<Certificate>,
    /// Why the last attempt ended.
    pub error: Option<String>,
}

/// A job as operators see it.
#[derive(Debug, Clone, PartialEq)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// What kind of change it is.
    pub kind: Kind,
    /// The plan that it runs.
    pub plan: PlanId,
    /// The shards that rows leave.
    pub source_shards: Vec<ShardId>,
    /// The shards that rows go to.
    pub target_shards: Vec<ShardId>,
    /// The public word.
    pub status: Status,
    /// The finer state, e.g. `leg 1 of 3: copying`.
    pub state: String,
    /// Whether a rollback is still possible.
    pub is_reversible: bool,
    /// Whether nothing is being done until somebody asks: false while it is cleaned up.
    pub is_settled: bool,
    /// How much is done, 0.0 to 1.0.
    pub progress: f64,
    /// Rows that were copied.
    pub keys_migrated: u64,
    /// Rows to be copied, as estimated.
    pub total_keys: u64,
    /// Bytes that were copied.
    pub bytes_migrated: u64,
    /// Bytes to be copied, as estimated.
    pub total_bytes: u64,
    /// WAL that the targets have not applied.
    pub lag_bytes: u64,
    /// How far the targets are behind.
    pub lag: Duration,
    /// Rows a second, at present.
    pub rate: f64,
    /// When it should be complete, from now.
    pub eta: Option<Duration>,
    /// The sum of the pauses so far, hold to flip.
    pub pause: Duration,
    /// The longest of them.
    pub max_pause: Duration,
    /// Cutovers that were tried.
    pub attempts: u32,
    /// Why it stopped, or why the last attempt did.
    pub error_message: Option<String>,
    /// Who asked for it.
    pub created_by: String,
    /// When it was accepted.
    pub created_at: SystemTime,
    /// When its first leg began.
    pub started_at: Option<SystemTime>,
    /// When it reached its final status.
    pub completed_at: Option<SystemTime>,
    /// How it was asked to run.
    pub options: Options,
    /// Its legs, in the order in which they run.
    pub legs: Vec<LegView>,
}

impl JobView {
    /// Whether it changes no more unless somebody asks.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.status.is_final() && self.is_settled
    }

    /// Whether it takes part in what happens on a shard: a job keeps its shards to itself until it
    /// is over and cleaned up, and one that completed until its reverse streams have ended.
    #[must_use]
    pub fn occupies(&self, shard: &ShardId) -> bool {
        let is_live = self.is_reversible || !self.is_over();
        let of = |shards: &[ShardId]| shards.contains(shard);
        is_live && (of(&self.source_shards) || of(&self.target_shards))
    }

    /// Whether a request is possible in the job's present state.
    ///
    /// # Errors
    /// [`Error::NotNow`], with what is possible instead.
    pub fn may_be_asked(&self, request: Request) -> Result<(), Error> {
        let refusal = match (request, self.status) {
            (Request::Pause, Status::Paused)
            | (Request::Resume, Status::Pending | Status::Precopy | Status::Deltasync)
            | (Request::Resume, Status::Cutover) => Some("it is already so"),
            (
                Request::Pause | Request::Cancel,
                Status::Pending | Status::Precopy | Status::Deltasync | Status::Cutover,
            )
            | (Request::Resume | Request::Cancel, Status::Paused) => None,
            (Request::Rollback | Request::Finish, Status::Completed | Status::Failed)
                if self.is_reversible =>
            {
                None
            }
            (Request::Rollback, Status::Completed) => {
                Some("its reverse streams have ended: move the vnodes back with a job of their own")
            }
            (Request::Finish, Status::Completed) => Some("it is finished already"),
            (Request::Cancel, Status::Completed) if self.is_reversible => {
                Some("its rows are moved: roll it back instead")
            }
            (
                Request::Rollback | Request::Finish,
                Status::Pending
                | Status::Precopy
                | Status::Deltasync
                | Status::Cutover
                | Status::Paused,
            ) => Some("it has not completed: cancel it, or wait for it"),
            (
                Request::Pause | Request::Resume | Request::Cancel,
                Status::Completed | Status::Failed | Status::Cancelled | Status::RolledBack,
            )
            | (
                Request::Rollback | Request::Finish,
                Status::Failed | Status::Cancelled | Status::RolledBack,
            ) => Some("it is over: start another job"),
        };
        refusal.map_or(Ok(()), |reason| {
            Err(Error::NotNow {
                id: self.id.clone(),
                status: self.status,
                request,
                reason,
            })
        })
    }
}

/// The job that keeps a plan from running, if there is one.
///
/// # Errors
/// [`Error::Busy`] names it, and the way out.
pub fn free_for<'a>(plan: &Plan, jobs: impl IntoIterator<Item = &'a JobView>) -> Result<(), Error> {
    let shards = plan.shards();
    for job in jobs {
        if let Some(shard) = shards.iter().find(|shard| job.occupies(shard)) {
            return Err(Error::Busy {
                shard: shard.clone(),
                job: job.id.clone(),
                kind: job.kind,
                status: job.status,
            });
        }
    }
    Ok(())
}

/// Why jobs cannot do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such job.
    #[error("job {id} does not exist")]
    UnknownJob {
        /// The id.
        id: JobId,
    },
    /// Another job moves rows from or to one of the shards.
    #[error(
        "shard {shard} is in use by {kind} job {job}, which is {status}: {}",
        way_out(*.status)
    )]
    Busy {
        /// The shard.
        shard: ShardId,
        /// The job.
        job: JobId,
        /// Its kind.
        kind: Kind,
        /// Where it is.
        status: Status,
    },
    /// The job's state does not allow the request.
    #[error("job {id} is {status}, {request} is not possible: {reason}")]
    NotNow {
        /// The job.
        id: JobId,
        /// Where it is.
        status: Status,
        /// What was asked.
        request: Request,
        /// Why not, and what is possible instead.
        reason: &'static str,
    },
    /// The write that starts or changes a job did not come about.
    #[error(transparent)]
    Commit(#[from] commit::Error),
    /// The jobs cannot be read.
    #[error("the jobs are not readable")]
    Store(#[from] store::Error),
    /// A job's record is damaged or of a later release.
    #[error("a job's record is not readable")]
    Record(#[from] DecodeError),
    /// This manager cannot run jobs at the moment.
    #[error("jobs cannot be run at the moment: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

fn way_out(status: Status) -> &'static str {
    match status {
        Status::Pending | Status::Precopy | Status::Deltasync | Status::Cutover => {
            "wait for it, or cancel it"
        }
        Status::Paused => "resume it, or cancel it",
        Status::Completed => "finish it, or roll it back",
        Status::Failed | Status::Cancelled | Status::RolledBack => "wait for its clean-up",
    }
}

impl Error {
    /// What sort of error this is to a client.
    #[must_use]
    pub fn code(&self) -> Code {
        let kind = match self {
            Self::UnknownJob { .. } => ErrorKind::NotFound,
            Self::Busy { .. } | Self::NotNow { .. } => ErrorKind::Conflict,
            Self::Commit(error) => return error.code(),
            Self::Store(_) | Self::Unavailable { .. } => ErrorKind::Unavailable,
            Self::Record(_) => ErrorKind::Internal,
        };
        Code::Kind(kind)
    }
}

/// The jobs of the system. Every manager answers reads, from what is stored; starting and asking
/// is for the leader, at its term.
#[async_trait]
pub trait Jobs: fmt::Debug + Send + Sync + 'static {
    /// Records a job and begins it; its shards must be free.
    ///
    /// # Errors
    /// [`Error::Busy`] for shards that another job uses; nothing was started then.
    async fn start(&self, start: Start) -> Result<JobView, Error>;

    /// All jobs that are kept, newest first.
    ///
    /// # Errors
    /// When they cannot be read.
    async fn list(&self) -> Result<Vec<JobView>, Error>;

    /// One job.
    ///
    /// # Errors
    /// [`Error::UnknownJob`], or it cannot be read.
    async fn find(&self, id: &JobId) -> Result<JobView, Error>;

    /// Records what an operator asks of a job, and gives the job as it is then.
    ///
    /// # Errors
    /// [`Error::NotNow`] when its state does not allow that.
    async fn ask(
        &self,
        term: Term,
        author: &Author,
        id: &JobId,
        request: Request,
    ) -> Result<JobView, Error>;

    /// Lets go of every job and takes it up again from its record, as the next leader would:
    /// what the present runs hold of shards is gone when this returns.
    async fn renew(&self, term: Term);
}
