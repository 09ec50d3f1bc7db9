//! A small HTTP client: one request, its status and its body. Under TLS it is curl that asks, with
//! what [`secure`] gave it for that server.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::authority::Access;

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
    if let Some(access) = access_of(url) {
        return by_curl(&access, &method, url, body).await;
    }
    send_with(method, url, &[], body).await
}

/// As [`send`] in clear, with headers.
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

static SECURED: Mutex<BTreeMap<String, Access>> = Mutex::new(BTreeMap::new());

/// From now on, requests for this `https://host:port` go with this access.
pub fn secure(origin: &str, access: Access) {
    let mut secured = SECURED.lock().unwrap_or_else(PoisonError::into_inner);
    secured.insert(origin.to_owned(), access);
}

fn access_of(url: &str) -> Option<Access> {
    let rest = url.strip_prefix("https://")?;
    let authority = rest.split('/').next()?;
    let secured = SECURED.lock().unwrap_or_else(PoisonError::into_inner);
    secured.get(&format!("https://{authority}")).cloned()
}

/// As [`send`], over TLS with this access.
///
/// # Errors
/// When no answer comes; what curl says of it.
pub async fn by_curl(
    access: &Access,
    method: &Method,
    url: &str,
    body: Option<String>,
) -> anyhow::Result<Answer> {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "60", "-w", "\n%{http_code}"]);
    command.args(["-D", "/dev/stderr"]);
    command
        .args(["-X", method.as_str(), "--cacert"])
        .arg(&access.root);
    if let Some(identity) = &access.identity {
        command.arg("--cert").arg(&identity.certificate);
        command.arg("--key").arg(&identity.key);
    }
    if body.is_some() {
        command.args([
            "-H",
            "content-type: application/json",
            "--data-binary",
            "@-",
        ]);
    }
    command.arg(url).kill_on_drop(true);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().context("run curl")?;
    let mut input = child.stdin.take().context("the input is a pipe")?;
    input.write_all(body.unwrap_or_default().as_bytes()).await?;
    drop(input);
    let output = child.wait_with_output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(
        output.status.success(),
        "request {url}: {}",
        said.trim_end()
    );
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').context("curl says the status")?;
    Ok(Answer {
        status: status.parse()?,
        body: body.to_owned(),
        headers: headers_in(&said),
    })
}

/// The headers of an answer as it came, a line each.
fn headers_in(head: &str) -> HeaderMap {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim_end()).ok()?))
        })
        .collect()
}
