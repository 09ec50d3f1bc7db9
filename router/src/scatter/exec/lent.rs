//! Backends within a session's transaction, lent for one query.
//!
//! The query must not end the transaction by what it tries: a savepoint is what it goes back to.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures_util::future::join_all;
use tokio::time::Instant;
use topology::{ShardId, ShardIndex};

use super::Failure;
use super::leases::{Leases, Member};
use crate::error::Error;
use crate::pool::Lease;

/// The name of the savepoint; one of a client may have it too.
const SAVEPOINT: &str = "\"router: query over several shards\"";

/// Where backends come back to.
#[derive(Debug, Clone, Default)]
pub struct Returns(Arc<Mutex<Vec<(ShardId, Lease)>>>);

impl Returns {
    /// Those that have come back.
    #[must_use]
    pub fn take(&self) -> Vec<(ShardId, Lease)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn put(&self, shard: ShardId, lease: Lease) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.push((shard, lease));
    }
}

impl Leases {
    /// Backends that are within a transaction and owe nothing; they come back when the query ends.
    #[must_use]
    pub fn lent(
        backends: impl IntoIterator<Item = (ShardId, ShardIndex, Lease)>,
        grace: Duration,
    ) -> (Self, Returns) {
        let returns = Returns::default();
        let member = |(shard, index, lease)| Member {
            shard,
            index,
            lease: Some(lease),
            busy: false,
            started: Instant::now(),
            span: None,
            failed: false,
            peeked: None,
            returns: Some(returns.clone()),
            guarded: false,
        };
        let leases = Self {
            members: backends.into_iter().map(member).collect(),
            grace,
            until: None,
            patient: false,
            returns: Some(returns.clone()),
        };
        (leases, returns)
    }

    /// Sees to it that what is tried can be tried in another way.
    pub(super) async fn guard(&mut self) -> Result<(), Failure> {
        if self.returns.is_none() {
            return Ok(());
        }
        let guarded = self.members.iter_mut().map(async |member| {
            member.run(&format!("SAVEPOINT {SAVEPOINT}")).await?;
            member.guarded = true;
            Ok::<_, Failure>(())
        });
        for outcome in join_all(guarded).await {
            outcome?;
        }
        Ok(())
    }

    /// Reads what one still says and goes back to before it.
    pub(super) async fn recover_one(&mut self, at: usize) -> Result<(), Failure> {
        self.settle_one(at).await?;
        let member = self.members.get_mut(at).ok_or(Error::NoShard)?;
        member.recover().await
    }

    /// Reads what all still say and goes back to before it.
    pub(super) async fn recover(&mut self) -> Result<(), Failure> {
        self.settle().await?;
        for outcome in join_all(self.members.iter_mut().map(Member::recover)).await {
            outcome?;
        }
        Ok(())
    }

    /// Lets the savepoints go of those that have not failed.
    pub(super) async fn release(&mut self) {
        let released = self.members.iter_mut().map(async |member| {
            if !member.busy && std::mem::take(&mut member.guarded) {
                // Where the transaction has failed it says so, and nothing changes.
                let _said = member.run(&format!("RELEASE SAVEPOINT {SAVEPOINT}")).await;
            }
        });
        join_all(released).await;
    }
}

impl Member {
    async fn recover(&mut self) -> Result<(), Failure> {
        if !self.guarded {
            return Ok(());
        }
        self.run(&format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}"))
            .await
    }

    /// Runs a statement of the router's own.
    async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        wire::frontend::encode::query(&mut out, sql.as_bytes())?;
        self.send(out.freeze()).await?;
        self.settle().await
    }
}
