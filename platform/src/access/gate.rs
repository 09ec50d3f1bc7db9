//! Lets requests in: finds out who sends one, by a bearer token or an API key, and whether they may
//! do what they ask for, before any handler runs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::grants::{Grants, PREFIX};
use super::refused::Reason;
use super::{Credential, Identity, Need};
use crate::bearer::{self, Rejected, Verifier};
use crate::{Kind, http_error};

/// Where an API key may stand, beside `authorization: Bearer`.
pub const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Knows who may come in; clones share what they know.
#[derive(Clone)]
pub struct Gate(Option<Arc<Checks>>);

struct Checks {
    verifier: Verifier,
    grants: Arc<ArcSwap<Grants>>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "Gate"
        } else {
            "Gate(open)"
        })
    }
}

impl Gate {
    /// Lets everybody do everything.
    #[must_use]
    pub fn open() -> Self {
        Self(None)
    }

    /// Whether everybody may do everything.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Lets those in whose tokens `verifier` trusts, unless they were revoked, and the holders of
    /// keys.
    #[must_use]
    pub fn new(verifier: Verifier, grants: Arc<ArcSwap<Grants>>) -> Self {
        Self(Some(Arc::new(Checks { verifier, grants })))
    }

    /// A gate that trusts the tokens of a verifier and knows no keys and no revocations.
    #[must_use]
    pub fn of_tokens(verifier: Verifier) -> Self {
        Self::new(verifier, Arc::new(ArcSwap::from_pointee(Grants::none())))
    }

    /// Who sends a request with these headers; none where everybody may do everything.
    ///
    /// # Errors
    /// Why they are not known. The reasons may be shown to them.
    pub fn identify(&self, headers: &HeaderMap) -> Result<Option<Identity>, Rejected> {
        let Some(checks) = &self.0 else {
            return Ok(None);
        };
        let grants = checks.grants.load();
        // A header that is no text cannot be a token.
        let text = |value: &'_ HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let authorization = headers.get(AUTHORIZATION).map(text);
        if authorization.is_none()
            && let Some(key) = headers.get(API_KEY).map(text)
        {
            return grants.holder(key.trim()).map(Some);
        }
        let token = bearer::token_of(authorization.as_deref())?;
        if token.starts_with(PREFIX) {
            return grants.holder(token).map(Some);
        }
        let claims = checks.verifier.verify(token)?;
        grants.check(&claims)?;
        if claims.is_refresh() {
            return Err(Rejected::OnlyRefresh);
        }
        Ok(Some(Identity::of_claims(claims)))
    }

    /// Whether somebody who was let in once is good still: what goes on after its request was let
    /// in asks again and again.
    ///
    /// # Errors
    /// That their token or key has ended meanwhile, by its time or by a revocation.
    pub fn recheck(&self, identity: &Identity) -> Result<(), Rejected> {
        let Some(checks) = &self.0 else {
            return Ok(());
        };
        let grants = checks.grants.load();
        match &identity.credential {
            Credential::Token(claims) => {
                checks.verifier.recheck(claims)?;
                grants.check(claims)
            }
            Credential::Key(id) => grants.recheck(id),
        }
    }
}

/// The gate before one route.
#[derive(Debug, Clone)]
pub struct Guard {
    /// Who is known.
    pub gate: Gate,
    /// What the route asks for.
    pub need: Need,
}

/// Middleware (`from_fn_with_state(guard, gate::check)`): lets a request pass with its
/// [`Identity`] as an extension, or refuses it in the form it speaks, REST or gRPC.
pub async fn check(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    if guard.need == Need::Nothing {
        return next.run(request).await;
    }
    let identity = match guard.gate.identify(request.headers()) {
        Ok(Some(identity)) => identity,
        Ok(None) => return next.run(request).await,
        Err(rejected) => return rejection(request.headers(), rejected),
    };
    // The span is that of the request, whose lines say from here on who sent it.
    tracing::Span::current().record("actor", identity.actor.as_str());
    let mut response = if identity.fulfils(guard.need) {
        request.extensions_mut().insert(identity.clone());
        next.run(request).await
    } else {
        let text = format!(
            "{} is needed, which {} does not have",
            guard.need, identity.actor
        );
        let is_grpc = http_error::is_grpc(request.headers());
        let mut refusal = http_error::refuse(is_grpc, Kind::Denied, &text);
        refusal.extensions_mut().insert(Reason(text));
        refusal
    };
    response.extensions_mut().insert(identity);
    response
}

fn rejection(headers: &HeaderMap, rejected: Rejected) -> Response {
    tracing::debug!(reason = %rejected, "request without a valid credential");
    let grpc = http_error::is_grpc(headers);
    let kind = rejected.kind();
    let text = rejected.to_string();
    let mut response = http_error::refuse(grpc, kind, &text);
    response.extensions_mut().insert(Reason(text));
    if !grpc && kind == Kind::Unauthenticated {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
