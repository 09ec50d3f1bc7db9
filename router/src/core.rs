//! What every session and request of this router shares.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::auth::Users;
use crate::cache::Cache;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::session::cancel::Registry;
use crate::session::prepared::Statements;
use crate::view::View;

/// The shared parts.
#[derive(Debug)]
pub struct Core {
    pub config: Config,
    pub view: View,
    pub cache: Cache,
    pub users: Users,
    pub statements: Statements,
    pub sessions: Registry,
    pub metrics: Metrics,
    /// What the shards report of themselves at login, for the clients' own login.
    pub statuses: ArcSwapOption<Vec<(Box<str>, Box<str>)>>,
}

/// How it is handed around.
pub type Shared = Arc<Core>;
