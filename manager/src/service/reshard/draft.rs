//! From an operation of the API to a plan: new shards are added to the topology on paper, sizes
//! are measured where the plan is by size, and what was planned is kept for a while.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use platform::telemetry::error_chain;
use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use topology::records::{decode, encode};
use topology::store::{Op, Txn};
use topology::watch::{Loaded, load};
use topology::{Placement, ShardId, Snapshot, TableName, keys};

use super::super::Service;
use super::{describe, is_emptied, request};
use crate::commit;
use crate::control::{self, Command, NewShard, Rejection};
use crate::error::Error;
use crate::reshard::api;
use crate::reshard::estimate::{Estimator, Size};
use crate::reshard::plan::diff::Widths;
use crate::reshard::plan::{Balance, Intent, Plan, PlanId, Target, Vnodes, capacity};
use crate::reshard::record::{Options, StoredPlan};
use crate::shards::rows::Inquiry;

/// How long a plan can be run by its id.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A plan with what it was made from.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) plan: Plan,
    /// The topology with the new shards.
    pub(super) snapshot: Snapshot,
    /// The new shards that are not registered yet.
    pub(super) missing: Vec<NewShard>,
    pub(super) stored: StoredPlan,
}

impl Draft {
    /// Plans on a topology.
    ///
    /// # Errors
    /// When a new shard cannot be registered, or there is no plan.
    pub(super) fn try_new(loaded: &Loaded, stored: StoredPlan) -> Result<Self, Error> {
        let mut snapshot = loaded.snapshot().map_err(commit::Error::Invalid)?;
        let mut parts = loaded.parts.clone();
        let mut missing = Vec::new();
        for new in &stored.new_shards {
            if is_registered(&snapshot, new)? {
                continue;
            }
            let command = Command::JoinShard(new.clone());
            let change = control::decide(&snapshot, &command, SystemTime::now())?;
            snapshot = commit::after(&mut parts, snapshot.epoch(), &change.ops)?;
            missing.push(new.clone());
        }
        Ok(Self {
            plan: Plan::try_new(&snapshot, &stored.intent)?,
            snapshot,
            missing,
            stored,
        })
    }

    /// Whether the plan is the one that was named.
    ///
    /// # Errors
    /// [`Error::PlanOutdated`].
    pub(super) fn must_be(&self, wanted: Option<&PlanId>) -> Result<(), Error> {
        match wanted {
            Some(wanted) if *wanted != self.plan.id => Err(Error::PlanOutdated {
                wanted: wanted.clone(),
                found: self.plan.id.clone(),
            }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A shard of this name may be there already, from an earlier attempt: at the same endpoint it is
/// the one that is meant.
fn is_registered(snapshot: &Snapshot, new: &NewShard) -> Result<bool, Error> {
    let id = control::slug(&new.name);
    let shard = id.and_then(|id| snapshot.index_of(&id));
    let Some(shard) = shard.and_then(|index| snapshot.shard(index)) else {
        return Ok(false);
    };
    if shard.primary_endpoint == new.primary_endpoint {
        return Ok(true);
    }
    let id = shard.id.clone();
    Err(Rejection::ShardExists { id }.into())
}

/// The shards that an operation names, and those that are new.
struct Targets<'a> {
    snapshot: &'a Snapshot,
    default_vnode_count: u32,
    new_shards: Vec<NewShard>,
}

impl Targets<'_> {
    /// A target with its share.
    fn target(
        &mut self,
        field: &'static str,
        target: Option<&v1::ReshardTarget>,
    ) -> Result<Target, Error> {
        let shard = target.and_then(|target| target.shard.as_ref());
        match shard {
            None => Err(Error::invalid(field, "must name a shard")),
            Some(v1::reshard_target::Shard::Id(id)) => {
                let id = request::shard_id(field, id)?;
                let index = self.snapshot.index_of(&id);
                let known = index.and_then(|index| self.snapshot.shard(index));
                // Of one that does not exist the plan says so.
                let share = known.map_or(1, capacity);
                Ok(Target { shard: id, share })
            }
            Some(v1::reshard_target::Shard::NewShard(new)) => {
                let new = request::new_shard(new, self.default_vnode_count)?;
                let unusable = || Error::invalid(field, "has a name that gives no shard id");
                let shard = control::slug(&new.name).ok_or_else(unusable)?;
                let share = u64::from(new.weight) * u64::from(new.vnode_count);
                self.new_shards.push(new);
                Ok(Target { shard, share })
            }
        }
    }
}

impl Service {
    /// The topology as stored at this moment.
    pub(super) async fn loaded(&self) -> Result<Loaded, Error> {
        Ok(load(self.0.store.as_ref()).await?)
    }

    /// Plans an operation.
    pub(super) async fn draft(
        &self,
        loaded: &Loaded,
        operation: &Operation,
    ) -> Result<Draft, Error> {
        let snapshot = loaded.snapshot().map_err(commit::Error::Invalid)?;
        let mut targets = Targets {
            snapshot: &snapshot,
            default_vnode_count: self.0.vnode_count,
            new_shards: Vec::new(),
        };
        let intent = match operation {
            Operation::Split(split) => Intent::Split {
                source: request::shard_id("source_shard_id", &split.source_shard_id)?,
                targets: split
                    .target_shards
                    .iter()
                    .map(|target| targets.target("target_shards", Some(target)))
                    .collect::<Result<_, _>>()?,
            },
            Operation::Merge(merge) => Intent::Merge {
                sources: request::shard_ids("source_shard_ids", &merge.source_shard_ids)?,
                target: targets
                    .target("target_shard", merge.target_shard.as_ref())?
                    .shard,
            },
            Operation::Move(some) => Intent::Move {
                vnodes: vnodes(some)?,
                from: request::shard_id("from", &some.from)?,
                to: targets.target("to", some.to.as_ref())?.shard,
            },
            Operation::AddShard(add) => Intent::AddShard {
                shard: targets.target("shard", add.shard.as_ref())?.shard,
            },
            Operation::Drain(drain) => Intent::Drain {
                shard: request::shard_id("shard_id", &drain.shard_id)?,
            },
            Operation::Rebalance(rebalance) => Intent::Rebalance {
                by: self.balance(&snapshot, &rebalance.by).await?,
            },
        };
        let new_shards = targets.new_shards;
        Draft::try_new(loaded, StoredPlan { intent, new_shards })
    }

    async fn balance(&self, snapshot: &Snapshot, by: &str) -> Result<Balance, Error> {
        match by {
            "" | "weight" => Ok(Balance::Weight),
            "size" => {
                let owners = snapshot.shards().iter().map(|shard| shard.id.clone());
                let (sizes, notes) = self.sizes(snapshot, owners).await;
                if let Some((shard, error)) = notes.into_iter().next() {
                    tracing::warn!(%shard, error = error_chain(&error), "shard not measured");
                    return Err(error.into());
                }
                let sizes = sizes.into_iter().map(|(shard, size)| (shard, size.bytes));
                Ok(Balance::Size(sizes.collect()))
            }
            _ => Err(Error::invalid("by", "must be weight or size")),
        }
    }

    /// What some shards hold of the sharded tables.
    async fn sizes(
        &self,
        snapshot: &Snapshot,
        shards: impl IntoIterator<Item = ShardId>,
    ) -> (
        BTreeMap<ShardId, Size>,
        Vec<(ShardId, crate::shards::Error)>,
    ) {
        let tables = sharded_tables(snapshot);
        let inquiry = |id: ShardId| {
            let shard = snapshot.shard(snapshot.index_of(&id)?)?.clone();
            let tables = tables.clone();
            Some(Inquiry { shard, tables })
        };
        let inquiries = shards.into_iter().filter_map(inquiry).collect();
        let (mut sizes, mut errors) = (BTreeMap::new(), Vec::new());
        for (shard, size) in self.0.shards.sizes(inquiries).await {
            match size {
                Ok(size) => drop(sizes.insert(shard, size)),
                Err(error) => errors.push((shard, error)),
            }
        }
        (sizes, errors)
    }

    /// The plan as it is shown, with what it will move.
    pub(super) async fn proposal(
        &self,
        loaded: &Loaded,
        draft: &Draft,
        options: &Options,
    ) -> v1::Plan {
        let Draft { plan, snapshot, .. } = draft;
        let (sizes, errors) = self.sizes(snapshot, plan.sources()).await;
        let unasked = errors.iter().map(|(_, error)| {
            let error = error.full_text();
            format!("rows and bytes are not known: {error}")
        });
        let mut notes: Vec<String> = unasked.collect();
        for shard in plan.sources() {
            if is_emptied(snapshot, draft, &shard) {
                notes.extend(homed(snapshot, &shard));
            }
        }
        let estimator = Estimator {
            sizes,
            throttle: options.throttle,
        };
        let known = loaded.parts.shards.iter().map(|shard| shard.id.clone());
        let proposal = describe::Proposal {
            plan,
            widths: Widths::of(snapshot),
            estimator,
            registered: known.collect(),
            notes,
        };
        proposal.describe()
    }

    /// Keeps a plan for a while; the same plan twice is one.
    pub(super) async fn keep(&self, draft: &Draft) -> Result<(), Error> {
        let store = self.0.store.as_ref();
        let lease = store.grant(KEPT).await.map_err(api::Error::Store)?;
        let key = keys::plan(draft.plan.id.as_str());
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![Op::put_leased(key, encode(&draft.stored), lease)],
        };
        store.commit(txn).await.map_err(api::Error::Store)?;
        Ok(())
    }

    /// What a plan was made from.
    pub(super) async fn stored_plan(&self, id: &PlanId) -> Result<StoredPlan, Error> {
        let found = self.0.store.read(&keys::plan(id.as_str())).await;
        let Some(entry) = found.map_err(api::Error::Store)? else {
            return Err(Error::NotFound {
                what: format!("plan {id} (plans are kept for a day)"),
            });
        };
        let stored = decode(&entry.key, &entry.value).map_err(api::Error::Record)?;
        Ok(stored)
    }
}

fn vnodes(some: &v1::MoveRequest) -> Result<Vnodes, Error> {
    match (some.vnodes.as_slice(), some.count) {
        ([], 0) => Err(Error::invalid("vnodes", "or count must say what moves")),
        ([], count) => Ok(Vnodes::Count(count)),
        (tokens, 0) => {
            let tokens = tokens.iter().map(|token| topology::Token(*token));
            Ok(Vnodes::Tokens(tokens.collect()))
        }
        (_, _) => Err(Error::invalid("count", "is not for a list of vnodes")),
    }
}

fn sharded_tables(snapshot: &Snapshot) -> Vec<TableName> {
    let is_sharded = |placement: &Placement| match placement {
        Placement::Sharded { .. } => true,
        Placement::Reference | Placement::Unsharded { .. } | Placement::View { .. } => false,
    };
    let tables = snapshot.tables();
    let mut tables: Vec<_> = tables
        .filter(|table| is_sharded(&table.placement))
        .map(|table| table.name.clone())
        .collect();
    tables.sort();
    tables
}

/// Unsharded tables do not move with vnodes.
fn homed(snapshot: &Snapshot, shard: &ShardId) -> Vec<String> {
    let mut notes: Vec<_> = snapshot
        .tables()
        .filter(|table| match &table.placement {
            Placement::Unsharded { shard_id } => shard_id == shard,
            Placement::Sharded { .. } | Placement::Reference | Placement::View { .. } => false,
        })
        .map(|table| format!("unsharded table {} stays on shard {shard}", table.name))
        .collect();
    notes.sort();
    notes
}
