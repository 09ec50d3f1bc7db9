//! A borrowed backend.

use std::ops::{Deref, DerefMut};

use super::backend::Backend;
use super::gate::Pass;
use super::manager::Connector;
use super::metrics::{InUse, OfShard};
use bb8::PooledConnection;

/// A backend on loan. Dropping it closes the connection; [`Lease::give_back`] returns it.
#[derive(Debug)]
pub struct Lease {
    // First, so that it is back in its pool when the pass is given to the next in line.
    backend: PooledConnection<'static, Connector>,
    /// The shard's counters.
    pub metrics: OfShard,
    _in_use: InUse,
    _pass: Pass,
}

impl Lease {
    pub(super) fn new(
        mut backend: PooledConnection<'static, Connector>,
        metrics: OfShard,
        pass: Pass,
    ) -> Self {
        backend.begin_loan();
        Self {
            backend,
            _in_use: metrics.enter(),
            metrics,
            _pass: pass,
        }
    }

    /// Returns the backend to its pool. The caller vouches that it is outside a transaction, that
    /// every answer was read, and that `settings` names the settings in force (I6).
    pub fn give_back(mut self) {
        // The next simple query on it drops its unnamed statement, whoever sends it.
        self.backend.unnamed = None;
        self.backend.reusable = self.backend.inbound.is_empty() && !self.backend.spoiled;
    }

    /// Has the backend closed after this loan, whoever gives it back.
    pub fn forbid_reuse(&mut self) {
        self.backend.spoiled = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let traffic = std::mem::take(&mut self.backend.traffic);
        self.metrics.moved(traffic);
    }
}

impl Deref for Lease {
    type Target = Backend;
    fn deref(&self) -> &Backend {
        &self.backend
    }
}

impl DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Backend {
        &mut self.backend
    }
}
