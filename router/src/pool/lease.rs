//! A borrowed backend.

use std::ops::{Deref, DerefMut};

use super::Pool;
use super::backend::Backend;
use super::gate::Pass;
use super::metrics::OfShard;
use super::shelf::Kept;

/// A backend on loan. Dropping it closes the connection; [`Lease::give_back`] returns it.
#[derive(Debug)]
pub struct Lease {
    // First, so that it is back in its pool when the pass is given to the next in line.
    backend: Kept,
    loan: Loan,
    pass: Pass,
}

/// Where the backend belongs; counts it as in use.
#[derive(Debug)]
struct Loan(Pool);

impl Drop for Loan {
    fn drop(&mut self) {
        self.0.metrics().loan_ended();
    }
}

impl Lease {
    pub(super) fn new(mut backend: Kept, pool: Pool, pass: Pass) -> Self {
        backend.begin_loan();
        pool.metrics().loan_began();
        Self {
            backend,
            loan: Loan(pool),
            pass,
        }
    }

    /// Where it goes back to.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.loan.0
    }

    /// The shard's counters.
    #[must_use]
    pub fn metrics(&self) -> &OfShard {
        self.loan.0.metrics()
    }

    /// Returns the backend to its pool. The caller vouches that it is outside a transaction, that
    /// every answer was read, and that `settings` names the settings in force (I6).
    pub fn give_back(self) {
        let Self {
            mut backend,
            loan,
            pass,
        } = self;
        // The next simple query on it drops its unnamed statement, whoever sends it.
        backend.unnamed = None;
        backend.reusable = backend.inbound.is_empty() && !backend.spoiled;
        // That of a connection that is closed instead is not counted.
        loan.0.metrics().moved(std::mem::take(&mut backend.traffic));
        loan.0.take_back(backend);
        drop(loan);
        drop(pass);
    }

    /// Whether the backend may go on to somebody else.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.backend.spoiled
    }

    /// Has the backend closed after this loan, whoever gives it back.
    pub fn forbid_reuse(&mut self) {
        self.backend.spoiled = true;
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
