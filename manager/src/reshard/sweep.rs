//! Looks for what jobs have left on shards that nobody knows any more, once in each term: a slot
//! that nobody reads keeps its server's log for ever.

use std::collections::BTreeSet;
use std::sync::Arc;

use platform::telemetry::error_chain;
use topology::{Shard, Term};

use super::cleanup::{orphans, remove_orphans};
use super::driver::Context;
use super::guard::{self, Patience, term};
use super::ids::{JobId, LegId};
use super::{api, session, supervisor};

/// Removes from all shards what belongs to none of the live legs. A shard that cannot be asked is
/// left for the next term.
pub(super) async fn sweep(context: Arc<Context>, term: Term) {
    let snapshot = context.topology.snapshot();
    for shard in snapshot.shards() {
        if let Err(error) = sweep_shard(&context, term, shard).await {
            let error = error_chain(&error);
            tracing::info!(shard = %shard.id, error, "not looked for what dead jobs have left");
        }
    }
}

async fn sweep_shard(context: &Context, at: Term, shard: &Shard) -> Result<(), Error> {
    // The sessions of a leg have its name; these are of none.
    let (job, number) = (JobId::new(), 0);
    let leg = LegId { job, number };
    let mut session = context.sessions.open(shard, &leg, "sweep").await?;
    if term::present(&session).await?.is_none() {
        return Ok(()); // No job was ever here.
    }
    term::raise(&mut session, at).await?;
    let mut found = orphans(&session, &BTreeSet::new()).await?;
    if found.is_empty() {
        return Ok(());
    }
    // Asked for after what is there was listed: a job is recorded before it makes anything.
    let live = supervisor::live_legs(context.store.as_ref()).await?;
    found.retain(|orphan| !live.contains(&orphan.leg));
    remove_orphans(&mut session, at, &found, Patience::default()).await?;
    Ok(())
}

/// Why a shard was not swept.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Guard(#[from] guard::Error),
    #[error(transparent)]
    Session(#[from] session::Error),
    #[error(transparent)]
    Jobs(#[from] api::Error),
}
