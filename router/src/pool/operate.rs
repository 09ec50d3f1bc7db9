//! What an operator sees of a pool and does to it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::metrics::Totals;
use super::{Listed, NotPaused, Pool};

/// A pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Backends that are connected.
    pub backends: u32,
    /// Those that nobody uses.
    pub idle: u32,
    /// Backends that are logging in.
    pub logins: u64,
    /// Clients in the line.
    pub waiting: usize,
    /// How long the first of them has been in it.
    pub longest_wait: Duration,
    /// Backends that were connected and are closed.
    pub closed: u64,
    /// Loans so far.
    pub loans: u64,
}

impl Pool {
    /// How the pool stands.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let shared = &self.shared;
        let state = shared.backends.state();
        let (waiting, longest_wait) = shared.gate.waiting();
        let seen = &state.statistics;
        Standing {
            backends: state.connections,
            idle: state.idle_connections + shared.shelf.len(),
            logins: shared.connector.roster().logins(),
            waiting,
            longest_wait,
            closed: seen
                .connections_created
                .saturating_sub(u64::from(state.connections)),
            loans: seen.get_direct + seen.get_waited + shared.shelf.loans(),
        }
    }

    /// What was counted of the pool's shard.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.shared.metrics.totals()
    }

    /// The backends, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Listed>> {
        self.shared.connector.roster().list()
    }

    /// Whether a backend is closed as soon as nobody uses it.
    #[must_use]
    pub fn is_outdated(&self, backend: &Listed) -> bool {
        self.shared.connector.roster().is_outdated(backend)
    }

    /// Whether somebody who asks for a backend now has to wait.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.shared.gate.is_busy()
    }

    /// Whether an operator has paused the pool, or is about to.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.shared.gate.is_closed()
    }

    /// Waits until no backend is in use, closes all, and lends none until [`Self::resume`]. Who
    /// asks meanwhile waits for its usual time. Dropped before it is through, nothing is paused.
    ///
    /// # Errors
    /// [`NotPaused`].
    pub async fn pause(&self) -> Result<(), NotPaused> {
        self.shared.gate.close().await?;
        self.reconnect();
        Ok(())
    }

    /// Ends a pause, or the wait for one. False when there was none.
    pub fn resume(&self) -> bool {
        self.shared.gate.open()
    }

    /// Closes the idle backends now and those in use when they are given back.
    pub fn reconnect(&self) {
        let shared = &self.shared;
        shared.connector.roster().outdate();
        self.tidy();
        // bb8 does not close an idle backend by request: what it lends at once is looked at, and
        // what is outdated is closed when it goes back. No wait lies between.
        let mut fresh = Vec::new();
        for _ in 0..shared.config.max_connections {
            if shared.backends.state().idle_connections == 0 {
                break;
            }
            match shared.backends.get_owned().now_or_never() {
                Some(Ok(backend)) if !backend.is_outdated() => fresh.push(backend),
                Some(Ok(_) | Err(_)) => {}
                None => break,
            }
        }
        for mut backend in fresh {
            backend.reusable = true;
        }
    }
}
