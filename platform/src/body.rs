//! Bodies of requests that come too slowly or are too long: read whole, within a time, before
//! a handler runs.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::BytesMut;
use http::StatusCode;
use http::header::{CONTENT_LENGTH, EXPECT};
use http_body_util::BodyExt as _;

use crate::Kind;
use crate::http_error::respond;

/// How much of a body that is too long is read and thrown away, and for how long: many clients look
/// for an answer only once they have sent everything.
const MOST_THROWN_AWAY: usize = 64 << 20;
const THROWN_AWAY_WITHIN: Duration = Duration::from_secs(5);

/// What a body may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body.
    pub max_bytes: usize,
    /// From the head of a request to the end of its body.
    pub timeout: Duration,
}

/// Middleware (`from_fn_with_state(limits, body::read)`): hands bodies on that have been read to
/// their end.
pub async fn read(State(limits): State<Limits>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let said = parts.headers.get(CONTENT_LENGTH);
    let said = said.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let mut body = body;
    if said.is_some_and(|length| length > limits.max_bytes) {
        // Whoever asks first has sent nothing yet.
        if !parts.headers.contains_key(EXPECT) {
            throw_away(&mut body).await;
        }
        return too_long();
    }
    let reading = collect(&mut body, limits.max_bytes);
    match tokio::time::timeout(limits.timeout, reading).await {
        Ok(Some(bytes)) => {
            next.run(Request::from_parts(parts, Body::from(bytes)))
                .await
        }
        // It broke off, or is longer; a client that has gone reads neither answer.
        Ok(None) => {
            throw_away(&mut body).await;
            too_long()
        }
        Err(_) => respond(
            StatusCode::REQUEST_TIMEOUT,
            Kind::Timeout.as_str(),
            "the body did not come in time",
        ),
    }
}

/// A body to its end; none when it is longer or breaks off.
async fn collect(body: &mut Body, max_bytes: usize) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        if data.len() > max_bytes - bytes.len() {
            return None;
        }
        bytes.extend_from_slice(&data);
    }
    Some(bytes.freeze())
}

/// Reads on for a while, so that a client that is still sending gets to read its answer.
async fn throw_away(body: &mut Body) {
    let reading = async {
        let mut left = MOST_THROWN_AWAY;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            let Some(rest) = left.checked_sub(length) else {
                return;
            };
            left = rest;
        }
    };
    // Whoever takes longer is answered all the same.
    drop(tokio::time::timeout(THROWN_AWAY_WITHIN, reading).await);
}

fn too_long() -> Response {
    respond(
        StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Exhausted.as_str(),
        "the body is longer than is accepted",
    )
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::Router;
    use axum::middleware::from_fn_with_state;
    use axum::routing::post;
    use futures_util::{StreamExt as _, stream};
    use http::header::HeaderName;
    use tower::ServiceExt as _;

    use super::*;

    /// What a body of ten chunks of ten bytes is answered with, and how many of them were read.
    async fn answer(max_bytes: usize, headers: &[(HeaderName, &str)]) -> (StatusCode, usize) {
        let limits = Limits {
            max_bytes,
            timeout: Duration::from_secs(30),
        };
        let app = Router::new()
            .route("/", post(async |body: Bytes| body.len().to_string()))
            .layer(from_fn_with_state(limits, read));
        let sent = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&sent);
        let chunks = stream::iter(0..10).map(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 10]))
        });
        let mut request = Request::post("/").body(Body::from_stream(chunks)).unwrap();
        for (name, value) in headers {
            let value = value.parse().unwrap();
            request.headers_mut().insert(name.clone(), value);
        }
        let answer = app.oneshot(request).await.unwrap();
        (answer.status(), sent.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_is_read_before_that_is_said() {
        assert_eq!(answer(100, &[]).await, (StatusCode::OK, 10));
        let refused = (StatusCode::PAYLOAD_TOO_LARGE, 10);
        assert_eq!(answer(99, &[]).await, refused);
        let long = (CONTENT_LENGTH, "100");
        assert_eq!(answer(15, std::slice::from_ref(&long)).await, refused);
        // Whoever asks first need not send it.
        let asks = [long, (EXPECT, "100-continue")];
        assert_eq!(answer(15, &asks).await, (StatusCode::PAYLOAD_TOO_LARGE, 0));
    }
}
