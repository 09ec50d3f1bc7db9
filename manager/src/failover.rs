//! Makes a replica a shard's primary, by request or, where that is switched on, by itself.
//!
//! In this order: routers let go of the old primary and hold what is for the shard; the old primary
//! is fenced, or somebody vouches that it is down; the most advanced replica has all that can be
//! had, and is promoted; the topology points at it (docs/decisions/0016). The shard's record says
//! that a promotion is under way, so that the next leader carries on.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::TaskGroup;
use topology::store::Store;
use topology::{Endpoint, Lineage, Shard, ShardId, Term};

use crate::audit::Author;
use crate::commit::{self, Writer};
use crate::error::Code;
use crate::leader;
use crate::reshard::api::Jobs;
use crate::reshard::session::Sessions;
use crate::shards::Shards;
use crate::shards::health::Health;
use platform::Kind;

pub mod auto;
pub mod choice;
pub mod fence;
mod outlook;
mod run;

use choice::{Choice, Refusal};

/// What is not for each request to say.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Stops a server that cannot be reached: a program with its arguments.
    pub fence_command: Vec<String>,
    /// How long it may take.
    pub fence_timeout: Duration,
    /// How long a replica may take to receive what a fenced primary still has.
    pub catch_up: Duration,
    /// When a promotion begins by itself; none is never.
    pub automatic: Option<auto::Policy>,
}

/// What promotions need of the manager.
#[derive(Debug)]
pub struct Context {
    /// The store.
    pub store: Arc<dyn Store>,
    /// Writes to it as the leader.
    pub writer: Arc<Writer>,
    /// The topology that this manager follows.
    pub topology: topology::watch::View,
    /// This manager's standing.
    pub leader: leader::View,
    /// Logins to shards.
    pub shards: Shards,
    /// Sessions that may write.
    pub sessions: Sessions,
    /// What probes have found.
    pub health: Health,
    /// The jobs that move rows.
    pub jobs: Arc<dyn Jobs>,
    /// Where promotions run, so that a caller that goes away does not cut one short.
    pub tasks: TaskGroup,
    /// What is not for each request to say.
    pub settings: Settings,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The shard.
    pub shard: ShardId,
    /// The replica; none is the most advanced one.
    pub to: Option<Endpoint>,
    /// Whether commits may be lost.
    pub accepts_loss: bool,
    /// Whether the operator vouches that the old primary is down.
    pub is_down: bool,
    /// Who asks.
    pub author: Author,
}

/// What a promotion would do, or has done.
#[derive(Debug, Clone)]
pub struct Outlook {
    /// The shard.
    pub shard: ShardId,
    /// The old primary.
    pub from: Endpoint,
    /// Why it does not answer, if it does not.
    pub silence: Option<String>,
    /// What it was when it last answered.
    pub before: Option<Lineage>,
    /// The replica.
    pub choice: Choice,
    /// Jobs that are begun anew, or fail.
    pub jobs: Vec<String>,
}

/// What a promotion has done.
#[derive(Debug, Clone)]
pub struct Promoted {
    /// What was known before.
    pub outlook: Outlook,
    /// What the new primary is.
    pub after: Lineage,
    /// The epoch that points at it.
    pub epoch: topology::Epoch,
    /// From the hold of the routers to their release.
    pub took: Duration,
    /// What else the operator should know.
    pub notes: Vec<String>,
}

/// Why nothing was promoted, or it is not known whether.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such shard.
    #[error("shard {0} does not exist")]
    UnknownShard(ShardId),
    /// The address says that somebody else sees to it.
    #[error(
        "shard {0} is registered with a list of servers and follows whichever takes writes: \
         promote one of them with the tool that manages them"
    )]
    FollowsByItself(ShardId),
    /// A promotion runs.
    #[error("a promotion of shard {0} is under way")]
    Underway(ShardId),
    /// No replica.
    #[error("shard {shard}: {reason}")]
    NoChoice {
        /// The shard.
        shard: ShardId,
        /// Why.
        reason: Refusal,
    },
    /// It is not certain that the old primary takes no writes.
    #[error(
        "shard {shard}: the old primary {from} may still take writes ({reason}): stop it and say \
         so with old_primary_is_down, or configure failover.fence_command"
    )]
    NotFenced {
        /// The shard.
        shard: ShardId,
        /// The old primary.
        from: Endpoint,
        /// Why that is not known.
        reason: String,
    },
    /// Commits may be lost.
    #[error("shard {shard}: commits may be lost: {loss}; say accept_loss to go on")]
    WouldLose {
        /// The shard.
        shard: ShardId,
        /// How.
        loss: String,
    },
    /// A router has not said that it let go.
    #[error("shard {shard}: {reason}")]
    Routers {
        /// The shard.
        shard: ShardId,
        /// Which.
        reason: String,
    },
    /// The replica did not become the primary.
    #[error("shard {shard}: {to} was not promoted: {reason}")]
    NotPromoted {
        /// The shard.
        shard: ShardId,
        /// The replica.
        to: Endpoint,
        /// Why.
        reason: String,
    },
    /// A control write did not come about.
    #[error(transparent)]
    Commit(#[from] commit::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Load(#[from] topology::watch::LoadError),
    /// Another manager leads.
    #[error("leadership was lost: the next leader carries on")]
    Deposed,
    /// The task broke off.
    #[error("the promotion broke off: it is carried on in the background")]
    BrokenOff,
}

impl Error {
    /// What sort of error this is to a client.
    #[must_use]
    pub fn code(&self) -> Code {
        let kind = match self {
            Self::Commit(error) => return error.code(),
            Self::UnknownShard(_) => Kind::NotFound,
            Self::FollowsByItself(_)
            | Self::Underway(_)
            | Self::NoChoice { .. }
            | Self::NotFenced { .. }
            | Self::WouldLose { .. } => Kind::Conflict,
            Self::Routers { .. } | Self::Load(_) | Self::Deposed => Kind::Unavailable,
            Self::NotPromoted { .. } | Self::BrokenOff => Kind::OutcomeUnknown,
        };
        Code::Kind(kind)
    }
}

/// Promotes; clones are the same one.
#[derive(Debug, Clone)]
pub struct Promoter {
    context: Arc<Context>,
    busy: Arc<Mutex<HashSet<ShardId>>>,
}

/// The right to work on a shard, alone in this process.
#[derive(Debug)]
struct Turn {
    busy: Arc<Mutex<HashSet<ShardId>>>,
    shard: ShardId,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.remove(&self.shard);
    }
}

impl Promoter {
    /// One that does nothing unless it is asked.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self {
            context: Arc::new(context),
            busy: Arc::default(),
        }
    }

    fn turn(&self, shard: &ShardId) -> Result<Turn, Error> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(shard.clone()) {
            return Err(Error::Underway(shard.clone()));
        }
        Ok(Turn {
            busy: Arc::clone(&self.busy),
            shard: shard.clone(),
        })
    }

    /// Promotes a replica, to its end even when nobody waits for it.
    ///
    /// # Errors
    /// [`Error`]; everything is as it was but for [`Error::NotPromoted`] and what is unknown, which
    /// is carried on in the background.
    pub async fn promote(&self, term: Term, wish: Wish) -> Result<Promoted, Error> {
        let this = self.clone();
        let task = async move { this.promote_now(term, wish).await };
        let done = self.context.tasks.spawn("promotion", task).await;
        done.unwrap_or(Err(Error::BrokenOff))
    }

    async fn promote_now(&self, term: Term, wish: Wish) -> Result<Promoted, Error> {
        let _turn = self.turn(&wish.shard)?;
        let outlook = self.outlook(&wish).await?;
        self.may_begin(&wish, &outlook)?;
        let run = run::Run::begin(self, term, &wish, outlook).await?;
        run.carry_on().await
    }

    /// Whether what may be lost is accepted, and the old primary can be kept from writing.
    fn may_begin(&self, wish: &Wish, outlook: &Outlook) -> Result<(), Error> {
        let vouched = wish.is_down || !self.context.settings.fence_command.is_empty();
        if let Some(reason) = &outlook.silence
            && !vouched
        {
            return Err(Error::NotFenced {
                shard: wish.shard.clone(),
                from: outlook.from.clone(),
                reason: reason.clone(),
            });
        }
        match &outlook.choice.loss {
            Some(loss) if !wish.accepts_loss => Err(Error::WouldLose {
                shard: wish.shard.clone(),
                loss: loss.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    async fn stored(&self, id: &ShardId) -> Result<Shard, Error> {
        let loaded = topology::watch::load(self.context.store.as_ref()).await?;
        let snapshot = loaded.snapshot();
        let snapshot = snapshot.map_err(commit::Error::Invalid)?;
        let index = snapshot.index_of(id);
        let shard = index.and_then(|index| snapshot.shard(index));
        shard
            .cloned()
            .ok_or_else(|| Error::UnknownShard(id.clone()))
    }
}
