//! Waiting in the line for a backend, which the client may call off with a cancel request.

use super::Session;
use crate::error::Error;
use crate::pool::{Lease, Pool};

impl Session {
    /// Borrows a backend of a pool. Who need not wait pays nothing for being able to.
    pub(super) async fn checkout(&self, pool: &Pool) -> Result<Lease, Error> {
        if !pool.is_busy() {
            return pool.checkout().await.map_err(Error::Pool);
        }
        let _listed = self.listed.waits();
        let mut wait = self.cancel.waits();
        tokio::select! {
            biased;
            lease = pool.checkout() => lease.map_err(Error::Pool),
            () = wait.cancelled() => Err(Error::Cancelled),
        }
    }
}
