//! gRPC methods as a table: each with what it needs of its callers. A method that is not in it is not
//! served.

use std::convert::Infallible;

use axum::Router;
use axum::extract::Request;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::post_service;
use tower::Service;

use crate::access::Need;
use crate::access::gate::{self, Gate, Guard};
use crate::rates::{self, Limiter};

/// A method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Method {
    /// `/service/Method`.
    pub path: &'static str,
    /// What it asks of its callers.
    pub need: Need,
}

impl Method {
    /// A method with what it asks of its callers.
    #[must_use]
    pub const fn new(path: &'static str, need: Need) -> Self {
        Self { path, need }
    }
}

/// The methods of the service `name` that are in the table, each behind its guard. Those that need
/// nothing are where callers get credentials, and limited as such.
pub fn router<S>(
    (name, service): (&str, S),
    methods: &[Method],
    gate: &Gate,
    limiter: &Limiter,
) -> Router
where
    S: Service<Request, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    let prefix = format!("/{name}/");
    let own = methods
        .iter()
        .filter(|method| method.path.starts_with(&prefix));
    own.fold(Router::new(), |router, method| {
        let guard = Guard {
            gate: gate.clone(),
            need: method.need,
        };
        let mut handler =
            post_service(service.clone()).route_layer(from_fn_with_state(guard, gate::check));
        if method.need == Need::Nothing {
            let limiter = limiter.clone();
            handler = handler.route_layer(from_fn_with_state(limiter, rates::at_the_door));
        }
        router.route(method.path, handler)
    })
}
