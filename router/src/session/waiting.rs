//! Waiting in the line for a backend, which the client may call off with a cancel request, or by
//! leaving.

use super::Session;
use super::attach::Stopped;
use super::client::ClientError;
use crate::error::Error;
use crate::pool::{Lease, Pool};

impl Session {
    /// Borrows a backend of a shard's primary: the one that the session keeps, or one of the pool.
    /// Who need not wait pays nothing for being able to.
    pub(super) async fn checkout(&mut self, pool: &Pool) -> Result<Lease, Stopped> {
        if let Some(kept) = self.kept_lease(pool.shard()) {
            return Ok(kept);
        }
        if !pool.is_busy() {
            return Ok(pool.checkout().await.map_err(Error::Pool)?);
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
