//! What the leader does without being asked: it carries on promotions that were begun, notes which
//! of an address's servers has become the primary, and promotes by itself where that is switched on.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::time::{Instant, sleep};
use topology::{Shard, ShardId, Term};

use super::run::{Run, author, write};
use super::{Error, Promoter, Wish};
use crate::control::Command;
use crate::leader::Standing;
use crate::shards::health::Observation;

/// Between two rounds.
const INTERVAL: Duration = Duration::from_millis(500);
/// After an attempt that came to nothing.
const AGAIN: Duration = Duration::from_secs(10);

/// When a promotion begins by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Probes in a row that found no primary.
    pub failures: u32,
    /// How long it must have been away.
    pub after: Duration,
    /// Bytes that the replica may be behind what was last heard of the primary.
    pub max_lag: u64,
    /// How long after a promotion of the shard the next one may be.
    pub cool_down: Duration,
    /// Whether a primary that does not answer is taken to be down.
    pub unreachable_is_down: bool,
}

/// Whether a shard has been without its primary for long enough.
#[must_use]
pub fn is_due(
    policy: &Policy,
    observed: &Observation,
    now: Instant,
    last: Option<Duration>,
) -> bool {
    let away = observed.failing_since.map(|since| now - since);
    let is_away = observed.failures >= policy.failures
        && away.is_some_and(|away| away >= policy.after)
        // Never seen, nobody knows what would be lost.
        && observed.primary.is_some();
    is_away && last.is_none_or(|last| last >= policy.cool_down)
}

/// The task.
#[derive(Debug)]
pub struct Automat {
    promoter: Promoter,
    /// When a shard is looked at again.
    later: HashMap<ShardId, Instant>,
}

impl Automat {
    /// One that does nothing until it runs.
    #[must_use]
    pub fn new(promoter: Promoter) -> Self {
        Self {
            promoter,
            later: HashMap::new(),
        }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                biased; // What is cut short is carried on by the next leader.
                () = shutdown.requested() => return,
                () = self.round() => {}
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = sleep(INTERVAL) => {}
            }
        }
    }

    async fn round(&mut self) {
        let context = &self.promoter.context;
        let Standing::Leading(leader) = context.leader.standing() else {
            return;
        };
        let snapshot = context.topology.snapshot();
        for shard in snapshot.shards() {
            let now = Instant::now();
            if self.later.get(&shard.id).is_some_and(|later| now < *later) {
                continue;
            }
            if let Err(error) = self.look_at(leader.term, shard).await {
                let error = error_chain(&error);
                tracing::warn!(shard = %shard.id, error, "no promotion");
                self.later.insert(shard.id.clone(), now + AGAIN);
            }
        }
    }

    async fn look_at(&self, term: Term, shard: &Shard) -> Result<(), Error> {
        if let Some(promotion) = &shard.promotion {
            // A request that runs has the turn.
            let Ok(_turn) = self.promoter.turn(&shard.id) else {
                return Ok(());
            };
            let stored = self.promoter.stored(&shard.id).await?;
            if stored.promotion.as_ref() != Some(promotion) {
                return Ok(());
            }
            let run = Run::resume(&self.promoter, term, stored, promotion.clone()).await?;
            run.carry_on().await?;
            return Ok(());
        }
        let Some(observed) = self.promoter.context.health.of(&shard.id) else {
            return Ok(());
        };
        if shard.primary_endpoint.is_list() {
            return self.follow(term, shard, &observed).await;
        }
        let policy = self.promoter.context.settings.automatic;
        let last = shard.lineage.as_ref();
        let last = last.and_then(|_| SystemTime::now().duration_since(shard.updated_at).ok());
        match policy {
            Some(policy) if is_due(&policy, &observed, Instant::now(), last) => {
                self.promote(term, shard, &policy).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn promote(&self, term: Term, shard: &Shard, policy: &Policy) -> Result<(), Error> {
        let wish = Wish {
            shard: shard.id.clone(),
            to: None,
            accepts_loss: true,
            is_down: policy.unreachable_is_down,
            author: author(),
        };
        let outlook = self.promoter.outlook(&wish).await?;
        if outlook.silence.is_none() {
            // It is there again.
            return Ok(());
        }
        let behind = outlook.choice.behind;
        if behind.is_none_or(|behind| behind > policy.max_lag) {
            let loss = format!(
                "the replica is {behind:?} bytes behind, failover.max_lag is {}",
                policy.max_lag
            );
            let shard = shard.id.clone();
            return Err(Error::WouldLose { shard, loss });
        }
        self.promoter.promote(term, wish).await.map(drop)
    }

    /// Notes the primary that the address's servers have among them.
    async fn follow(&self, term: Term, shard: &Shard, observed: &Observation) -> Result<(), Error> {
        let own = observed.servers.iter().filter(|it| it.is_primary_address);
        let seen = own.filter_map(|server| server.seen.as_ref().ok());
        let primaries = seen.filter(|seen| seen.is_primary);
        let newest = primaries.map(|seen| &seen.lineage);
        let Some(newest) = newest.max_by_key(|lineage| lineage.timeline) else {
            return Ok(());
        };
        let is_news = shard
            .lineage
            .as_ref()
            .is_none_or(|known| known != newest && known.is_succeeded_by(newest));
        if !is_news {
            return Ok(());
        }
        let command = Command::FollowPrimary {
            id: shard.id.clone(),
            lineage: newest.clone(),
        };
        tracing::warn!(shard = %shard.id, lineage = %newest, "shard has another primary");
        write(&self.promoter.context, term, &author(), command).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reshard::lsn::Lsn;
    use crate::shards::server::Seen;
    use topology::Lineage;

    fn observed(failures: u32, since: Option<Instant>, seen: bool) -> Observation {
        let primary = Seen {
            is_primary: true,
            lineage: Lineage {
                system: "7".to_owned(),
                timeline: 1,
            },
            position: Lsn(1),
            replayed: None,
            lag: None,
            is_synchronous: true,
        };
        Observation {
            servers: Vec::new(),
            finding: Err("gone".to_owned()),
            primary: seen.then(|| (primary, SystemTime::now())),
            failures,
            failing_since: since,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_promotion_begins_by_itself_only_when_all_that_is_asked_for_holds() {
        let second = Duration::from_secs(1);
        let policy = Policy {
            failures: 3,
            after: second * 10,
            max_lag: 0,
            cool_down: second * 600,
            unreachable_is_down: true,
        };
        let since = Instant::now();
        let now = since + second * 10;
        let due = |observed: &Observation, now, last| is_due(&policy, observed, now, last);
        assert!(due(&observed(3, Some(since), true), now, None));
        assert!(due(
            &observed(3, Some(since), true),
            now,
            Some(second * 600)
        ));
        assert!(!due(
            &observed(3, Some(since), true),
            now,
            Some(second * 599)
        ));
        assert!(!due(&observed(2, Some(since), true), now, None));
        assert!(!due(&observed(3, Some(since), true), now - second, None));
        assert!(!due(&observed(3, Some(since), false), now, None));
        assert!(!due(&observed(0, None, true), now, None));
    }
}
