//! Who sent a request, and what of it goes along when the request is forwarded.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue};
use platform::access::Identity;
use platform::access::gate::API_KEY;
use platform::request_id::RequestId;
use platform::serve::PeerAddr;

use crate::audit::Author;

/// Names the manager that forwarded a request, which is therefore not forwarded again.
pub const FORWARDED_BY: HeaderName = HeaderName::from_static("x-sharding-forwarded-by");

/// Where a request came from that another manager forwarded, as that one says.
pub const CLIENT: HeaderName = HeaderName::from_static("x-sharding-client");

/// The sender of a request.
#[derive(Debug, Clone, Default)]
pub struct Caller {
    /// As the audit log names it.
    pub author: Author,
    /// Who was let in; none where everybody is, or at the door.
    pub identity: Option<Identity>,
    /// Whether another manager forwarded the request.
    pub is_forwarded: bool,
    authorization: Option<HeaderValue>,
    api_key: Option<HeaderValue>,
}

impl Caller {
    /// Reads what the layers before the handler found out.
    #[must_use]
    pub fn of(headers: &HeaderMap, extensions: &Extensions) -> Self {
        let identity = extensions.get::<Identity>().cloned();
        let actor = identity.as_ref();
        let actor = actor.map_or("anonymous", |identity| identity.actor.as_str());
        let request_id = extensions.get::<RequestId>();
        Self {
            author: Author {
                actor: actor.to_owned(),
                request_id: request_id.map(|id| id.as_str().to_owned()),
                from: origin(headers, extensions),
            },
            is_forwarded: headers.contains_key(FORWARDED_BY),
            authorization: headers.get(AUTHORIZATION).cloned(),
            api_key: headers.get(API_KEY).cloned(),
            identity,
        }
    }

    /// The same caller, who has proven to be `actor` by what was sent.
    #[must_use]
    pub fn named(&self, actor: &str) -> Self {
        let mut named = self.clone();
        actor.clone_into(&mut named.author.actor);
        named
    }

    /// The headers of the same request to the leader: with the caller's own credentials, so that
    /// the leader checks them itself, and with the id that both managers log.
    #[must_use]
    pub fn headers(&self, forwarded_by: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(api_key) = &self.api_key {
            headers.insert(API_KEY, api_key.clone());
        }
        let from = self.author.from.as_deref().map(HeaderValue::from_str);
        if let Some(Ok(from)) = from {
            headers.insert(CLIENT, from);
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

/// The address that a request came from. What a manager says that forwarded it is shown with that
/// manager's own address: anybody can set a header.
fn origin(headers: &HeaderMap, extensions: &Extensions) -> Option<String> {
    let peer = extensions.get::<PeerAddr>()?.0.ip().to_canonical();
    let said = headers.get(CLIENT).and_then(|value| value.to_str().ok());
    let said = said.filter(|said| said.len() <= MAX_ORIGIN_BYTES);
    Some(match said {
        Some(client) if headers.contains_key(FORWARDED_BY) => format!("{client} via {peer}"),
        Some(_) | None => peer.to_string(),
    })
}

/// The longest address has 45 characters; one that was forwarded by a manager is no longer.
const MAX_ORIGIN_BYTES: usize = 64;

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
        extensions.insert(PeerAddr("10.0.0.1:99".parse().unwrap()));
        let caller = Caller::of(&headers, &extensions);
        assert!(!caller.is_forwarded);
        let sent = caller.headers("manager-a");
        assert_eq!(sent.get(AUTHORIZATION).unwrap(), "Bearer t");
        assert_eq!(sent.get("x-request-id").unwrap(), "r-1");
        extensions.insert(PeerAddr("10.0.0.2:99".parse().unwrap()));
        let received = Caller::of(&sent, &extensions);
        assert!(received.is_forwarded);
        assert_eq!(
            received.author.from.as_deref(),
            Some("10.0.0.1 via 10.0.0.2")
        );
    }
}
