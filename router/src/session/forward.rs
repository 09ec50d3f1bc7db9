//! A cancel request on its way: to the backend of one of our sessions, or to the router whose
//! session it means.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::Front;
use super::cancel::{Aim, CancelKey};
use crate::exec::cancel;
use crate::peers::{Peers, RouterId};
use crate::pool::Dialer;

/// What follows the secret in a request that a router has passed on. It is not passed on again,
/// so that two routers that take each other for a third one do not send it back and forth.
const PASSED_ON: &[u8; 4] = b"hop1";

/// Most requests that are being passed on at once. Anybody may send them without a login, and each
/// costs a read of the store and a connection.
const MAX_FORWARDS: usize = 16;

/// What it takes to pass cancel requests on.
#[derive(Debug)]
pub struct Forwarder {
    peers: Peers,
    dialer: Dialer,
    slots: Semaphore,
}

impl Forwarder {
    /// A forwarder that connects to other routers by `dialer`.
    #[must_use]
    pub fn new(peers: Peers, dialer: Dialer) -> Self {
        Self {
            peers,
            dialer,
            slots: Semaphore::new(MAX_FORWARDS),
        }
    }

    /// This router's number.
    #[must_use]
    pub fn id(&self) -> RouterId {
        self.peers.id()
    }

    /// Sends the request to the router that gave the key.
    async fn forward(&self, key: CancelKey, router: RouterId) -> Result<(), String> {
        let Ok(_slot) = self.slots.try_acquire() else {
            return Err("too many are being passed on".to_owned());
        };
        let address = self.peers.address_of(router).await;
        let address = address.map_err(|error| platform::telemetry::error_chain(&error))?;
        let address = address.ok_or_else(|| "no such router is known".to_owned())?;
        let (host, port) = platform::advertise::split(&address)
            .ok_or_else(|| "its record names no address".to_owned())?;
        let secret = [&key.secret[..], PASSED_ON].concat();
        let sent = cancel::deliver(&self.dialer, (host, port), key.process_id, &secret).await;
        sent.map_err(|error| format!("{address}: {error}"))
    }
}

/// Brings a cancel request to where it belongs. A key that nobody has is not told apart from one
/// that somebody has: the answer is none in either case.
pub(super) async fn pass_on(front: &Arc<Front>, process_id: i32, secret: &[u8]) {
    let Some((key, passed_on)) = read(process_id, secret) else {
        return;
    };
    let timeout = front.core.config.sharding.connect_timeout;
    // First by the whole key: our number may have changed since it was given.
    match front.sessions.aim(key) {
        Some(Aim::Backend(target)) => return cancel::send(&target, timeout).await,
        Some(Aim::Waiting) => return,
        None => {}
    }
    let other = RouterId::of_process_id(process_id).filter(|id| *id != front.forwarder.id());
    let Some(router) = other.filter(|_| !passed_on) else {
        tracing::debug!(process_id, "cancel request for no session of this router");
        return;
    };
    let forwarded = tokio::time::timeout(timeout, front.forwarder.forward(key, router)).await;
    match forwarded.unwrap_or_else(|_| Err(format!("no answer within {timeout:?}"))) {
        Ok(()) => tracing::debug!(%router, "passed a cancel request on"),
        Err(reason) => tracing::info!(%router, reason, "dropped another router's cancel request"),
    }
}

/// The key in a cancel request, and whether a router has passed it on.
fn read(process_id: i32, secret: &[u8]) -> Option<(CancelKey, bool)> {
    let (&secret, rest) = secret.split_first_chunk::<4>()?;
    let passed_on = rest == PASSED_ON;
    (passed_on || rest.is_empty()).then_some((CancelKey { process_id, secret }, passed_on))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_tells_whether_it_was_passed_on() {
        let key = CancelKey {
            process_id: 7,
            secret: *b"hop1",
        };
        assert_eq!(read(7, b"hop1"), Some((key, false)));
        assert_eq!(read(7, b"hop1hop1"), Some((key, true)));
        for other in [&b""[..], b"hop", b"hop1hop", b"hop1hop2", b"hop1hop1hop1"] {
            assert_eq!(read(7, other), None);
        }
    }
}
