//! Refusals on record: who was turned away from what, and why.
//!
//! They are noted by a task, behind the answer, and at a bounded rate: whoever has no right here
//! must not be able to fill the store. Those beyond the rate are counted in the next entry.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{Method, StatusCode};
use platform::access::Identity;
use platform::telemetry::error_chain;
use platform::{Shutdown, http_error};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Author;
use crate::caller::Caller;
use crate::commit::{Note, Writer};
use crate::leader::{self, Standing};

/// Refusals that wait to be noted.
const QUEUE: usize = 256;

/// Refusals that are noted one after the other at most.
const BURST: u32 = 60;

/// From then on, one is noted each time that this has passed.
const PACE: Duration = Duration::from_secs(5);

/// Longer bodies of refusals are not read for their reason.
const MAX_BODY_BYTES: usize = 16 << 10;

/// Longest reason that is noted, in characters.
const MAX_REASON: usize = 300;

/// What begins the names of gRPC methods that change nothing.
const READS: [&str; 9] = [
    "WhoAmI", "List", "Get", "Watch", "Count", "Diff", "ShardFor", "Verify", "Plan",
];

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refusal {
    author: Author,
    action: String,
    target: String,
    reason: Value,
    /// Whether they are the words of the leader, to whom the call was forwarded.
    is_the_leaders: bool,
}

/// In the metadata of a gRPC answer that is the leader's, and so on record by it.
pub const FROM_LEADER: &str = "x-sharding-from-leader";

/// The same among the extensions of a REST answer.
#[derive(Debug, Clone, Copy)]
pub struct FromLeader;

/// Takes refusals; clones share the queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Refusal>,
    lost: Arc<AtomicU64>,
}

/// Notes them.
#[derive(Debug)]
pub struct Scribe {
    queue: mpsc::Receiver<Refusal>,
    lost: Arc<AtomicU64>,
    writer: Arc<Writer>,
    leader: leader::View,
}

/// A recorder, and the task that writes by `writer` what it takes.
#[must_use]
pub fn recorder(writer: Arc<Writer>, leader: leader::View) -> (Recorder, Scribe) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let lost = Arc::new(AtomicU64::new(0));
    let recorder = Recorder {
        queue: sender,
        lost: Arc::clone(&lost),
    };
    let scribe = Scribe {
        queue,
        lost,
        writer,
        leader,
    };
    (recorder, scribe)
}

impl Recorder {
    fn take(&self, refusal: Refusal) {
        if self.queue.try_send(refusal).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Scribe {
    /// Notes refusals until the shutdown.
    pub async fn run(mut self, shutdown: Shutdown) {
        let mut allowance = Allowance::full();
        loop {
            let refusal = tokio::select! {
                biased; // What has been taken is noted before the end.
                refusal = self.queue.recv() => refusal,
                () = shutdown.requested() => None,
            };
            let Some(refusal) = refusal else {
                return;
            };
            if allowance.spend() {
                self.note(refusal).await;
            } else {
                self.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    async fn note(&self, refusal: Refusal) {
        let standing = self.leader.standing();
        let term = match &standing {
            Standing::Leading(leader) => leader.term,
            // What the leader refuses it notes itself.
            Standing::Following(_) if refusal.is_the_leaders => return,
            Standing::Following(leader) => leader.term,
            Standing::Unled => {
                self.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let mut detail = refusal.reason;
        if let (true, Value::Object(fields)) = (lost > 0, &mut detail) {
            fields.insert("not_recorded_before".to_owned(), json!(lost));
        }
        let note = Note {
            term,
            author: refusal.author,
            action: refusal.action,
            target: refusal.target,
            detail,
        };
        if let Err(error) = self.writer.note_refusal(&note).await {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
            tracing::warn!(error = error_chain(&error), "refusal not recorded");
        }
    }
}

/// A bucket of tokens.
#[derive(Debug)]
struct Allowance {
    tokens: u32,
    filled_at: Instant,
}

impl Allowance {
    fn full() -> Self {
        Self {
            tokens: BURST,
            filled_at: Instant::now(),
        }
    }

    fn spend(&mut self) -> bool {
        while self.tokens < BURST && self.filled_at.elapsed() >= PACE {
            self.tokens += 1;
            self.filled_at += PACE;
        }
        if self.tokens == BURST {
            self.filled_at = Instant::now();
        }
        let Some(left) = self.tokens.checked_sub(1) else {
            return false;
        };
        self.tokens = left;
        true
    }
}

/// Middleware around the fronts, outside of what lets callers in: hands refusals to the recorder.
pub async fn watch(State(recorder): State<Recorder>, request: Request, next: Next) -> Response {
    let author = Caller::of(request.headers(), request.extensions()).author;
    let is_grpc = http_error::is_grpc(request.headers());
    let path = request.uri().path().to_owned();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or(path.as_str(), MatchedPath::as_str);
    let (action, is_read) = if is_grpc {
        let method = path.rsplit('/').next().unwrap_or_default();
        let is_read = READS.iter().any(|read| method.starts_with(read));
        (path.clone(), is_read)
    } else {
        let method = request.method();
        let is_read = [Method::GET, Method::HEAD, Method::OPTIONS].contains(method);
        (format!("{method} {route}"), is_read)
    };
    let response = next.run(request).await;
    let refused = if is_grpc {
        grpc_refusal(&response)
    } else {
        rest_refusal(response.status())
    };
    if !refused.is_some_and(|at_the_door| at_the_door || !is_read) {
        return response;
    }
    let is_the_leaders = response.headers().contains_key(FROM_LEADER)
        || response.extensions().get::<FromLeader>().is_some();
    // Who was let in is known only afterwards.
    let known = response.extensions().get::<Identity>();
    let actor = known.map_or(author.actor.clone(), |known| known.actor.clone());
    let author = Author { actor, ..author };
    let (response, reason) = if is_grpc {
        let reason = grpc_reason(&response);
        (response, reason)
    } else {
        rest_reason(response).await
    };
    recorder.take(Refusal {
        author,
        action,
        target: path,
        reason,
        is_the_leaders,
    });
    response
}

/// Whether a status refuses, and if so whether at the door.
fn rest_refusal(status: StatusCode) -> Option<bool> {
    let at_the_door = matches!(status.as_u16(), 401 | 403 | 429);
    status.is_client_error().then_some(at_the_door)
}

fn grpc_refusal(response: &Response) -> Option<bool> {
    let code = response.headers().get("grpc-status")?;
    match code.to_str().ok()? {
        // Unauthenticated, permission denied, resource exhausted.
        "16" | "7" | "8" => Some(true),
        // Invalid argument, not found, already exists, failed precondition, aborted, out of range.
        "3" | "5" | "6" | "9" | "10" | "11" => Some(false),
        _ => None,
    }
}

fn grpc_reason(response: &Response) -> Value {
    let text = |name: &str| {
        let value = response.headers().get(name);
        let value = value.and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let message = decoded(&text("grpc-message"));
    json!({ "grpc_status": text("grpc-status"), "reason": short(&message) })
}

/// The text behind the encoding of `grpc-message`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let escaped = (byte == b'%').then(|| {
            let mut ahead = rest.clone();
            let digits = [ahead.next()?, ahead.next()?];
            let code = u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?;
            rest = ahead;
            Some(code)
        });
        bytes.push(escaped.flatten().unwrap_or(byte));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn rest_reason(response: Response) -> (Response, Value) {
    let status = response.status().as_u16();
    let (parts, body) = response.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return (
            Response::from_parts(parts, Body::empty()),
            json!({ "status": status }),
        );
    };
    let said = serde_json::from_slice::<Value>(&body).unwrap_or_default();
    let message = said["error"]["message"].as_str().unwrap_or_default();
    let reason = json!({ "status": status, "reason": short(message) });
    (Response::from_parts(parts, Body::from(body)), reason)
}

fn short(text: &str) -> String {
    text.chars().take(MAX_REASON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn refusals_are_noted_in_a_burst_and_then_at_a_pace() {
        let mut allowance = Allowance::full();
        let noted = (0..1_000).filter(|_| allowance.spend()).count();
        assert_eq!(noted, 60);
        tokio::time::advance(PACE * 3).await;
        let noted = (0..1_000).filter(|_| allowance.spend()).count();
        assert_eq!(noted, 3);
    }

    #[test]
    fn a_message_is_read_back_from_its_encoding() {
        assert_eq!(decoded("100%25 of %C3%A9"), "100% of é");
        assert_eq!(decoded("%zz and %4"), "%zz and %4");
    }
}
