//! Asks a shard to stop what one of its backends is running.

use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::pool::{CancelTarget, ConnectError, Dialer};

/// Sends a cancel request and waits until the shard has taken it. Whether anything was running is
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
