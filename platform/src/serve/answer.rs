//! An answer on its way to the client, and on HTTP/2 the time for which it has not been taken.
//!
//! An HTTP/2 client stops an answer by granting no window. No write is waiting then, so that the
//! stream's own watch is needed to give such an answer up.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use tokio::time::Instant;

use super::activity::Running;

tokio::task_local! {
    /// The watch of the HTTP/2 stream that the present task drives.
    static WATCH: Arc<Watch>;
}

/// An answer's body, with its request counted as running until it is sent.
pub(super) struct Answer {
    body: Body,
    watch: Option<Arc<Watch>>,
    _running: Running,
}

impl Answer {
    /// To be called on the task that drives the stream.
    pub(super) fn new(body: Body, running: Running) -> Self {
        let watch = WATCH.try_with(Arc::clone).ok();
        if let Some(watch) = &watch {
            watch.wait_for_client(true);
        }
        Self {
            body,
            watch,
            _running: running,
        }
    }
}

impl hyper::body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(watch) = &self.watch {
            // With a frame in hand, nobody asks for the next before the client has room for it;
            // without one, it is the handler that is waited for.
            watch.wait_for_client(frame.is_ready());
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Since when the client of one HTTP/2 stream has been waited for.
#[derive(Debug, Default)]
struct Watch(Mutex<Option<Instant>>);

impl Watch {
    fn wait_for_client(&self, is_waiting: bool) {
        let since = is_waiting.then(Instant::now);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Returns when the client was waited for that long.
    async fn given_up(&self, limit: Duration) {
        loop {
            let now = Instant::now();
            let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let until = since.unwrap_or(now) + limit;
            if until <= now {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }
}

/// Drives a stream until it ends, or its client has taken nothing of its answer for too long.
pub(super) async fn drive(stream: impl Future, write_timeout: Duration) {
    let watch = Arc::new(Watch::default());
    tokio::select! {
        biased; // A stream that can end does.
        _ = WATCH.scope(Arc::clone(&watch), stream) => {}
        () = watch.given_up(write_timeout) => {
            tracing::debug!("answer given up: the client does not take it");
        }
    }
}
