//! Calls that were not let in, for whoever keeps a record of them. Nothing is made up for a call
//! that is let in.

use std::fmt;
use std::net::IpAddr;

use axum::extract::{MatchedPath, Request};
use axum::response::Response;
use http::{Method, StatusCode};

use super::Identity;
use crate::request_id::RequestId;

/// Why a call was refused, among the extensions of its answer; in words of ours.
#[derive(Debug, Clone)]
pub struct Reason(pub String);

/// A call that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused<'a> {
    /// Where it came from.
    pub from: IpAddr,
    /// Its id.
    pub request_id: Option<&'a str>,
    /// Who sent it, where that is known.
    pub actor: Option<&'a str>,
    /// Its method, where it is no gRPC.
    pub method: &'a Method,
    /// Its route.
    pub route: &'a str,
    /// Why.
    pub reason: &'a str,
}

/// Hears of them; it must not take long.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// A call was refused.
    fn refused(&self, call: &Refused<'_>);
}

/// What is kept of a call until it is answered.
#[derive(Debug)]
pub struct Call {
    from: IpAddr,
    request_id: Option<RequestId>,
    method: Method,
    route: Option<MatchedPath>,
}

impl Call {
    /// What is to be kept of a request.
    #[must_use]
    pub fn of(request: &Request, from: IpAddr) -> Self {
        Self {
            from: from.to_canonical(),
            request_id: request.extensions().get::<RequestId>().cloned(),
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
        }
    }

    /// Tells that it was refused, where its answer says so.
    pub fn answered(&self, response: &Response, observer: &dyn Observer) {
        let Some(fallback) = refusal(response) else {
            return;
        };
        let extensions = response.extensions();
        let reason = extensions.get::<Reason>();
        let actor = extensions.get::<Identity>();
        let actor = actor.map(|identity| identity.actor.as_str());
        self.tell(observer, actor, reason.map_or(fallback, |reason| &reason.0));
    }

    /// Tells that it was refused, for this reason.
    pub fn tell(&self, observer: &dyn Observer, actor: Option<&str>, reason: &str) {
        observer.refused(&Refused {
            from: self.from,
            request_id: self.request_id.as_ref().map(RequestId::as_str),
            actor,
            method: &self.method,
            route: self.route.as_ref().map_or("", MatchedPath::as_str),
            reason,
        });
    }
}

/// What is to be said of an answer that refuses its caller and not only the call.
fn refusal(response: &Response) -> Option<&'static str> {
    let grpc = response.headers().get("grpc-status");
    let grpc = grpc.map(http::HeaderValue::as_bytes);
    if response.status() == StatusCode::UNAUTHORIZED || grpc == Some(b"16") {
        Some("not authenticated")
    } else if response.status() == StatusCode::FORBIDDEN || grpc == Some(b"7") {
        Some("not permitted")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;
    use crate::Secret;
    use crate::access::gate::{self, Gate, Guard};
    use crate::access::{Need, Role};
    use crate::bearer::{Verifier, sign_hs256};
    use crate::rates::{self, Limiter, Limits, Rate};
    use crate::serve::PeerAddr;

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Observer for Heard {
        fn refused(&self, call: &Refused<'_>) {
            let text = format!(
                "{} {} {} {}: {}",
                call.from,
                call.actor.unwrap_or("-"),
                call.method,
                call.route,
                call.reason
            );
            self.0.lock().unwrap().push(text);
        }
    }

    fn app(heard: &Arc<Heard>, secret: &Secret) -> Router {
        let limits = Limits {
            rejections: Rate {
                per_second: 1,
                burst: 2,
            },
            ..Limits::NONE
        };
        let limiter = Limiter::new(limits).observed(Arc::<Heard>::clone(heard));
        let guard = Guard {
            gate: Gate::of_tokens(Verifier::hs256(secret)),
            need: Need::Role(Role::Reader),
        };
        Router::new()
            .route("/rows/{key}", get(async || "here"))
            .route_layer(from_fn_with_state(guard, gate::check))
            .route_layer(from_fn_with_state(limiter, rates::limit))
    }

    async fn call(app: &Router, token: Option<&str>) -> u16 {
        let mut request = Request::builder().uri("/rows/7?secret=1");
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut request = request.body(Body::empty()).unwrap();
        let peer = PeerAddr("[::ffff:10.0.0.7]:99".parse().unwrap());
        request.extensions_mut().insert(peer);
        app.clone().oneshot(request).await.unwrap().status().into()
    }

    #[tokio::test]
    async fn refusals_are_heard_of_and_nothing_else_is() {
        let (heard, secret) = (Arc::new(Heard::default()), Secret::new("-".repeat(32)));
        let app = app(&heard, &secret);
        let token = |role| sign_hs256(&secret, "ann", &[role], Duration::from_secs(60));
        let (reader, viewer) = (token("reader"), token("viewer"));
        let mut said = Vec::new();
        for token in [Some(&*reader), Some(&viewer), None, Some("x"), Some("y")] {
            said.push(call(&app, token).await);
        }
        assert_eq!(said, [200, 403, 401, 401, 429]);
        let expected = [
            "10.0.0.7 ann GET /rows/{key}: role reader is needed, which ann does not have",
            "10.0.0.7 - GET /rows/{key}: a bearer token or an API key is needed",
            "10.0.0.7 - GET /rows/{key}: the token is malformed or lacks a claim",
            "10.0.0.7 - GET /rows/{key}: too many calls without a valid credential",
        ];
        assert_eq!(*heard.0.lock().unwrap(), expected);
    }
}
