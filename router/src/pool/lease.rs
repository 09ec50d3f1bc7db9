//! A borrowed backend.

use std::ops::{Deref, DerefMut};

use bb8::PooledConnection;
use prometheus::IntGauge;

use super::backend::Backend;
use super::manager::Connector;
use super::metrics::InUse;

/// A backend on loan. Dropping it closes the connection; [`Lease::give_back`] returns it.
#[derive(Debug)]
pub struct Lease {
    backend: PooledConnection<'static, Connector>,
    _in_use: InUse,
}

impl Lease {
    pub(super) fn new(mut backend: PooledConnection<'static, Connector>, active: IntGauge) -> Self {
        backend.reusable = false;
        Self { backend, _in_use: InUse::enter(active) }
    }

    /// Returns the backend to its pool. The caller vouches that it is outside a transaction, that
    /// every answer was read, and that `settings` names the settings in force (I6).
    pub fn give_back(mut self) {
        self.backend.reusable = self.backend.inbound.is_empty();
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
