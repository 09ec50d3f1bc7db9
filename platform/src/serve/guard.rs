//! What stands around every handler: a time-out, and an answer when it panics.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;

use crate::Kind;
use crate::http_error::{is_grpc, refuse};

/// Runs a request for at most `limit` until its answer begins.
pub(super) async fn bound(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let grpc = is_grpc(request.headers());
    // What a panic leaves behind belongs to the request alone, which ends here.
    let answer = AssertUnwindSafe(next.run(request)).catch_unwind();
    match tokio::time::timeout(limit, answer).await {
        Ok(Ok(response)) => response,
        // The panic itself is logged by the process's hook.
        Ok(Err(_)) => refuse(grpc, Kind::Internal, "internal error, see the server's log"),
        Err(_) => {
            let limit = humantime::format_duration(limit);
            refuse(
                grpc,
                Kind::Timeout,
                &format!("the request was not answered within {limit}"),
            )
        }
    }
}
