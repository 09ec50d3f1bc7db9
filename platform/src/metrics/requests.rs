//! Requests over HTTP and gRPC, counted by operation and by how they were answered. Which operations
//! there are is said by the fronts' routes, so that no client can add a label.

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, Method};
use prometheus::{Error, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use tokio::time::Instant;

use super::LATENCY_BUCKETS;

/// The counters of a program. Clones share them.
#[derive(Debug, Clone)]
pub struct Requests {
    answered: IntCounterVec,
    durations: HistogramVec,
}

/// The counters of one front: what its middleware is given.
pub type Front = (Requests, &'static str);

impl Requests {
    /// Registers `<service>_requests_total` and `<service>_request_duration_seconds`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry, service: &str) -> Result<Self, Error> {
        let requests = Self {
            answered: IntCounterVec::new(
                Opts::new(
                    format!("{service}_requests_total"),
                    "Requests over HTTP and gRPC that were answered",
                ),
                &["front", "operation", "status"],
            )?,
            durations: HistogramVec::new(
                HistogramOpts::new(
                    format!("{service}_request_duration_seconds"),
                    "Time from a request to the beginning of its answer",
                )
                .buckets(LATENCY_BUCKETS.to_vec()),
                &["front", "operation"],
            )?,
        };
        registry.register(Box::new(requests.answered.clone()))?;
        registry.register(Box::new(requests.durations.clone()))?;
        Ok(requests)
    }

    /// The middleware's state for a front of this name.
    #[must_use]
    pub fn of(&self, front: &'static str) -> Front {
        (self.clone(), front)
    }

    fn count(&self, front: &str, operation: &str, status: &str, started: Instant) {
        self.answered
            .with_label_values(&[front, operation, status])
            .inc();
        self.durations
            .with_label_values(&[front, operation])
            .observe(started.elapsed().as_secs_f64());
    }
}

/// Middleware that counts HTTP requests by method and route. It has to be around what limits them
/// and asks who calls, so that refusals are counted as well.
pub async fn count_http(
    State((requests, front)): State<Front>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let operation = format!("{} {}", method(request.method()), route(&request));
    let response = next.run(request).await;
    requests.count(front, &operation, response.status().as_str(), started);
    response
}

/// Middleware that counts gRPC requests by method.
pub async fn count_grpc(
    State((requests, front)): State<Front>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let operation = route(&request);
    let response = next.run(request).await;
    requests.count(front, &operation, grpc_status(response.headers()), started);
    response
}

fn route(request: &Request) -> String {
    let route = request.extensions().get::<MatchedPath>();
    route.map_or("none", MatchedPath::as_str).to_owned()
}

/// Any word is a method to HTTP, and a route is asked with it before it says that it has none such.
fn method(method: &Method) -> &str {
    let known = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::HEAD,
        Method::OPTIONS,
    ];
    if known.contains(method) {
        method.as_str()
    } else {
        "other"
    }
}

/// The number of the status. An error comes in the headers, since there is no message before it.
fn grpc_status(headers: &HeaderMap) -> &str {
    let status = headers
        .get("grpc-status")
        .and_then(|value| value.to_str().ok());
    status.unwrap_or("0")
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    async fn after(asked: &[(&str, &str)]) -> String {
        let registry = Registry::new();
        let requests = Requests::register(&registry, "router").unwrap();
        let app = Router::new()
            .route("/keys/{key}", get(async || "here"))
            .route_layer(from_fn_with_state(requests.of("http"), count_http))
            .route(
                "/grpc.Service/Method",
                get(async || [("grpc-status", "16")])
                    .route_layer(from_fn_with_state(requests.of("grpc"), count_grpc)),
            );
        for (method, path) in asked {
            let request = Request::builder().method(*method).uri(*path);
            let request = request.body(Body::empty()).unwrap();
            app.clone().oneshot(request).await.unwrap();
        }
        crate::metrics::encode(&registry)
    }

    #[tokio::test]
    async fn requests_are_counted_by_route_and_status() {
        let text = after(&[("GET", "/keys/1"), ("GET", "/keys/2"), ("POST", "/keys/3")]).await;
        for line in [
            "router_requests_total{front=\"http\",operation=\"GET /keys/{key}\",status=\"200\"} 2",
            "router_requests_total{front=\"http\",operation=\"POST /keys/{key}\",status=\"405\"} 1",
            "router_request_duration_seconds_count{front=\"http\",operation=\"GET /keys/{key}\"} 2",
        ] {
            assert!(text.contains(line), "{line} is missing in {text}");
        }
    }

    #[tokio::test]
    async fn no_client_adds_a_label_by_its_path_or_its_method() {
        let text = after(&[("BREW", "/keys/1"), ("SPILL", "/keys/1"), ("GET", "/pots")]).await;
        let line = "operation=\"other /keys/{key}\",status=\"405\"} 2";
        assert!(text.contains(line), "{text}");
        for word in ["BREW", "SPILL", "pots"] {
            assert!(!text.contains(word), "{text}");
        }
    }

    #[tokio::test]
    async fn an_error_of_grpc_is_counted_by_its_number() {
        let text = after(&[("GET", "/grpc.Service/Method")]).await;
        let line = "operation=\"/grpc.Service/Method\",status=\"16\"} 1";
        assert!(text.contains(line), "{text}");
    }
}
