//! Indexes and sequences that a change names: those of an unsharded table are on its home alone, and
//! only the catalogs tell whose they are.

use std::sync::Arc;
use std::time::Duration;

use topology::ShardId;
use wire::quote::literal;

use super::participant::Participant;
use super::{Change, Failure};
use crate::pool::settings::Settings;
use crate::view::Serving;

/// The change, for the only shard that has what it names; as it was where several have it, or none.
pub(super) async fn settled(
    mut change: Change,
    serving: &Serving,
    settings: &Settings,
    grace: Duration,
) -> Result<Change, Failure> {
    if change.objects.is_empty() {
        return Ok(change);
    }
    let settings = Arc::new(settings.clone());
    let mut there = Vec::new();
    for (_, pool) in serving.active() {
        let mut member = Participant::borrow(pool).await?;
        member.begin(&settings).await?;
        let has = has_any(&mut member, &change.objects).await;
        member.roll_back(grace).await;
        if has? {
            there.push(member.shard.clone());
        }
    }
    change.home = alone(there).and_then(|shard| serving.snapshot.index_of(&shard));
    Ok(change)
}

/// As [`settled`], asked within the transaction that is to make the change: the members that take no
/// part in it are set aside.
pub(super) async fn settled_within(
    mut change: Change,
    serving: &Serving,
    members: &mut Vec<Participant>,
) -> Result<(Change, Vec<Participant>), Failure> {
    if change.objects.is_empty() {
        return Ok((change, Vec::new()));
    }
    let mut there = Vec::new();
    for member in members.iter_mut() {
        if has_any(member, &change.objects).await? {
            there.push(member.shard.clone());
        }
    }
    let Some(only) = alone(there) else {
        return Ok((change, Vec::new()));
    };
    change.home = serving.snapshot.index_of(&only);
    let aside = members.extract_if(.., |member| member.shard != only);
    let aside = aside.collect();
    Ok((change, aside))
}

fn alone(mut shards: Vec<ShardId>) -> Option<ShardId> {
    shards.pop().filter(|_| shards.is_empty())
}

async fn has_any(member: &mut Participant, objects: &[String]) -> Result<bool, Failure> {
    let names: Vec<String> = objects.iter().map(|name| literal(name)).collect();
    let question = format!(
        "SELECT FROM pg_catalog.unnest(ARRAY[{}]) name \
         WHERE pg_catalog.to_regclass(name) IS NOT NULL",
        names.join(", ")
    );
    Ok(!member.rows(&question).await?.is_empty())
}
