//! What a promotion does to a shard's record: routers let go of the primary when it begins, and
//! take up the new one when it ends.

use std::time::SystemTime;

use serde_json::{Value, json};
use topology::records::{Lineage, Promotion, encode};
use topology::store::Op;
use topology::{Endpoint, Shard, ShardId, Snapshot, keys};

use super::{Change, Rejection};

/// What a promotion came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// Another server is the primary.
    Promoted {
        /// Where it is.
        to: Endpoint,
        /// What it is.
        lineage: Lineage,
        /// How it went, for the audit log.
        detail: Value,
    },
    /// Everything stays as it was.
    GivenUp {
        /// Why.
        reason: String,
    },
}

fn found<'a>(snapshot: &'a Snapshot, id: &ShardId) -> Result<&'a Shard, Rejection> {
    let index = snapshot.index_of(id);
    let shard = index.and_then(|index| snapshot.shard(index));
    shard.ok_or_else(|| Rejection::UnknownShard { id: id.clone() })
}

fn changed(shard: Shard, now: SystemTime, (action, detail): (&'static str, Value)) -> Change {
    let target = shard.id.to_string();
    let record = Shard {
        version: shard.version + 1,
        updated_at: now,
        ..shard
    };
    Change {
        ops: vec![Op::put(keys::shard(&record.id), encode(&record))],
        action,
        target,
        detail,
    }
}

/// Routers let go of the primary.
pub(super) fn begin(
    snapshot: &Snapshot,
    id: &ShardId,
    promotion: &Promotion,
    now: SystemTime,
) -> Result<Change, Rejection> {
    let shard = found(snapshot, id)?;
    if shard.promotion.is_some() {
        return Err(Rejection::Promoting { id: id.clone() });
    }
    let detail = json!({
        "promotion": promotion.id, "to": promotion.to, "from": shard.primary_endpoint,
        "old_primary_is_down": promotion.is_down, "accept_loss": promotion.accepts_loss,
    });
    let shard = Shard {
        promotion: Some(Promotion {
            epoch: snapshot.epoch().next(),
            ..promotion.clone()
        }),
        ..shard.clone()
    };
    Ok(changed(shard, now, ("begin_promotion", detail)))
}

/// Routers take up the new primary, or the old one again.
pub(super) fn end(
    snapshot: &Snapshot,
    (id, promotion): (&ShardId, &str),
    ending: &Ending,
    now: SystemTime,
) -> Result<Change, Rejection> {
    let shard = found(snapshot, id)?;
    let present = shard.promotion.as_ref().map(|it| it.id.as_str());
    if present != Some(promotion) {
        return Err(Rejection::NotPromoting { id: id.clone() });
    }
    let mut shard = Shard {
        promotion: None,
        ..shard.clone()
    };
    match ending {
        Ending::GivenUp { reason } => {
            let detail = json!({ "promotion": promotion, "reason": reason });
            Ok(changed(shard, now, ("give_up_promotion", detail)))
        }
        Ending::Promoted {
            to,
            lineage,
            detail,
        } => {
            // What was the primary is listed as a replica: once it is rebuilt as one, it is one.
            let before = std::mem::replace(&mut shard.primary_endpoint, to.clone());
            shard.replicas.retain(|replica| replica != to);
            shard.replicas.insert(0, before);
            shard.lineage = Some(lineage.clone());
            Ok(changed(shard, now, ("promote_shard", detail.clone())))
        }
    }
}

/// Notes that another one of an address's servers has become the primary by itself.
pub(super) fn follow(
    snapshot: &Snapshot,
    id: &ShardId,
    lineage: &Lineage,
    now: SystemTime,
) -> Result<Change, Rejection> {
    let shard = found(snapshot, id)?;
    let known = shard.lineage.as_ref();
    if known.is_some_and(|known| known == lineage || !known.is_succeeded_by(lineage)) {
        return Err(Rejection::NotPromoting { id: id.clone() });
    }
    let detail = json!({ "before": known, "after": lineage });
    let shard = Shard {
        lineage: Some(lineage.clone()),
        ..shard.clone()
    };
    Ok(changed(shard, now, ("follow_primary", detail)))
}
