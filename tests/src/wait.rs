//! Waiting for a state, with a deadline.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::{Instant, sleep};

/// How long a server may take to come up on a busy machine.
pub const START: Duration = Duration::from_secs(60);
/// How long a change may take to be seen by every program.
pub const SETTLE: Duration = Duration::from_secs(20);
/// Pause between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Asks `probe` until it succeeds.
///
/// # Errors
/// The last answer of `probe`, when `deadline` passes first.
pub async fn until<T, F, Probe>(what: &str, deadline: Duration, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Probe,
    Probe: Future<Output = anyhow::Result<T>>,
{
    let end = Instant::now() + deadline;
    loop {
        match probe().await {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= end => {
                return Err(error).with_context(|| format!("{what} not within {deadline:?}"));
            }
            Err(_) => sleep(INTERVAL).await,
        }
    }
}
