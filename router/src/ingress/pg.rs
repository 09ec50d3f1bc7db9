//! The Postgres front: accepts connections and gives each a session of its own.

use std::sync::Arc;
use std::time::Duration;

use platform::{Shutdown, TaskGroup};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tracing::{Instrument as _, Span};

use crate::session::{Admitted, Front, log_in};
use crate::threads::Threads;

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
    (tasks, threads): (TaskGroup, Threads),
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
                let Some((runtime, place)) = threads.place() else {
                    return;
                };
                let session = async move {
                    let _place = place;
                    // Its events are to come to the thread that serves it.
                    match settle(stream) {
                        Ok(stream) => converse(stream, span, front, tls, shutdown).await,
                        Err(error) => tracing::warn!(%error, "a client could not be taken in"),
                    }
                };
                tasks.spawn_on("pgwire session", session, runtime);
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
    span: Span,
    front: Arc<Front>,
    tls: Option<platform::tls::Acceptor>,
    shutdown: Shutdown,
) {
    // Boxed, so that nothing of a login's state stays with the session for its life.
    let admitted = Box::pin(admit(stream, front, tls).instrument(span.clone())).await;
    let ended = match admitted {
        None => return,
        // It enters the span only where it has something to say, not with each message.
        Some(Admitted::Session(session)) => session.run(shutdown).await,
        Some(Admitted::Operator(operator)) => {
            Box::pin(operator.run(shutdown).instrument(span.clone())).await
        }
    };
    if let Err(error) = ended {
        span.in_scope(|| tracing::debug!(%error, "session ended"));
    }
}

/// Lets a client log in; none when it leaves, or is not let in.
async fn admit(
    stream: TcpStream,
    front: Arc<Front>,
    tls: Option<platform::tls::Acceptor>,
) -> Option<Admitted> {
    if let Err(error) = prepare(&stream) {
        tracing::debug!(%error, "a client was gone before it was served");
        return None;
    }
    let visit = front.lobby.enter(stream.peer_addr().ok()?.ip());
    let time = front.core.config.pgwire.login_timeout;
    let login = log_in(front, stream, tls.as_ref());
    let login = tokio::time::timeout(time, login);
    let admitted = tokio::select! {
        biased; // Whoever has logged in by now may stay.
        admitted = login => admitted,
        () = visit.over() => {
            tracing::debug!("a client that had not logged in was sent away");
            return None;
        }
    };
    match admitted {
        Ok(Ok(admitted)) => admitted,
        Ok(Err(error)) => {
            tracing::debug!(%error, "no session");
            None
        }
        Err(_) => {
            tracing::debug!(?time, "a client did not log in in time");
            None
        }
    }
}

/// Moves a socket to the present thread's runtime.
fn settle(stream: TcpStream) -> std::io::Result<TcpStream> {
    TcpStream::from_std(stream.into_std()?)
}

fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))
}
