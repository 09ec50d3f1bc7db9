//! Ends what routers have prepared on shards and left: a transaction on several shards whose router
//! died, was cut off or took too long. It is committed where its anchor says so, and rolled back
//! where nobody can commit it any more.
//!
//! Only the leader does it, every [`INTERVAL`]. What is done is in `plan`, pure; `shard` talks to
//! one shard. A shard gets here what transactions are decided by.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use platform::Shutdown;
use platform::telemetry::error_chain;
use tokio::time::timeout;
use topology::decision::Global;
use topology::records::Incarnation;
use topology::store::Store;
use topology::{Shard, ShardId, Term, routers};

use crate::leader::{self, Standing};
use crate::reshard::session::Sessions;

pub mod metrics;
pub mod plan;
mod shard;

use metrics::Metrics;
use plan::{Decision, Found, Resolution, Step};
use shard::{Error, Known};

/// Between two rounds.
const INTERVAL: Duration = Duration::from_secs(2);

/// What one shard may take in a round.
const LIMIT: Duration = Duration::from_secs(15);

/// The task.
#[derive(Debug)]
pub struct Recovery {
    store: Arc<dyn Store>,
    topology: topology::watch::View,
    leader: leader::View,
    sessions: Sessions,
    metrics: Metrics,
    known: BTreeMap<ShardId, Known>,
    /// Shards with which something was wrong in the last round.
    failing: HashSet<ShardId>,
}

impl Recovery {
    /// A task that does nothing until it runs.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        topology: topology::watch::View,
        leader: leader::View,
        sessions: Sessions,
        metrics: Metrics,
    ) -> Self {
        Self {
            store,
            topology,
            leader,
            sessions,
            metrics,
            known: BTreeMap::new(),
            failing: HashSet::new(),
        }
    }

    /// Runs until shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        loop {
            if let Standing::Leading(leader) = self.leader.standing() {
                tokio::select! {
                    biased; // Dropped anywhere, the next round does the rest.
                    () = shutdown.requested() => return,
                    () = self.round(leader.term) => {}
                }
            } else {
                self.known.clear();
                self.metrics.in_doubt.set(0);
            }
            tokio::select! {
                biased;
                () = shutdown.requested() => return,
                () = self.leader.changed() => {}
                // A shard that was just registered is made ready at once.
                _ = self.topology.changed() => {}
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
    }

    async fn round(&mut self, term: Term) {
        let snapshot = self.topology.snapshot();
        let live = self.live().await;
        let mut known = self.connect(snapshot.shards(), term).await;
        let expected = snapshot.shards().len();
        // In this order: what is decided was prepared everywhere before, and is listed until it is
        // done.
        let decided = decided(&mut known).await;
        let found = found(&mut known).await;
        let all_answered = known.len() == expected;
        self.metrics.in_doubt.set(in_doubt(&found));
        for one in &found {
            if let Err(error) = self.resolve(&mut known, term, live.as_ref(), one).await {
                let (name, error) = (&one.name, error_chain(&error));
                tracing::warn!(name, shard = %one.shard, error, "a transaction stays in doubt");
            }
        }
        if all_answered {
            forget(&mut known, term, &decided, &found).await;
        }
        self.known = known;
    }

    /// The routers that live; none when that is not known.
    async fn live(&self) -> Option<HashSet<Incarnation>> {
        let listed = routers::list(self.store.as_ref()).await.ok()?;
        let all = listed.all.iter().map(|router| router.record.incarnation);
        Some(all.collect())
    }

    /// A session on each shard that has one to give, made ready for this term.
    async fn connect(&mut self, shards: &[Shard], term: Term) -> BTreeMap<ShardId, Known> {
        let mut before = std::mem::take(&mut self.known);
        let sessions = &self.sessions;
        let connected = shards.iter().map(|shard| {
            let held = before.remove(&shard.id);
            async move {
                if let Some(held) = held.filter(|held| held.is_of(shard, term)) {
                    return (shard.id.clone(), Ok(held));
                }
                let opened = timeout(LIMIT, Known::open(sessions, shard, term)).await;
                let opened = opened.unwrap_or(Err(Error::Late { limit: LIMIT }));
                (shard.id.clone(), opened)
            }
        });
        let mut known = BTreeMap::new();
        for (id, opened) in join_all(connected).await {
            match opened {
                Ok(session) => {
                    if self.failing.remove(&id) {
                        tracing::info!(shard = %id, "shard can be looked at for transactions again");
                    }
                    known.insert(id, session);
                }
                Err(error) => {
                    if self.failing.insert(id.clone()) {
                        let error = error_chain(&error);
                        tracing::warn!(
                            shard = %id, error, "transactions on several shards are not recovered"
                        );
                    }
                }
            }
        }
        known
    }

    async fn resolve(
        &self,
        known: &mut BTreeMap<ShardId, Known>,
        term: Term,
        live: Option<&HashSet<Incarnation>>,
        found: &Found,
    ) -> Result<(), Error> {
        let anchor = &found.global.anchor;
        let key = found.global.to_string();
        let lives = live.is_none_or(|live| live.contains(&found.global.router));
        let place = known.get_mut(anchor).ok_or_else(|| Error::NoAnchor {
            anchor: anchor.clone(),
        })?;
        let decision = within(place.decision(&key)).await?;
        let resolution = match plan::next(found, lives, decision) {
            Step::Wait => return Ok(()),
            Step::Carry(resolution) => resolution,
            Step::Abort => match within(place.abort(term, &key)).await? {
                Decision::Committed => Resolution::Commit,
                Decision::Aborted => Resolution::RollBack,
            },
        };
        let Some(place) = known.get_mut(&found.shard) else {
            return Ok(());
        };
        if within(place.carry_out(&found.name, resolution)).await? {
            self.metrics.recovered(resolution);
            let outcome = resolution.as_str();
            tracing::warn!(
                name = found.name, shard = %found.shard, outcome, router_lives = lives,
                age_ms = found.age.as_millis(), "recovered a transaction on several shards"
            );
        }
        Ok(())
    }
}

async fn within<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let done = timeout(LIMIT, work).await;
    done.unwrap_or(Err(Error::Late { limit: LIMIT }))
}

/// The decisions on all shards; a shard that does not answer is left out of the round.
async fn decided(known: &mut BTreeMap<ShardId, Known>) -> Vec<(ShardId, Vec<String>)> {
    let asked = known.iter_mut().map(|(id, session)| async move {
        let decided = within(session.committed()).await;
        (id.clone(), decided)
    });
    let answers = join_all(asked).await;
    answered(known, answers)
}

/// The transactions of routers that are prepared on all shards, as [`decided`].
async fn found(known: &mut BTreeMap<ShardId, Known>) -> Vec<Found> {
    let asked = known.iter_mut().map(|(id, session)| async move {
        let found = within(session.prepared()).await;
        (id.clone(), found)
    });
    let answers = join_all(asked).await;
    let answers = answered(known, answers);
    answers.into_iter().flat_map(|(_, found)| found).collect()
}

fn answered<T>(
    known: &mut BTreeMap<ShardId, Known>,
    answers: Vec<(ShardId, Result<T, Error>)>,
) -> Vec<(ShardId, T)> {
    let mut good = Vec::new();
    for (id, answer) in answers {
        match answer {
            Ok(answer) => good.push((id, answer)),
            Err(error) => {
                tracing::info!(shard = %id, error = error_chain(&error), "shard does not answer");
                known.remove(&id);
            }
        }
    }
    good
}

/// Forgets decisions that nobody can ask for any more.
async fn forget(
    known: &mut BTreeMap<ShardId, Known>,
    term: Term,
    decided: &[(ShardId, Vec<String>)],
    found: &[Found],
) {
    let open: HashSet<String> = found.iter().map(|it| it.global.to_string()).collect();
    for (id, keys) in decided {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let over = keys.into_iter().filter(|key| !open.contains(*key));
        let over: Vec<&str> = over.collect();
        let Some(session) = known.get_mut(id) else {
            continue;
        };
        let listed: Vec<&str> = open.iter().map(String::as_str).collect();
        if let Err(error) = within(session.forget(term, &over, &listed)).await {
            let error = error_chain(&error);
            tracing::info!(shard = %id, error, "decisions are kept for now");
            known.remove(id);
        }
    }
}

fn in_doubt(found: &[Found]) -> i64 {
    let old = found.iter().filter(|it| it.age > INTERVAL);
    let names: HashSet<&Global> = old.map(|it| &it.global).collect();
    i64::try_from(names.len()).unwrap_or(i64::MAX)
}
