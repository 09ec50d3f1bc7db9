//! PAUSE, RESUME and RECONNECT.

use futures_util::future::try_join_all;
use topology::ShardId;

use crate::core::Core;
use crate::pool::{NotPaused, Pool};
use crate::route::Refusal;

/// Waits until the backends of a shard, or of all, are idle; closes them, and lends none from then
/// on. Dropped before it is through, it pauses nothing.
///
/// # Errors
/// When there is no such shard, or another operator is at it.
pub async fn pause(core: &Core, shard: Option<&ShardId>) -> Result<(), Refusal> {
    let pools = pools_of(core, shard)?;
    let before: Vec<bool> = pools.iter().map(Pool::is_paused).collect();
    let mut attempt = Attempt {
        paused: Vec::new(),
        kept: false,
    };
    attempt.paused = pools
        .iter()
        .zip(&before)
        .filter(|(_, was)| !**was)
        .map(|(pool, _)| pool.clone())
        .collect();
    let pauses = pools.iter().map(|pool| async move {
        let paused = pool.pause().await;
        paused.map_err(|reason| refusal(pool, reason))
    });
    try_join_all(pauses).await?;
    attempt.kept = true;
    Ok(())
}

/// Pools that a PAUSE that does not come through must leave as they were.
struct Attempt {
    paused: Vec<Pool>,
    kept: bool,
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !self.kept {
            for pool in &self.paused {
                pool.resume();
            }
        }
    }
}

/// Ends the pause of a shard, or all pauses. Where there is none, nothing happens.
///
/// # Errors
/// When there is no such shard.
pub fn resume(core: &Core, shard: Option<&ShardId>) -> Result<(), Refusal> {
    for pool in pools_of(core, shard)? {
        pool.resume();
    }
    Ok(())
}

/// Closes the idle backends of a shard, or of all, now, and the others when they are given back.
///
/// # Errors
/// When there is no such shard.
pub fn reconnect(core: &Core, shard: Option<&ShardId>) -> Result<(), Refusal> {
    for pool in pools_of(core, shard)? {
        pool.reconnect();
    }
    Ok(())
}

fn pools_of(core: &Core, shard: Option<&ShardId>) -> Result<Vec<Pool>, Refusal> {
    let serving = core.view.load();
    let wanted = |pool: &&Pool| shard.is_none_or(|shard| pool.shard() == shard);
    let pools: Vec<Pool> = serving.pools().filter(wanted).cloned().collect();
    match shard {
        Some(shard) if pools.is_empty() => Err(Refusal {
            sqlstate: "42704",
            message: format!("shard {shard} does not exist"),
            hint: Some("SHOW SHARDS lists the shards".to_owned()),
        }),
        Some(_) | None => Ok(pools),
    }
}

fn refusal(pool: &Pool, reason: NotPaused) -> Refusal {
    Refusal {
        sqlstate: match reason {
            NotPaused::Underway => "55006",
            NotPaused::Resumed => "57014",
        },
        message: format!("shard {} {reason}", pool.shard()),
        hint: None,
    }
}
