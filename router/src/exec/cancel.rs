//! Asks a shard to stop what one of its backends is running.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::conversation;
use crate::pool::{CancelTarget, ConnectError, Dialer, Lease};

/// How long a shard may take to end what it was asked to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time between the first two requests, and the longest between any two.
const PAUSES: [Duration; 2] = [Duration::from_millis(50), Duration::from_secs(1)];

/// Sends one cancel request and waits until the shard has taken it. Whether anything was running is
/// not said; a shard that is gone needs no cancel, so that an error is only logged.
///
/// The backend must not be lent on afterwards: the request may still be on its way to it.
pub async fn send(target: &CancelTarget, timeout: Duration) {
    let address = (target.endpoint.host(), target.endpoint.port());
    let delivery = deliver(&target.dialer, address, target.process_id, &target.secret);
    match tokio::time::timeout(timeout, delivery).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(endpoint = %target.endpoint, %error, "cancel request not delivered");
        }
        Err(_) => {
            tracing::debug!(endpoint = %target.endpoint, "cancel request not taken in time");
        }
    }
}

/// Sends cancel requests, further and further apart, until `ended`; gives what that gives. Not
/// cancel-safe unless `ended` is.
///
/// One may not be enough: PostgreSQL passes over a request that reaches a backend before the
/// statement does (postgres.c, `ProcessInterrupts` while a command is read).
pub async fn until<T>(
    ended: impl Future<Output = T>,
    target: &CancelTarget,
    timeout: Duration,
) -> T {
    tokio::pin!(ended);
    let [mut pause, longest] = PAUSES;
    loop {
        // One that is on its way is waited for: it is not to meet what is asked next.
        let asked = send(target, timeout);
        tokio::pin!(asked);
        tokio::select! {
            biased;
            given = &mut ended => {
                asked.await;
                return given;
            }
            () = &mut asked => {}
        }
        if let Ok(given) = tokio::time::timeout(pause, &mut ended).await {
            return given;
        }
        pause = (pause * 2).min(longest);
    }
}

/// Ends what a backend runs, and closes it. It is closed after 10 seconds in any case.
pub async fn stop(mut lease: Lease, timeout: Duration) {
    let target = Arc::clone(&lease.cancel);
    let ended = async {
        // Once idle, the backend reads the end of its connection and leaves.
        let _gone = lease.stream.shutdown().await;
        conversation::drain(&mut lease).await;
    };
    let stopped = tokio::time::timeout(PATIENCE, until(ended, &target, timeout)).await;
    if stopped.is_err() {
        tracing::warn!(endpoint = %target.endpoint, "gave a backend up: it answers no cancel");
    }
}

/// Sends a cancel request to a shard or to another router. It has no time-out of its own.
///
/// # Errors
/// When it could not be sent.
pub async fn deliver(
    dialer: &Dialer,
    (host, port): (&str, u16),
    process_id: i32,
    secret: &[u8],
) -> Result<(), ConnectError> {
    let mut request = BytesMut::new();
    wire::frontend::encode::cancel_request(&mut request, process_id, secret)?;
    let mut stream = dialer.dial(host, port).await?;
    stream.write_all_buf(&mut request).await?;
    stream.flush().await?;
    // The server answers nothing; it closes the connection once it has sent the signal. Under TLS
    // that may count as an error.
    let mut byte = [0_u8; 1];
    let _read = stream.read(&mut byte).await;
    Ok(())
}
