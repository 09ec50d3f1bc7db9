//! Who sent a request, and what of it goes along when the request is forwarded.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use platform::bearer::Claims;
use platform::request_id::RequestId;

use crate::audit::Author;

/// Names the manager that forwarded a request, which is therefore not forwarded again.
pub const FORWARDED_BY: HeaderName = HeaderName::from_static("x-sharding-forwarded-by");

/// The sender of a request.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// As the audit log names it.
    pub author: Author,
    /// Whether another manager forwarded the request.
    pub is_forwarded: bool,
    authorization: Option<HeaderValue>,
}

impl Caller {
    /// Reads what the layers before the handler found out.
    #[must_use]
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let claims = extensions.get::<Claims>();
        let actor = claims.map_or("anonymous", |claims| claims.sub.as_str());
        let request_id = extensions.get::<RequestId>();
        Self {
            author: Author {
                actor: actor.to_owned(),
                request_id: request_id.map(|id| id.as_str().to_owned()),
            },
            is_forwarded: headers.contains_key(FORWARDED_BY),
            authorization: headers.get(AUTHORIZATION).cloned(),
        }
    }

    /// The headers of the same request to the leader: with the caller's own credentials, so that
    /// the leader checks them itself, and with the id that both managers log.
    #[must_use]
    pub fn headers(&self, forwarded_by: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        let id = self.author.request_id.as_deref();
        if let Some(Ok(id)) = id.map(HeaderValue::from_str) {
            headers.insert(platform::request_id::HEADER, id);
        }
        let by = HeaderValue::from_str(forwarded_by);
        headers.insert(
            FORWARDED_BY,
            by.unwrap_or(HeaderValue::from_static("manager")),
        );
        headers
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.headers, &parts.extensions))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_and_request_id_go_along_and_the_guard_is_set() {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer t"));
        let mut extensions = Extensions::new();
        extensions.insert(RequestId::try_new("r-1").unwrap());
        let caller = Caller::of(&headers, &extensions);
        assert!(!caller.is_forwarded);
        let sent = caller.headers("manager-a");
        assert_eq!(sent.get(AUTHORIZATION).unwrap(), "Bearer t");
        assert_eq!(sent.get("x-request-id").unwrap(), "r-1");
        assert!(Caller::of(&sent, &extensions).is_forwarded);
    }
}
