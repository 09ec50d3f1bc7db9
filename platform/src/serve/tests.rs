//! Serving over real sockets: the bounds on every wait by a paused clock, and the drain.

use std::convert::Infallible;
use std::sync::Mutex;

use axum::Extension;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::*;

mod drain;
mod http2;
mod secured;
mod waits;

const DRAIN: Duration = Duration::from_secs(20);

/// A served router; dropping it leaves the tasks to the test's runtime.
struct Server {
    address: SocketAddr,
    tasks: TaskGroup,
    shutdown: Shutdown,
    served: JoinHandle<()>,
}

impl Server {
    async fn start(app: Router, limits: Limits) -> Self {
        let listener = Listener::bind("127.0.0.1:0", None).await.unwrap();
        assert!(!listener.is_tls());
        Self::start_on(listener, app, limits)
    }

    fn start_on(listener: Listener, app: Router, limits: Limits) -> Self {
        let (address, tasks) = (listener.local_addr(), TaskGroup::new());
        let shutdown = Shutdown::new();
        let (group, signal) = (tasks.clone(), shutdown.clone());
        let served = tasks.spawn("serve", async move {
            serve(listener, app, limits, &group, signal, DRAIN).await;
        });
        Self {
            address,
            tasks,
            shutdown,
            served,
        }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Sends one request on a connection of its own; gives the answer's head and body.
    async fn ask(&self, request: &str) -> (String, String) {
        let mut stream = self.connect().await;
        let request = format!("{request}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        (head.to_owned(), body.to_owned())
    }
}

/// The lines of a GET that still lacks its last, empty one.
fn get_lines(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: test\r\n")
}

async fn send_get(stream: &mut TcpStream, path: &str) {
    let request = get_lines(path) + "\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
}

/// Reads one answer with a content-length from a connection that stays open.
async fn answer(stream: &mut TcpStream) -> (String, Vec<u8>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("the connection stays open"));
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).unwrap();
    let length = length.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (head, body)
}

/// How long until the server closes a connection on which it sends nothing more.
async fn closed_after(stream: &mut TcpStream) -> Duration {
    let started = Instant::now();
    let mut buffer = [0; 16];
    // A reset closes a connection too.
    let left = stream.read(&mut buffer).await.unwrap_or(0);
    assert_eq!(left, 0, "nothing is sent: {buffer:?}");
    started.elapsed()
}

/// An answer without end, and a signal for when it is given up.
fn endless() -> (Router, oneshot::Receiver<()>) {
    let (dropped, given_up) = oneshot::channel::<()>();
    let dropped = Arc::new(Mutex::new(Some(dropped)));
    let handler = async move || {
        let dropped = dropped.lock().unwrap().take();
        let bytes = futures_util::stream::repeat_with(move || {
            assert!(dropped.is_some(), "there is one endless answer");
            Ok::<_, Infallible>(Bytes::from_static(&[b'x'; 1 << 16]))
        });
        Body::from_stream(bytes)
    };
    let app = Router::new().route("/endless", get(handler));
    (app.route("/", get(async || "short")), given_up)
}

/// Answers `/held` once the test lets it.
fn held() -> (Router, Arc<Notify>, Arc<Notify>) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enter, released) = (Arc::clone(&entered), Arc::clone(&release));
    let handler = async move || {
        enter.notify_one();
        released.notified().await;
        "held"
    };
    let app = Router::new().route("/held", get(handler));
    (app.route("/", get(async || "short")), entered, release)
}

#[tokio::test]
async fn an_answer_carries_an_id_and_the_handler_sees_the_client() {
    let seen = async |Extension(PeerAddr(peer)): Extension<PeerAddr>| peer.ip().to_string();
    let server = Server::start(Router::new().route("/", get(seen)), Limits::default()).await;
    let request = get_lines("/") + "X-Request-Id: mine\r\n";
    let (head, body) = server.ask(&request).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("x-request-id: mine"), "{head}");
    assert_eq!(body, "127.0.0.1");
}

#[tokio::test]
async fn a_head_longer_than_the_limit_is_refused() {
    let limits = Limits {
        max_header_bytes: 8 << 10,
        ..Limits::default()
    };
    let app = Router::new().route("/", get(async || "ok"));
    let server = Server::start(app, limits).await;
    let padded = |bytes: usize| get_lines("/") + &format!("X-Padding: {}\r\n", "x".repeat(bytes));
    let (head, _) = server.ask(&padded(7 << 10)).await;
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let (head, _) = server.ask(&padded(9 << 10)).await;
    assert!(head.starts_with("HTTP/1.1 431 "), "{head}");
}

#[tokio::test]
async fn what_is_not_http_is_refused() {
    let server = Server::start(Router::new(), Limits::default()).await;
    let mut stream = server.connect().await;
    stream
        .write_all(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
}

#[tokio::test]
async fn a_handler_that_panics_is_answered_for_and_its_connection_goes_on() {
    let app = Router::new()
        .route("/panic", get(async || -> &str { panic!("of course") }))
        .route("/", get(async || "ok"));
    let server = Server::start(app, Limits::default()).await;
    let mut stream = server.connect().await;
    send_get(&mut stream, "/panic").await;
    let (head, body) = answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 500 "), "{head}");
    let message = "internal error, see the server's log";
    let error = serde_json::json!({"error": {"code": "internal", "message": message}});
    assert_eq!(
        serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
        error
    );
    send_get(&mut stream, "/").await;
    assert_eq!(answer(&mut stream).await.1, b"ok");
}

#[tokio::test]
async fn an_address_that_cannot_be_bound_is_named() {
    let first = Listener::bind("127.0.0.1:0", None).await.unwrap();
    let taken = first.local_addr();
    let error = Listener::bind(taken, None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("cannot listen on {taken}"));
    let Error::Bind { source, .. } = &error;
    assert_eq!(source.kind(), io::ErrorKind::AddrInUse);
    let error = Listener::bind("no port", None).await.unwrap_err();
    assert_eq!(error.to_string(), "cannot listen on no port");
}

#[test]
fn an_address_is_written_as_it_is_dialled() {
    let text = |address: Address| address.to_string();
    assert_eq!(text(("0.0.0.0", 80).into()), "0.0.0.0:80");
    assert_eq!(text(("::1", 80).into()), "[::1]:80");
    assert_eq!(text(("[::1]", 80).into()), "[::1]:80");
    assert_eq!(text(("localhost", 80).into()), "localhost:80");
    assert_eq!(text((&"host:1".to_owned()).into()), "host:1");
}

#[test]
fn there_is_always_a_slot_and_never_too_many() {
    assert_eq!(Slots::new(0).count, 1);
    assert_eq!(Slots::new(7).count, 7);
    assert_eq!(Slots::new(usize::MAX).taken(), 0);
}

#[test]
fn limits_of_any_length_do_not_overflow_clocks() {
    let limits = Limits {
        idle_timeout: Duration::MAX,
        write_timeout: Duration::MAX,
        ..Limits::default()
    };
    let bounded = limits.within_a_year();
    assert!(
        std::time::SystemTime::now()
            .checked_add(bounded.idle_timeout)
            .is_some()
    );
    assert_eq!(bounded.request_timeout, limits.request_timeout);
}
