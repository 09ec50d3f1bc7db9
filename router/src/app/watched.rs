//! What SIGHUP does to the process.

use std::sync::Arc;

use platform::{Shutdown, lifecycle, telemetry};
use tokio::signal::unix::Signal;

use crate::session::Front;

/// On SIGHUP, opens the log anew and reads the configuration as RELOAD does, until shutdown.
pub(super) async fn follow(
    mut hangup: Signal,
    front: Arc<Front>,
    logging: telemetry::Handle,
    shutdown: Shutdown,
) {
    while lifecycle::hung_up(&mut hangup, &shutdown).await {
        logging.reopen();
        let running = &front.core.config;
        if let Err(refusal) = front.reload.run(running, &front.users).await {
            tracing::error!(error = %refusal, "configuration not reloaded");
        }
    }
}
