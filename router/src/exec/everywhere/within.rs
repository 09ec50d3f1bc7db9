//! A schema change within a transaction that is open on all shards already, and ends elsewhere.

use std::sync::Arc;

use bytes::Bytes;
use topology::{ShardId, ShardIndex};

use super::participant::Participant;
use super::{Change, Failure, Participants, at_home, caught_up, objects, sequences};
use crate::core::Core;
use crate::pool::{Lease, Pool};
use crate::query::Manner;
use crate::route::Refusal;
use crate::view::Serving;

/// The change as it is for one transaction on the shards that it names.
///
/// # Errors
/// The [`Refusal`] of what is no part of a transaction.
pub fn within(serving: &Serving, change: &Change) -> Result<(Change, Vec<ShardIndex>), Refusal> {
    let what = match &change.manner {
        Manner::Together => None,
        Manner::OncePerServer => {
            Some("a change of roles, which belong to servers and not to shards,")
        }
        Manner::InTurn | Manner::IndexInTurn(_) => Some("a statement that shards run in turn"),
    };
    if let Some(what) = what {
        return Err(Refusal {
            sqlstate: "25001",
            message: format!("{what} cannot run inside a transaction block"),
            hint: Some("run it outside of BEGIN and COMMIT".to_owned()),
        });
    }
    let mut pools: Vec<&Pool> = serving.active().map(|(_, pool)| pool).collect();
    let change = at_home(change, &mut pools)?;
    if let Some(index) = change.home {
        return Ok((change, vec![index]));
    }
    let shards = pools
        .iter()
        .filter_map(|pool| serving.snapshot.index_of(pool.shard()))
        .collect();
    Ok((change, shards))
}

/// Makes the change on backends that are within the transaction; gives those back that are still
/// there, and the answer without its ReadyForQuery.
///
/// Not cancel-safe: dropped in the middle, all backends are closed.
pub async fn run_on(
    core: &Core,
    serving: &Serving,
    backends: Vec<(ShardId, Lease)>,
    change: &Change,
) -> (Vec<(ShardId, Lease)>, Result<Bytes, Failure>) {
    let members = backends.into_iter().map(|(shard, lease)| Participant {
        shard,
        lease: Some(lease),
    });
    let mut all = Participants {
        members: members.collect(),
        settings: Arc::default(),
        grace: core.config.sharding.connect_timeout,
    };
    let (aside, ran) =
        match objects::settled_within(change.clone(), serving, &mut all.members).await {
            Ok((change, aside)) => (aside, run(core, serving, &mut all, &change).await),
            Err(failure) => (Vec::new(), Err(failure)),
        };
    let back = all.members.into_iter().chain(aside);
    let back = back.filter_map(|member| Some((member.shard, member.lease?)));
    (back.collect(), ran)
}

async fn run(
    core: &Core,
    serving: &Serving,
    all: &mut Participants,
    change: &Change,
) -> Result<Bytes, Failure> {
    let answer = all.run(&change.sql).await?;
    let snapshot = &serving.snapshot;
    if change.is_on_several() {
        sequences::spread(core, snapshot, &mut all.members).await?;
    }
    if let Some(epoch) = all.register(core, snapshot, change).await? {
        caught_up(core, epoch).await?;
    }
    Ok(answer)
}
