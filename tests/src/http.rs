//! A small HTTP client: one request, its status and its body. No TLS.

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The body as text.
    pub body: String,
    /// The headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Errors
    /// When it is not JSON; the text is part of the error.
    pub fn json(&self) -> anyhow::Result<Value> {
        serde_json::from_str(&self.body)
            .with_context(|| format!("not JSON, status {}: {}", self.status, self.body))
    }

    /// The body as JSON of an answer that must have this status.
    ///
    /// # Errors
    /// When the status is another one, or the body is not JSON.
    pub fn expect(&self, status: u16) -> anyhow::Result<Value> {
        anyhow::ensure!(
            self.status.as_u16() == status,
            "status {} instead of {status}: {}",
            self.status,
            self.body
        );
        if self.body.is_empty() {
            Ok(Value::Null)
        } else {
            self.json()
        }
    }
}

/// Sends a request without a body.
///
/// # Errors
/// When no answer comes.
pub async fn get(url: &str) -> anyhow::Result<Answer> {
    send(Method::GET, url, None).await
}

/// Sends JSON.
///
/// # Errors
/// When no answer comes.
pub async fn post(url: &str, body: &Value) -> anyhow::Result<Answer> {
    send(Method::POST, url, Some(body.to_string())).await
}

/// Sends JSON that changes what is there.
///
/// # Errors
/// When no answer comes.
pub async fn patch(url: &str, body: &Value) -> anyhow::Result<Answer> {
    send(Method::PATCH, url, Some(body.to_string())).await
}

/// Deletes.
///
/// # Errors
/// When no answer comes.
pub async fn delete(url: &str) -> anyhow::Result<Answer> {
    send(Method::DELETE, url, None).await
}

/// Sends any request; a body is called JSON whatever it holds.
///
/// # Errors
/// When no answer comes.
pub async fn send(method: Method, url: &str, body: Option<String>) -> anyhow::Result<Answer> {
    send_with(method, url, &[], body).await
}

/// As [`send`], with headers.
///
/// # Errors
/// When no answer comes.
pub async fn send_with(
    method: Method,
    url: &str,
    headers: &[(&str, &str)],
    body: Option<String>,
) -> anyhow::Result<Answer> {
    let mut request = Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
    // A client of its own for each request: no connection outlives the server it leads to.
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client
        .request(request)
        .await
        .with_context(|| format!("request {url}"))?;
    let status = answer.status();
    let headers = answer.headers().clone();
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(Answer {
        status,
        body: String::from_utf8_lossy(&body).into_owned(),
        headers,
    })
}
