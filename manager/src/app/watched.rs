//! What SIGHUP does to the process.

use std::collections::BTreeMap;
use std::path::PathBuf;

use platform::{Shutdown, lifecycle, telemetry};
use tokio::signal::unix::Signal;

use crate::config::Config;

/// On SIGHUP, opens the log anew and takes the level that the configuration has now, until
/// shutdown. The audit file needs nothing: it is opened for each line.
pub(super) async fn follow(
    mut hangup: Signal,
    path: PathBuf,
    logging: telemetry::Handle,
    shutdown: Shutdown,
) {
    while lifecycle::hung_up(&mut hangup, &shutdown).await {
        logging.reopen();
        let variables = std::env::vars_os();
        let variables: BTreeMap<String, String> = variables
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect();
        let level = match Config::load(&path, &variables) {
            Ok(config) => config.observability.log_level,
            Err(violations) => {
                tracing::error!(error = %violations, "configuration not usable");
                continue;
            }
        };
        match logging.set_level(&level) {
            Ok(()) => tracing::info!(level, "configuration read again"),
            Err(error) => tracing::error!(%error, "log level not changed"),
        }
    }
}
