//! Changes of the schema within a transaction block: on all shards in the client's own transaction,
//! which commits or rolls back on all of them together.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use topology::ShardId;

use crate::error::Error;
use crate::exec::{cancel, everywhere};
use crate::pool::Lease;
use crate::route::Refusal;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::client::ClientError;
use crate::view::Serving;

impl Session {
    /// Makes a change within the open transaction; gives the answer without its ReadyForQuery.
    pub(in crate::session) async fn change_within(
        &mut self,
        serving: &Serving,
        change: &everywhere::Change,
    ) -> Result<Bytes, Stopped> {
        let (change, shards) = everywhere::within(serving, change)?;
        self.gather(serving, &shards, true).await?;
        let lent = self.lend(serving, &shards).await?;
        let victims: Vec<_> = lent.iter().map(|it| Arc::clone(&it.lease.cancel)).collect();
        let lent: Vec<(ShardId, Lease)> = lent.into_iter().map(|it| (it.shard, it.lease)).collect();
        let front = Arc::clone(&self.front);
        let core = &front.core;
        let mut wait = self.cancel.waits();
        let stopped = tokio::select! {
            biased;
            gone = self.client.gone() => Err(Stopped::Ended(ClientError::Io(gone).into())),
            () = wait.cancelled() => Err(Error::Cancelled.into()),
            ran = everywhere::run_on(core, serving, lent, &change) => Ok(ran),
        };
        drop(wait);
        let (back, ran) = match stopped {
            Ok(ran) => ran,
            Err(stopped) => {
                // The backends are closed; what they wait for is called off as well.
                let grace = core.config.sharding.connect_timeout;
                join_all(victims.iter().map(|it| cancel::send(it, grace))).await;
                self.reclaim(Vec::new(), true).await?;
                return Err(stopped);
            }
        };
        self.reclaim(back, ran.is_err()).await?;
        match ran {
            Ok(frames) => {
                if let Some(company) = &mut self.company {
                    company.changed = true;
                    if let Some(views) = change.views() {
                        let before = company.views.take().unwrap_or_default();
                        company.views = Some(before.and(views));
                    }
                }
                Ok(frames)
            }
            Err(everywhere::Failure::Own(error)) => Err(error.into()),
            Err(everywhere::Failure::Shard(frames)) => {
                self.client.outbound.extend_from_slice(&frames);
                Err(Stopped::Answered)
            }
        }
    }

    /// What a transaction has made of views is not registered before it is committed.
    pub(in crate::session) fn must_know_views(&self) -> Result<(), Refusal> {
        let company = self.company.as_ref();
        if company.is_none_or(|company| company.views.is_none()) {
            return Ok(());
        }
        Err(changes_views())
    }

    /// Columns that other transactions do not see can't be written into a statement.
    pub(in crate::session) fn must_know_columns(&self) -> Result<(), Refusal> {
        let company = self.company.as_ref();
        if !company.is_some_and(|company| company.changed) {
            return Ok(());
        }
        Err(Refusal::unsupported(
            "INSERT does not name its columns, in a transaction that has changed the schema",
        )
        .hint("name the columns: INSERT INTO table (column, ...)"))
    }
}

/// A view is read where what it is may be something else by then.
pub(in crate::session) fn changes_views() -> Refusal {
    Refusal::unsupported(
        "a view can't be read in a transaction, or in a query string, that may have changed it",
    )
    .hint("commit the change of the schema first")
}
