//! The Postgres front: accepts connections and gives each a session of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use platform::{Shutdown, TaskGroup};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tracing::Instrument as _;

use crate::session::{Admitted, Front, log_in};

/// How long a silent peer is left alone before the kernel asks after it.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// The pause after an accept that failed, for want of file descriptors as a rule.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts clients until shutdown. Their sessions go on in `tasks`, each until its transaction is
/// over.
pub async fn serve(
    listener: TcpListener,
    front: Arc<Front>,
    tls: Option<platform::tls::Acceptor>,
    tasks: TaskGroup,
    shutdown: Shutdown,
) {
    loop {
        let accepted = tokio::select! {
            // A requested shutdown is not delayed by clients that keep coming.
            biased;
            () = shutdown.requested() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (front, tls, shutdown) = (Arc::clone(&front), tls.clone(), shutdown.clone());
                let span = tracing::info_span!("session", %peer);
                let session = converse(stream, peer, front, tls, shutdown).instrument(span);
                tasks.spawn("pgwire session", session);
            }
            Err(error) => {
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn converse(
    stream: TcpStream,
    peer: SocketAddr,
    front: Arc<Front>,
    tls: Option<platform::tls::Acceptor>,
    shutdown: Shutdown,
) {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%peer, %error, "a client was gone before it was served");
        return;
    }
    let time = front.core.config.pgwire.login_timeout;
    // Boxed, so that nothing of a login's state stays with the session for its life.
    let login = Box::pin(log_in(front, stream, tls.as_ref()));
    let login = tokio::time::timeout(time, login).await;
    let admitted = match login {
        Ok(Ok(Some(admitted))) => admitted,
        Ok(Ok(None)) => return,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no session");
            return;
        }
        Err(_) => {
            tracing::debug!(?time, "a client did not log in in time");
            return;
        }
    };
    let ended = match admitted {
        Admitted::Session(session) => session.run(shutdown).await,
        Admitted::Operator(operator) => Box::pin(operator.run(shutdown)).await,
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "session ended");
    }
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}
