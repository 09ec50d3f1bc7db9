//! A connected client, as the console shows it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::pool::CancelTarget;

/// A client at one moment.
#[derive(Debug, Clone)]
pub struct Client {
    /// Its number, which no other client of this router has.
    pub id: u64,
    /// Who it says it is.
    pub user: String,
    /// The database that it connected to.
    pub database: String,
    /// What it calls itself.
    pub application: String,
    /// Where it comes from.
    pub peer: Option<SocketAddr>,
    /// Whether its connection is encrypted.
    pub encrypted: bool,
    /// When it connected.
    pub connected: SystemTime,
    /// When a request of it was last sent to a shard.
    pub requested: Option<SystemTime>,
    /// How long it has waited for a backend, if it waits.
    pub waiting: Option<Duration>,
    /// The backend that it holds.
    pub held: Option<Arc<CancelTarget>>,
}

impl Client {
    /// As PgBouncer calls it.
    #[must_use]
    pub(super) fn state(&self) -> &'static str {
        match (&self.held, self.waiting) {
            (Some(_), _) => "active",
            (None, Some(_)) => "waiting",
            (None, None) => "idle",
        }
    }
}
