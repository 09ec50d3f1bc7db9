//! Logs and traces of the process: how they begin, and what SIGHUP does to them.

use std::path::PathBuf;
use std::sync::Arc;

use platform::trace::Unsent;
use platform::{Shutdown, telemetry, trace};
use tokio::signal::unix::Signal;

use super::VERSION;
use crate::config::Observability;
use crate::session::Front;

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
    trace::start("sharding-router", VERSION, variable).map(Some)
}

/// On SIGHUP, opens the log anew and reads the configuration as RELOAD does, until shutdown.
pub(super) async fn follow(
    mut hangup: Signal,
    front: Arc<Front>,
    logging: telemetry::Handle,
    shutdown: Shutdown,
) {
    loop {
        tokio::select! {
            // A process that ends reads nothing more.
            biased;
            () = shutdown.requested() => return,
            received = hangup.recv() => if received.is_none() {
                return;
            },
        }
        logging.reopen();
        let running = &front.core.config;
        if let Err(refusal) = front.reload.run(running, &front.users).await {
            tracing::error!(error = %refusal, "configuration not reloaded");
        }
    }
}
