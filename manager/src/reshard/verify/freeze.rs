//! Snapshots of shards that are taken at a moment of somebody's choosing. The session is opened
//! before, so that the moment itself takes one round trip.

use std::time::Duration;

use tokio::time::timeout;
use topology::Shard;

use super::{Error, Side};
use crate::reshard::copy::view;
use crate::reshard::flow::Bounds;
use crate::reshard::follow::{Follow, PauseError};
use crate::reshard::ids::LegId;
use crate::reshard::link::{Fault, Link};
use crate::reshard::snapshot::SnapshotHolder;
use crate::shards::Config;

/// How long transactions that write on an owner may keep a slot, and with it the lanes, waiting.
const MAX_WAIT: Duration = Duration::from_secs(20);

/// Takes a snapshot and tells its name.
const FREEZE: &str =
    "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; SELECT pg_export_snapshot()";

/// A session that can take a snapshot of its shard.
#[derive(Debug)]
pub struct Freezer {
    link: Link,
    shard: Shard,
}

impl Freezer {
    /// Logs in.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn connect(config: &Config, shard: &Shard, leg: &LegId) -> Result<Self, Error> {
        let mut link = view::connect(config, shard, leg, "freeze").await?;
        // The first time in a session takes longest.
        for sql in [FREEZE, "ROLLBACK"] {
            link.query("rehearse a snapshot", sql).await?;
        }
        let shard = shard.clone();
        Ok(Self { link, shard })
    }

    /// Takes a snapshot: what has committed by now is in it.
    ///
    /// # Errors
    /// [`Error`] names the shard.
    pub async fn freeze(mut self) -> Result<Frozen, Error> {
        let what = "take a snapshot";
        let rows = self.link.query(what, FREEZE).await?;
        let snapshot = rows.into_iter().flatten().flatten().next();
        let Some(snapshot) = snapshot else {
            let fault = Fault::Protocol("a snapshot without a name".to_owned());
            return Err(self.link.error(what, fault).into());
        };
        Ok(Frozen {
            snapshot,
            shard: self.shard,
            _link: self.link,
        })
    }
}

/// A snapshot of a shard, importable as long as this value is there.
#[derive(Debug)]
pub struct Frozen {
    snapshot: String,
    shard: Shard,
    _link: Link,
}

impl Frozen {
    /// Some of its rows, as a side of a comparison.
    #[must_use]
    pub fn side(&self, bounds: Bounds) -> Side {
        Side {
            shard: self.shard.clone(),
            snapshot: self.snapshot.clone(),
            bounds,
        }
    }
}

/// An owner and what follows it.
#[derive(Debug, Clone, Copy)]
pub struct Followed<'a> {
    /// The owner.
    pub shard: &'a Shard,
    /// Its rows.
    pub bounds: &'a Bounds,
    /// What applies its changes to the mirrors.
    pub follow: &'a Follow,
}

/// Why no common moment of both sides was found.
#[derive(Debug, thiserror::Error)]
pub enum FreezeError {
    /// A shard could not be asked.
    #[error(transparent)]
    Shard(#[from] Error),
    /// The mirrors could not be brought to the moment.
    #[error(transparent)]
    Follow(#[from] PauseError),
    /// Transactions on an owner did not end.
    #[error("transactions on shard {shard} kept a snapshot waiting for {limit:?}")]
    Busy {
        /// The owner.
        shard: topology::ShardId,
        /// The limit.
        limit: Duration,
    },
}

/// Both sides at one moment, while clients write. Holds the snapshots.
#[derive(Debug)]
pub struct Moment {
    /// The owners.
    pub owners: Vec<Side>,
    /// The mirrors.
    pub mirrors: Vec<Side>,
    _holders: Vec<SnapshotHolder>,
    _frozen: Vec<Frozen>,
}

/// Finds such a moment: a slot on each owner gives a snapshot and its place in the log, the
/// mirrors are brought to exactly this place, and their snapshots are taken. Applying rests
/// meanwhile, and goes on when this returns or is dropped.
///
/// # Errors
/// [`FreezeError`] says what did not work; nothing stays behind.
pub async fn at_one_moment(
    config: &Config,
    leg: &LegId,
    owners: &[Followed<'_>],
    mirrors: &[(&Shard, &Bounds)],
) -> Result<Moment, FreezeError> {
    let mut freezers = Vec::with_capacity(mirrors.len());
    for (shard, bounds) in mirrors {
        let freezer = Freezer::connect(config, shard, leg).await?;
        freezers.push((freezer, (*bounds).clone()));
    }
    let _resting: Vec<Resting<'_>> = owners.iter().map(|owner| Resting(owner.follow)).collect();
    let (mut holders, mut sides) = (Vec::new(), Vec::new());
    for owner in owners {
        owner.follow.hold().await.map_err(PauseError::from)?;
        let holder = hold(config, leg, owner.shard).await?;
        owner.follow.pause_at(holder.consistent_point()).await?;
        sides.push(Side {
            shard: owner.shard.clone(),
            snapshot: holder.snapshot().to_owned(),
            bounds: owner.bounds.clone(),
        });
        holders.push(holder);
    }
    let (mut frozen, mut mirrored) = (Vec::new(), Vec::new());
    for (freezer, bounds) in freezers {
        let one = freezer.freeze().await?;
        mirrored.push(one.side(bounds));
        frozen.push(one);
    }
    Ok(Moment {
        owners: sides,
        mirrors: mirrored,
        _holders: holders,
        _frozen: frozen,
    })
}

async fn hold(config: &Config, leg: &LegId, shard: &Shard) -> Result<SnapshotHolder, FreezeError> {
    // The slot of an attempt that was given up may be there for a while.
    let number = uuid::Uuid::new_v4().simple().to_string();
    let number = number.get(..8).unwrap_or_default();
    let slot = format!("{}_check_{number}", leg.slot());
    let name = crate::reshard::session::application_name(leg, "check");
    let holder = SnapshotHolder::temporary(config, shard, &name, &slot);
    let holder = timeout(MAX_WAIT, holder).await;
    let holder = holder.map_err(|_| FreezeError::Busy {
        shard: shard.id.clone(),
        limit: MAX_WAIT,
    })?;
    Ok(holder.map_err(Error::from)?)
}

/// Lets a follower go on, whatever happens.
struct Resting<'a>(&'a Follow);

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.resume();
    }
}
