//! No client can keep a connection, a request or an answer for longer than its limit.

use super::*;

fn app() -> Router {
    let slow = async || {
        tokio::time::sleep(Duration::from_secs(25)).await;
        "slow"
    };
    Router::new()
        .route("/", get(async || "ok"))
        .route("/slow", get(slow))
        .route("/never", get(std::future::pending::<&str>))
        .route("/body", axum::routing::post(async |body: Bytes| body))
}

fn assert_about(elapsed: Duration, expected: Duration) {
    // The grace of hanging up, and the milliseconds to which times are rounded up.
    let latest = expected + Duration::from_millis(1_100);
    assert!((expected..=latest).contains(&elapsed), "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_nothing_is_cut_off() {
    let limits = Limits::default();
    let server = Server::start(app(), limits).await;
    let mut stream = server.connect().await;
    let elapsed = closed_after(&mut stream).await;
    assert_about(elapsed, limits.header_read_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_byte_by_byte_is_cut_off() {
    let limits = Limits::default();
    let server = Server::start(app(), limits).await;
    let (mut reads, mut writes) = server.connect().await.into_split();
    let started = Instant::now();
    let drip = async {
        for byte in get_lines("/").bytes() {
            if writes.write_u8(byte).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        std::future::pending::<()>().await;
    };
    let mut buffer = [0; 16];
    let left = tokio::select! {
        () = drip => 0,
        read = reads.read(&mut buffer) => read.unwrap_or(0),
    };
    assert_eq!(left, 0);
    // The clock of the test may go on while the first bytes are still on their way.
    let late = started.elapsed().saturating_sub(limits.header_read_timeout);
    assert!(late < Duration::from_secs(5), "{late:?} late");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_comes_byte_by_byte_is_bounded_with_its_request() {
    let limits = Limits::default();
    let server = Server::start(app(), limits).await;
    let mut stream = server.connect().await;
    let head = "POST /body HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\nx";
    stream.write_all(head.as_bytes()).await.unwrap();
    let started = Instant::now();
    let (head, _) = answer(&mut stream).await;
    assert!(head.starts_with("http/1.1 504 "), "{head}");
    assert_about(started.elapsed(), limits.request_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_next_request_is_ended() {
    let limits = Limits::default();
    let server = Server::start(app(), limits).await;
    let mut stream = server.connect().await;
    for _ in 0..2 {
        send_get(&mut stream, "/").await;
        assert_eq!(answer(&mut stream).await.1, b"ok");
        // Longer than a head may take, but not than a client may rest.
        tokio::time::sleep(limits.header_read_timeout * 2).await;
    }
    send_get(&mut stream, "/").await;
    assert_eq!(answer(&mut stream).await.1, b"ok");
    assert_about(closed_after(&mut stream).await, limits.idle_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_running_request_is_not_idle() {
    let limits = Limits {
        header_read_timeout: Duration::from_secs(1),
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let server = Server::start(app(), limits).await;
    let mut stream = server.connect().await;
    send_get(&mut stream, "/slow").await;
    assert_eq!(answer(&mut stream).await.1, b"slow");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_not_answered_in_time_is_answered_for() {
    let limits = Limits::default();
    let server = Server::start(app(), limits).await;
    let started = Instant::now();
    let (head, body) = server.ask(&get_lines("/never")).await;
    assert_eq!(
        started.elapsed().as_secs(),
        limits.request_timeout.as_secs()
    );
    assert!(head.starts_with("HTTP/1.1 504 "), "{head}");
    assert!(
        body.contains("the request was not answered within 30s"),
        "{body}"
    );
    let call = get_lines("/never") + "Content-Type: application/grpc\r\n";
    let (head, _) = server.ask(&call).await;
    assert!(head.contains("grpc-status: 4"), "{head}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_is_given_up() {
    let (app, given_up) = endless();
    let limits = Limits::default();
    let server = Server::start(app, limits).await;
    let mut stream = server.connect().await;
    send_get(&mut stream, "/endless").await;
    let started = Instant::now();
    given_up.await.unwrap_err();
    assert_about(started.elapsed(), limits.write_timeout);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_gets_all_of_a_long_answer() {
    const LENGTH: usize = 32 << 20;
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let app = Router::new().route("/", get(async || vec![b'x'; LENGTH]));
    let server = Server::start(app, limits).await;
    let mut stream = server.connect().await;
    send_get(&mut stream, "/").await;
    let mut head = [0; 1 << 10];
    let mut read = stream.read(&mut head).await.unwrap();
    let mut part = vec![0; 1 << 20];
    while read < LENGTH {
        // The kernel asks for more only when a good part of its buffer is free.
        tokio::time::sleep(limits.write_timeout / 10).await;
        let wanted = part.len().min(LENGTH - read);
        stream.read_exact(&mut part[..wanted]).await.unwrap();
        read += wanted;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_beyond_the_limit_wait_for_a_free_slot() {
    let (app, entered, release) = held();
    let limits = Limits {
        max_connections: 1,
        ..Limits::default()
    };
    let server = Server::start(app, limits).await;
    let mut first = server.connect().await;
    send_get(&mut first, "/held").await;
    entered.notified().await;
    let mut second = server.connect().await;
    send_get(&mut second, "/").await;
    // The clock only moves on when nothing is left to be done.
    let early = tokio::time::timeout(Duration::from_secs(5), second.readable()).await;
    assert!(early.is_err(), "the second connection is not served yet");
    assert_eq!(server.tasks.running("http connection"), 1);
    release.notify_one();
    assert_eq!(answer(&mut first).await.1, b"held");
    drop(first);
    assert_eq!(answer(&mut second).await.1, b"short");
}
