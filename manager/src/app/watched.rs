//! Logs and traces of the process: how they begin, and what SIGHUP does to them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use platform::trace::Unsent;
use platform::{Shutdown, telemetry, trace};
use tokio::signal::unix::Signal;

use crate::config::{Config, Observability};

/// Begins to log.
pub(super) fn log(config: &Observability) -> Result<telemetry::Handle, telemetry::Error> {
    telemetry::init(&telemetry::Config {
        level: config.log_level.clone(),
        file: config.log_file.clone().map(PathBuf::from),
        ..telemetry::Config::default()
    })
}

/// Begins to trace, where that is wanted. Spans that wait are sent when the value is dropped.
pub(super) fn trace(config: &Observability) -> Result<Option<Unsent>, trace::Error> {
    if !config.enable_tracing {
        return Ok(None);
    }
    let variable = |name: &str| std::env::var(name).ok();
    let version = env!("CARGO_PKG_VERSION");
    trace::start("sharding-manager", version, variable).map(Some)
}

/// On SIGHUP, opens the log anew and takes the level that the configuration has now, until
/// shutdown. The audit file needs nothing: it is opened for each line.
pub(super) async fn follow(
    mut hangup: Signal,
    path: PathBuf,
    logging: telemetry::Handle,
    shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            biased; // A process that ends reads nothing more.
            () = shutdown.requested() => return,
            received = hangup.recv() => if received.is_none() {
                return;
            },
        }
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
