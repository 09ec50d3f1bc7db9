//! Gives the sequences that a schema change has made values of their own on each shard, in the
//! transactions that made them.

use futures_util::future::join_all;
use topology::{Shard, Snapshot, numbers, strides};

use super::Failure;
use super::participant::Participant;
use crate::core::Core;
use crate::error::Error;

/// Looks for sequences that were made or changed, and sees to it that no two of `members` give the
/// same values.
pub(super) async fn spread(
    core: &Core,
    snapshot: &Snapshot,
    members: &mut [Participant],
) -> Result<(), Failure> {
    let Some(first) = members.first_mut() else {
        return Ok(());
    };
    let touched = first.rows(strides::TOUCHED).await?;
    let touched = touched.first().and_then(|row| row.first());
    if touched.is_none_or(|value| value.as_deref() != Some("t")) {
        return Ok(());
    }
    let shards: Vec<&Shard> = members
        .iter()
        .filter_map(|member| snapshot.shard(snapshot.index_of(&member.shard)?))
        .collect();
    let numbers = numbers::of(core.store.as_ref(), &shards).await;
    let numbers = numbers.map_err(|error| Error::Numbers(error.to_string()))?;
    if numbers.len() != members.len() {
        return Err(Error::NoShard.into());
    }
    let spread = members.iter_mut().zip(numbers).map(|(member, number)| {
        let statement = strides::spread(number);
        async move { member.rows(&statement).await }
    });
    for outcome in join_all(spread).await {
        outcome?;
    }
    Ok(())
}
