//! Waiting in the line for a backend, which the client may call off with a cancel request, or by
//! leaving.

use super::Session;
use super::attach::Stopped;
use super::client::ClientError;
use crate::error::Error;
use crate::pool::{Lease, Pool};

impl Session {
    /// As [`Self::checkout`], for who has other shards to ask: waits in the line, and for no other
    /// primary.
    pub(super) async fn checkout_there(&mut self, pool: &Pool) -> Result<Lease, Stopped> {
        if pool.is_busy() {
            return self.checkout(pool).await;
        }
        Ok(pool.checkout_once().await.map_err(Error::Pool)?)
    }

    /// Borrows a backend of a shard's primary: the one that the session keeps, or one of the pool.
    /// Who need not wait pays nothing for being able to.
    pub(super) async fn checkout(&mut self, pool: &Pool) -> Result<Lease, Stopped> {
        if let Some(kept) = self.kept_lease(pool.shard()) {
            return Ok(kept);
        }
        if !pool.is_busy() {
            match pool.checkout_once().await {
                // Another server may take its place in a while.
                Err(error) if pool.outlasts(&error) => {}
                done => return Ok(done.map_err(Error::Pool)?),
            }
        }
        let _listed = self.listed.waits();
        let mut wait = self.cancel.waits();
        tokio::select! {
            biased;
            lease = pool.checkout() => Ok(lease.map_err(Error::Pool)?),
            () = wait.cancelled() => Err(Error::Cancelled.into()),
            gone = self.client.gone() => Err(Stopped::Ended(ClientError::Io(gone).into())),
        }
    }
}
