//! The same inside TLS.

use rustls::pki_types::ServerName;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::test_authority::Authority;

async fn start(authority: &Authority, app: Router, limits: Limits) -> Server {
    let acceptor = tls::Acceptor::load(&authority.issue("server")).unwrap();
    let listener = Listener::bind("127.0.0.1:0", Some(acceptor)).await.unwrap();
    assert!(listener.is_tls());
    Server::start_on(listener, app, limits)
}

async fn connect(authority: &Authority, server: &Server, alpn: &[&str]) -> TlsStream<TcpStream> {
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let connector = authority.client(None, alpn);
    let stream = server.connect().await;
    connector.connect(name, stream).await.unwrap()
}

#[tokio::test]
async fn requests_are_answered_inside_tls_and_in_clear_they_are_not() {
    let authority = Authority::new();
    let app = Router::new().route("/", get(async || "secured"));
    let server = start(&authority, app, Limits::default()).await;
    let mut stream = connect(&authority, &server, &["http/1.1"]).await;
    let request = get_lines("/") + "Connection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nsecured"), "{answer}");
    let stay = "strict-transport-security: max-age=31536000\r\n";
    assert!(answer.contains(stay), "{answer}");

    let mut clear = server.connect().await;
    send_get(&mut clear, "/").await;
    let mut answer = Vec::new();
    // Whatever comes before the end is TLS's own alert.
    drop(clear.read_to_end(&mut answer).await);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn http2_is_agreed_on_inside_tls() {
    let authority = Authority::new();
    let server = start(&authority, Router::new(), Limits::default()).await;
    let mut stream = connect(&authority, &server, &["h2", "http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    let mut header = [0; 9];
    stream.read_exact(&mut header).await.unwrap();
    assert_eq!(header[3], 4, "the server answers with its SETTINGS");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_finish_its_handshake_is_cut_off() {
    let authority = Authority::new();
    let limits = Limits {
        tls_handshake_timeout: Duration::from_secs(3),
        ..Limits::default()
    };
    let server = start(&authority, Router::new(), limits).await;
    let mut stream = server.connect().await;
    stream.write_all(b"\x16\x03\x01\x01").await.unwrap();
    let elapsed = closed_after(&mut stream).await;
    assert_eq!(elapsed.as_secs(), limits.tls_handshake_timeout.as_secs());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_given_up_inside_tls_too() {
    let authority = Authority::new();
    let (app, given_up) = endless();
    let limits = Limits::default();
    let server = start(&authority, app, limits).await;
    let mut stream = connect(&authority, &server, &["http/1.1"]).await;
    let request = get_lines("/endless") + "\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let started = Instant::now();
    given_up.await.unwrap_err();
    assert_eq!(started.elapsed().as_secs(), limits.write_timeout.as_secs());
}

#[tokio::test]
async fn a_handshake_that_is_going_on_does_not_hold_up_the_drain() {
    let authority = Authority::new();
    let server = start(&authority, Router::new(), Limits::default()).await;
    let mut stream = server.connect().await;
    while server.tasks.running("http connection") == 0 {
        tokio::task::yield_now().await;
    }
    server.shutdown.request();
    closed_after(&mut stream).await;
    server.served.await.unwrap();
}
