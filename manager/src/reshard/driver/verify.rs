//! Comparisons of the two sides: before a cutover, at a moment while clients write, and of the
//! very rows that changed their owner, which goes on after the flip.

use std::sync::Arc;

use platform::telemetry::error_chain;
use tokio::task::JoinHandle;
use topology::{Shard, ShardId};

use super::Trouble;
use super::hands::Hands;
use super::prepare::table_names;
use crate::control::moves::Effect;
use crate::reshard::api::Certificate;
use crate::reshard::copy::{Rates, Throttle};
use crate::reshard::flow::Bounds;
use crate::reshard::guard::fence;
use crate::reshard::machine::Side;
use crate::reshard::schema;
use crate::reshard::verify::freeze::{Followed, Freezer, Frozen, at_one_moment};
use crate::reshard::verify::{self, Comparison, Order, compare};

/// What a certificate says of the moment that was compared.
const BEFORE: &str = "before the hold";
const EXACT: &str = "at the cutover";
/// Where the comparison at the cutover was lost, with the manager that made it for instance.
const AFTER: &str = "after the cutover";

/// A comparison of the rows at a cutover, on its way.
#[derive(Debug)]
pub(super) struct Exact {
    task: JoinHandle<Result<Comparison, verify::Error>>,
}

impl Drop for Exact {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A freezer that is connected to its shard.
pub(super) type Ready = (ShardId, Freezer);

/// Takes a snapshot of each of these shards, to whose rows no client can write by now.
pub(super) async fn freeze(ready: Vec<Ready>) -> Result<Vec<(ShardId, Frozen)>, Trouble> {
    let mut freezing = Vec::with_capacity(ready.len());
    for (id, freezer) in ready {
        freezing.push(async move { Ok::<_, verify::Error>((id, freezer.freeze().await?)) });
    }
    Ok(futures_util::future::try_join_all(freezing).await?)
}

impl Hands {
    /// Makes sure that the cutover is worth being begun, and opens what it needs.
    pub(super) async fn verify(&mut self) -> Result<(), Trouble> {
        self.still_fits()?;
        let owner = self.leg.phase.owner();
        // Rows that were found different at the cutover are what an operator goes back for.
        if self.verified != Some(owner) && !self.leg.is_unequal() {
            let difference = self.compare_while_written(BEFORE).await?;
            if let Some(difference) = difference {
                return Err(Trouble::lasting(difference));
            }
            self.verified = Some(owner);
        }
        self.await_long_transactions().await?;
        self.make_ready().await
    }

    /// Compares both sides as of one position, while clients write; tells how they differ.
    async fn compare_while_written(
        &mut self,
        instant: &'static str,
    ) -> Result<Option<String>, Trouble> {
        let config = self.context.sessions.config().clone();
        let owners = self.sides(&self.owners().into_iter().collect::<Vec<_>>())?;
        let mirrors = self.sides(&self.mirrors().into_iter().collect::<Vec<_>>())?;
        let Some(streams) = &self.streams else {
            return Err(Trouble::passing("the streams do not run"));
        };
        let mut followed = Vec::new();
        for (shard, bounds) in &owners {
            let follow = streams.follows.iter().find(|(id, _)| *id == shard.id);
            let Some((_, follow)) = follow else { continue };
            followed.push(Followed {
                shard,
                bounds,
                follow,
            });
        }
        let mirrors: Vec<(&Shard, &Bounds)> = mirrors.iter().map(|(s, b)| (s, b)).collect();
        let moment = at_one_moment(&config, &self.leg.id, &followed, &mirrors).await;
        let moment = moment.map_err(|error| Trouble::passing(error_chain(&error)))?;
        let order = self.comparison(moment.owners.clone(), moment.mirrors.clone());
        let compared = compare(
            order,
            &self.context.tasks,
            Arc::clone(&self.progress),
            unthrottled(),
        )
        .await?;
        drop(moment);
        self.judge(&compared, instant).await
    }

    fn comparison(&self, owners: Vec<verify::Side>, mirrors: Vec<verify::Side>) -> Order {
        Order {
            config: self.context.sessions.config().clone(),
            leg: self.leg.id.clone(),
            owners,
            mirrors,
            tables: self.leg.tables.clone(),
            workers: self.context.settings.copy_workers,
        }
    }

    /// Keeps what a comparison says, and tells how the sides differ if they do.
    async fn judge(
        &mut self,
        compared: &Comparison,
        instant: &str,
    ) -> Result<Option<String>, Trouble> {
        let certificate = compared.certificate(instant);
        tracing::info!(leg = %self.leg.id, instant, equal = certificate.is_equal,
            rows = certificate.rows, "sides compared");
        self.context.metrics.compared(certificate.is_equal);
        let mut leg = self.leg.clone();
        let (is_equal, digest) = (certificate.is_equal, certificate.digest.clone());
        leg.keep_certificate(certificate);
        let difference = (!is_equal).then(|| difference(compared, instant, &digest));
        if instant != BEFORE {
            leg.failure.clone_from(&difference);
        }
        self.write(leg, Effect::None, "verify_leg").await?;
        Ok(difference)
    }

    fn sides(&self, shards: &[ShardId]) -> Result<Vec<(Shard, Bounds)>, Trouble> {
        let side = |id: &ShardId| Ok((self.shard(id)?, self.guarded(id).bounds));
        shards.iter().map(side).collect()
    }

    /// Opens before the pause what is used within it.
    async fn make_ready(&mut self) -> Result<(), Trouble> {
        self.ready.clear();
        self.freezers.clear();
        self.stamps.clear();
        self.has_sequences = false;
        let config = self.context.sessions.config().clone();
        for id in self.everywhere() {
            let mut session = self.alone(&id).await?;
            fence::rehearse(&mut session, self.term, &self.guarded(&id)).await?;
            self.ready.push(session);
            let shard = self.shard(&id)?;
            let freezer = Freezer::connect(&config, &shard, &self.leg.id).await?;
            self.freezers.push((id, freezer));
        }
        for owner in self.owners() {
            let session = self.ready(&owner).await?;
            let guarded = self.guarded(&owner);
            // First the stamp, so that it is older than what is found to be right.
            let stamp = fence::schema_stamp(&session, &guarded).await?;
            let hash = fence::schema_hash(&session, &guarded).await?;
            let names = table_names(&self.leg.tables);
            self.has_sequences |= schema::has_sequences(&session, &names).await?;
            self.ready.push(session);
            let is_first = self.leg.phase.owner() == Side::From;
            let prepared = self.leg.schema_hash.as_ref().filter(|_| is_first);
            if prepared.is_some_and(|prepared| *prepared != hash) {
                let text = format!("shard {owner}: tables are no longer as they were prepared");
                return Err(Trouble::lasting(text));
            }
            self.stamps.insert(owner, stamp);
        }
        Ok(())
    }

    /// The freezers of the owners and those of the mirrors.
    pub(super) fn take_freezers(&mut self) -> (Vec<Ready>, Vec<Ready>) {
        let owners = self.owners();
        let taken = std::mem::take(&mut self.freezers);
        taken.into_iter().partition(|(id, _)| owners.contains(id))
    }

    /// Begins to compare what was frozen; the result is asked for later.
    pub(super) fn begin_exact(&mut self, owners: &[ShardId]) {
        let frozen = std::mem::take(&mut self.frozen);
        if frozen.is_empty() {
            return;
        }
        let side = |(id, frozen): &(ShardId, Frozen)| frozen.side(self.guarded(id).bounds);
        let is_owner = |(id, _): &&(ShardId, Frozen)| owners.contains(id);
        let old = frozen.iter().filter(is_owner).map(side).collect();
        let new = frozen
            .iter()
            .filter(|one| !is_owner(one))
            .map(side)
            .collect();
        let order = self.comparison(old, new);
        let (tasks, progress) = (self.context.tasks.clone(), Arc::clone(&self.progress));
        let work = async move {
            let compared = compare(order, &tasks, progress, unthrottled()).await;
            drop(frozen);
            compared
        };
        let task = self.context.tasks.spawn("reshard exact comparison", work);
        self.exact = Some(Exact { task });
    }

    /// Makes sure that all rows were compared since they have their new owner. A difference is kept
    /// with the leg and ends nothing: the streams are the way back.
    pub(super) async fn certify(&mut self) -> Result<(), Trouble> {
        self.settle_exact().await?;
        let is_before = |last: &Certificate| last.instant == BEFORE;
        if self.leg.certificates.last().is_none_or(is_before) {
            let difference = self.compare_while_written(AFTER).await?;
            self.lament(difference.as_deref());
        }
        Ok(())
    }

    fn lament(&self, difference: Option<&str>) {
        if let Some(difference) = difference {
            tracing::error!(leg = %self.leg.id, difference, "rows differ after a cutover");
        }
    }

    /// Waits for the comparison at the cutover, if there was one, and keeps what it says.
    pub(super) async fn settle_exact(&mut self) -> Result<(), Trouble> {
        let Some(exact) = &mut self.exact else {
            return Ok(());
        };
        let compared = (&mut exact.task).await;
        self.exact = None;
        match compared {
            Ok(Ok(compared)) => {
                let difference = self.judge(&compared, EXACT).await?;
                self.lament(difference.as_deref());
                Ok(())
            }
            Ok(Err(error)) => {
                tracing::error!(leg = %self.leg.id, error = error_chain(&error),
                    "rows at the cutover not compared");
                Ok(())
            }
            Err(_) => Ok(()),
        }
    }
}

/// Some of the rows that differ.
fn difference(compared: &Comparison, instant: &str, digest: &str) -> String {
    let differing = compared.tables.iter().flat_map(|table| {
        let name = table.name.to_string();
        let keys = table.differing.iter();
        keys.map(move |one| format!("{name} key {} ({:?})", one.key, one.kind))
    });
    let shown: Vec<String> = differing.take(10).collect();
    let shown = shown.join(", ");
    format!("the two sides differ {instant}: {shown} (digest {digest})")
}

fn unthrottled() -> Arc<Throttle> {
    Arc::new(Throttle::new(Rates {
        rows: None,
        bytes: None,
    }))
}
