//! What happens to connections when the process is going to stop.

use super::*;

#[tokio::test]
async fn a_running_request_is_finished_and_idle_connections_are_closed() {
    let (app, entered, release) = held();
    let server = Server::start(app, Limits::default()).await;
    let mut idle = server.connect().await;
    send_get(&mut idle, "/").await;
    assert_eq!(answer(&mut idle).await.1, b"short");
    let mut running = server.connect().await;
    send_get(&mut running, "/held").await;
    entered.notified().await;

    server.shutdown.request();
    closed_after(&mut idle).await;
    assert!(!server.served.is_finished());
    release.notify_one();
    let (head, body) = answer(&mut running).await;
    assert_eq!(body, b"held");
    assert!(head.contains("connection: close"), "{head}");
    server.served.await.unwrap();
    let refused = TcpStream::connect(server.address).await.unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    server.tasks.wait(DRAIN).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_still_runs_at_the_deadline_is_cut() {
    let app = Router::new().route("/never", get(std::future::pending::<&str>));
    let limits = Limits {
        request_timeout: DRAIN * 10,
        ..Limits::default()
    };
    let server = Server::start(app, limits).await;
    let mut stream = server.connect().await;
    send_get(&mut stream, "/never").await;
    let mut silent = server.connect().await;
    while server.tasks.running("http connection") < 2 {
        tokio::task::yield_now().await;
    }
    let log = crate::captured_log::CapturedLog::begin();
    let started = Instant::now();
    server.shutdown.request();
    closed_after(&mut silent).await;
    assert!(started.elapsed() < Duration::from_secs(2));
    closed_after(&mut stream).await;
    server.served.await.unwrap();
    assert_eq!(started.elapsed().as_secs(), DRAIN.as_secs());
    server.tasks.wait(Duration::ZERO).await.unwrap();
    let text = log.text();
    assert!(
        text.contains("connections cut at the drain deadline"),
        "{text}"
    );
    assert!(text.contains("\"count\":1"), "{text}");
}

#[tokio::test]
async fn a_server_without_clients_ends_at_once() {
    let server = Server::start(Router::new(), Limits::default()).await;
    server.shutdown.request();
    server.served.await.unwrap();
    server.tasks.wait(DRAIN).await.unwrap();
}
