//! The manager's operations, the same for REST and gRPC, in the messages of the API.
//!
//! Reads are answered by every manager from the topology that it follows. Mutations are done by
//! the leader; any other manager forwards them.

use std::sync::Arc;
use std::time::Duration;

use platform::access::gate::Gate;
use platform::rates::Limiter;
use platform::{Shutdown, TaskGroup};
use tokio::time::timeout;
use topology::store::Store;
use topology::{Epoch, Snapshot, Term};

use crate::audit::refusals::Recorder;
use crate::auth::Auth;
use crate::caller::Caller;
use crate::commit::{self, Writer, Written};
use crate::control::Command;
use crate::error::Error;
use crate::failover::Promoter;
use crate::forward::{Answer, Forwarder};
use crate::leader::{self, Identity, Leader, Standing};
use crate::reshard::api::Jobs;
use crate::reshard::session::Sessions;
use crate::shards::Shards;
use crate::shards::health::Health;

mod audit;
mod auth;
mod describe;
mod failover;
mod mutate;
mod read;
mod request;
pub mod reshard;
mod routers;
mod schema;
mod users;

/// How long an answer waits for this manager to see what it says, so that the caller's next read
/// here shows it.
const CATCH_UP: Duration = Duration::from_secs(2);

/// What the operations need.
#[derive(Debug)]
pub struct Parts {
    pub store: Arc<dyn Store>,
    pub topology: topology::watch::View,
    pub leader: leader::View,
    pub identity: Identity,
    pub writer: Arc<Writer>,
    pub forwarder: Forwarder,
    pub shards: Shards,
    /// Sessions that may write, for repairs of a schema.
    pub sessions: Sessions,
    pub health: Health,
    /// Vnodes of a shard whose registration names no number.
    pub vnode_count: u32,
    /// The jobs that move rows between shards.
    pub jobs: Arc<dyn Jobs>,
    /// Who is let in, and how they get what they show.
    pub auth: Auth,
    /// Makes replicas primaries.
    pub promoter: Promoter,
    /// Notes what is refused.
    pub refusals: Recorder,
    /// Counts what clients ask, of both fronts together.
    pub limiter: Limiter,
    /// Ends streams that would last as long as what they show.
    pub stopping: Shutdown,
    /// Where control writes run, so that a caller that goes away does not cut one short.
    pub tasks: TaskGroup,
}

/// The operations; clones share everything.
#[derive(Debug, Clone)]
pub struct Service(Arc<Parts>);

/// Who does a mutation.
#[derive(Debug)]
enum Duty {
    Ours(Term),
    Theirs(Leader),
}

impl Service {
    /// The operations on `parts`.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// What notes the refusals of the fronts.
    #[must_use]
    pub fn refusals(&self) -> Recorder {
        self.0.refusals.clone()
    }

    /// What counts the requests of the fronts.
    #[must_use]
    pub fn limiter(&self) -> Limiter {
        self.0.limiter.clone()
    }

    /// What lets callers of the fronts in.
    #[must_use]
    pub fn gate(&self) -> Gate {
        self.0.auth.gate.clone()
    }

    fn duty(&self, caller: &Caller) -> Result<Duty, Error> {
        match self.0.leader.standing() {
            Standing::Leading(leader) => Ok(Duty::Ours(leader.term)),
            // Two managers that take each other for the leader would pass it to and fro.
            Standing::Following(_) | Standing::Unled if caller.is_forwarded => {
                Err(Error::NotLeading)
            }
            Standing::Following(leader) => Ok(Duty::Theirs(leader)),
            Standing::Unled => Err(Error::NoLeader),
        }
    }

    /// The topology that this manager follows.
    fn snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        if self.0.topology.is_loaded() {
            Ok(self.0.topology.snapshot())
        } else {
            Err(Error::NotLoaded)
        }
    }

    async fn write(
        &self,
        term: Term,
        caller: &Caller,
        command: Command,
        idempotency_key: Option<commit::Key>,
    ) -> Result<Written, Error> {
        let request = commit::Request {
            term,
            command,
            author: caller.author.clone(),
            idempotency_key,
        };
        let writer = Arc::clone(&self.0.writer);
        let write = async move { writer.write(&request).await };
        let task = self.0.tasks.spawn("control write", write);
        let written = task
            .await
            .map_err(|_| Error::Internal("a control write panicked"))??;
        self.catch_up(written.snapshot.epoch()).await;
        Ok(written)
    }

    async fn catch_up(&self, epoch: Epoch) {
        if timeout(CATCH_UP, self.0.topology.wait_for(epoch))
            .await
            .is_err()
        {
            tracing::warn!(%epoch, "written topology not seen yet");
        }
    }

    async fn forwarded<T>(&self, answer: Result<Answer<T>, Error>) -> Result<Answer<T>, Error> {
        if let Ok(answer) = &answer {
            self.catch_up(answer.epoch).await;
        }
        answer
    }
}

fn answer<T>(written: &Written, message: T) -> Answer<T> {
    Answer {
        message,
        epoch: written.snapshot.epoch(),
    }
}
