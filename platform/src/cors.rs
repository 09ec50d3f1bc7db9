//! Which web pages of other origins may read answers: none, unless the configuration names them.

use std::time::Duration;

use axum::Router;
use http::header::{AUTHORIZATION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, Method};
use tower_http::cors::{AllowOrigin, CorsLayer};

use crate::access::gate::API_KEY;
use crate::config::Section;
use crate::request_id;

/// How long a browser may keep what it was told.
const MAX_AGE: Duration = Duration::from_mins(10);

/// The origins whose pages may read answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origins(Vec<HeaderValue>);

impl Origins {
    /// Reads section `cors`: `allowed_origins`, such as `https://console.example.com`; `*` is any.
    pub fn read(root: &mut Section) -> Self {
        let mut section = root.section("cors");
        let mut origins = Vec::new();
        for text in section.texts("allowed_origins", &[]) {
            let is_origin = text == "*"
                || text
                    .strip_prefix("https://")
                    .or_else(|| text.strip_prefix("http://"))
                    .is_some_and(|host| !host.is_empty() && !host.contains('/'));
            match HeaderValue::from_str(&text) {
                Ok(origin) if is_origin => origins.push(origin),
                Ok(_) | Err(_) => {
                    let rule = "must hold origins such as https://console.example.com, or *";
                    section.violation("allowed_origins", rule);
                }
            }
        }
        section.finish();
        Self(origins)
    }

    /// Answers preflight requests for `app` and tells browsers what they may read. Without an
    /// origin nothing is added, and browsers keep other pages out.
    pub fn apply(&self, app: Router) -> Router {
        if self.0.is_empty() {
            return app;
        }
        let allowed = if self.0.iter().any(|origin| origin == "*") {
            AllowOrigin::any()
        } else {
            AllowOrigin::list(self.0.iter().cloned())
        };
        let methods = [
            Method::GET,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let layer = CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods(methods)
            .allow_headers([AUTHORIZATION, CONTENT_TYPE, API_KEY, request_id::HEADER])
            .expose_headers([RETRY_AFTER, request_id::HEADER])
            .max_age(MAX_AGE);
        app.layer(layer)
    }
}
