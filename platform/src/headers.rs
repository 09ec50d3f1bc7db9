//! Headers that keep browsers from doing with an answer what it was not given for.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, STRICT_TRANSPORT_SECURITY,
    X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue};

const HEADERS: [(HeaderName, &str); 5] = [
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
];

/// Middleware (`axum::middleware::from_fn(headers::secure)`): adds those that a handler has not
/// set itself.
pub async fn secure(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    for (name, value) in HEADERS {
        let value = HeaderValue::from_static(value);
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}

/// For how long a browser is to ask this host by https alone: a year. Subdomains are others'
/// matter.
const STAY_SECURED: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// Marks an answer that went out under TLS, so that a browser does not ask in clear again.
pub fn stay_secured(headers: &mut HeaderMap) {
    headers
        .entry(STRICT_TRANSPORT_SECURITY)
        .or_insert(STAY_SECURED);
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    #[tokio::test]
    async fn what_a_handler_says_of_caching_stands() {
        let streams = get(async || [(CACHE_CONTROL, "no-cache")]);
        let app = Router::new().route("/", streams).layer(from_fn(secure));
        let request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let response = app.oneshot(request).await.unwrap();
        assert_eq!(response.headers()[CACHE_CONTROL], "no-cache");
        assert_eq!(response.headers()[X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(response.headers()[X_FRAME_OPTIONS], "DENY");
    }
}
