//! Bearer tokens: JWTs signed with HS256 and a shared secret, checked before any handler runs.
//!
//! Only who calls is decided here, not what they may do.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::{Kind, Secret, http_error};

/// By how much clocks may differ.
const LEEWAY_SECONDS: u64 = 30;

/// A longer token is not parsed.
const MAX_TOKEN_BYTES: usize = 8 << 10;

/// What a valid token says; found among a request's extensions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who calls.
    pub sub: String,
    /// Until when the token is valid, in seconds since 1970.
    pub exp: u64,
}

/// Why a request has no identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// There is no `authorization` header.
    #[error("a bearer token is needed")]
    Missing,
    /// The header does not hold `Bearer` and a token.
    #[error("the authorization header must hold \"Bearer\" and a token")]
    NotBearer,
    /// The token is no JWT, or does not say `sub` and `exp` as it must.
    #[error("the token is malformed or lacks the claims sub and exp")]
    Malformed,
    /// The token is signed with another key or algorithm, or meant for somebody else.
    #[error("the token is not valid here")]
    Untrusted,
    /// The token's time is over, or has not begun.
    #[error("the token has expired or is not valid yet")]
    Expired,
}

impl Rejected {
    /// The kind of every rejection.
    #[must_use]
    pub fn kind(self) -> Kind {
        Kind::Unauthenticated
    }
}

/// Checks tokens against one secret.
#[derive(Clone)]
pub struct Verifier {
    key: DecodingKey,
    rules: Validation,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bearer::Verifier")
    }
}

impl Verifier {
    /// Accepts tokens signed with HS256 and this secret, and no others.
    #[must_use]
    pub fn hs256(secret: &Secret) -> Self {
        let mut rules = Validation::new(Algorithm::HS256);
        rules.required_spec_claims = HashSet::from(["exp", "sub"].map(str::to_owned));
        rules.validate_nbf = true;
        rules.leeway = LEEWAY_SECONDS;
        Self {
            key: DecodingKey::from_secret(secret.expose().as_bytes()),
            rules,
        }
    }

    /// Checks the value of an `authorization` header.
    ///
    /// # Errors
    /// Why the caller is not known. The reasons may be shown to them.
    pub fn verify(&self, header_value: Option<&str>) -> Result<Claims, Rejected> {
        let (scheme, token) = header_value
            .ok_or(Rejected::Missing)?
            .split_once(' ')
            .ok_or(Rejected::NotBearer)?;
        let token = token.trim_matches(' ');
        if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
            return Err(Rejected::NotBearer);
        }
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejected::Malformed);
        }
        match jsonwebtoken::decode::<Claims>(token, &self.key, &self.rules) {
            Ok(token) => Ok(token.claims),
            Err(error) => Err(rejection(error.kind())),
        }
    }
}

/// The library's errors are many and may grow; what is not known means that the token is not
/// trusted.
fn rejection(error: &ErrorKind) -> Rejected {
    match error {
        ErrorKind::ExpiredSignature | ErrorKind::ImmatureSignature => Rejected::Expired,
        ErrorKind::InvalidToken
        | ErrorKind::MissingRequiredClaim(_)
        | ErrorKind::InvalidClaimFormat(_)
        | ErrorKind::Base64(_)
        | ErrorKind::Json(_)
        | ErrorKind::Utf8(_) => Rejected::Malformed,
        _ => Rejected::Untrusted,
    }
}

/// Middleware (`axum::middleware::from_fn_with_state(verifier, bearer::require)`): lets a request
/// pass with its [`Claims`] as an extension, or refuses it in the form it speaks, REST or gRPC.
/// Without a verifier every request passes, without claims.
pub async fn require(
    State(verifier): State<Option<Verifier>>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(verifier) = verifier else {
        return next.run(request).await;
    };
    let header = request.headers().get(AUTHORIZATION);
    // A header that is no text cannot be a token.
    let header = header.map(|value| value.to_str().unwrap_or_default());
    match verifier.verify(header) {
        Ok(claims) => {
            request.extensions_mut().insert(claims);
            next.run(request).await
        }
        Err(rejected) => {
            tracing::debug!(reason = %rejected, "request without a valid token");
            let grpc = http_error::is_grpc(request.headers());
            let mut response = http_error::refuse(grpc, rejected.kind(), &rejected.to_string());
            if !grpc {
                let challenge = HeaderValue::from_static("Bearer");
                response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
            }
            response
        }
    }
}

/// A token for `sub`, valid for `ttl` from now: for tests and tools.
#[must_use]
pub fn sign_hs256(secret: &Secret, sub: &str, ttl: Duration) -> String {
    let since_1970 = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let claims = Claims {
        sub: sub.to_owned(),
        exp: since_1970.saturating_add(ttl).as_secs(),
    };
    let key = EncodingKey::from_secret(secret.expose().as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key)
        .expect("HS256 signs any claims with any secret")
}

#[cfg(test)]
mod tests;
