//! The same bounds where many requests share one connection.

use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::*;

type Http2Client = Client<HttpConnector, Body>;

fn client() -> Http2Client {
    Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http()
}

fn request(server: &Server, path: &str) -> http::Request<Body> {
    let uri = format!("http://{}{path}", server.address);
    http::Request::get(uri).body(Body::empty()).unwrap()
}

async fn text(response: http::Response<hyper::body::Incoming>) -> String {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_takes_costs_its_stream_and_not_the_connection() {
    let (app, given_up) = endless();
    let limits = Limits::default();
    let server = Server::start(app, limits).await;
    let client = client();
    let started = Instant::now();
    let endless = client.request(request(&server, "/endless")).await.unwrap();
    assert_eq!(endless.status(), StatusCode::OK);
    given_up.await.unwrap_err();
    let elapsed = started.elapsed().as_secs();
    assert_eq!(elapsed, limits.write_timeout.as_secs());
    let short = client.request(request(&server, "/")).await.unwrap();
    assert_eq!(text(short).await, "short");
    assert_eq!(server.tasks.running("http connection"), 1);
    assert_eq!(server.tasks.running("http stream"), 0);
    assert!(endless.into_body().collect().await.is_err(), "it is reset");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_long_to_make_is_not_given_up() {
    let parts = futures_util::stream::unfold(0, |part| async move {
        tokio::time::sleep(Limits::default().write_timeout * 2).await;
        (part < 3).then_some((Ok::<_, Infallible>(Bytes::from_static(b"x")), part + 1))
    });
    let parts = Arc::new(Mutex::new(Some(parts)));
    let handler = async move || Body::from_stream(parts.lock().unwrap().take().unwrap());
    let app = Router::new().route("/", get(handler));
    let server = Server::start(app, Limits::default()).await;
    let response = client().request(request(&server, "/")).await.unwrap();
    assert_eq!(text(response).await, "xxx");
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_the_limit_of_a_connection_wait() {
    let (app, entered, release) = held();
    let limits = Limits {
        max_streams: 1,
        ..Limits::default()
    };
    let server = Server::start(app, limits).await;
    let client = client();
    // The first answer comes after the server's settings, which say the limit.
    let first = client.request(request(&server, "/")).await.unwrap();
    assert_eq!(text(first).await, "short");
    let mut held = std::pin::pin!(client.request(request(&server, "/held")));
    tokio::select! {
        response = held.as_mut() => panic!("{response:?}"),
        () = entered.notified() => {}
    }
    let mut next = std::pin::pin!(client.request(request(&server, "/")));
    let early = tokio::time::timeout(Duration::from_secs(5), next.as_mut()).await;
    assert!(early.is_err(), "{early:?}");
    release.notify_one();
    assert_eq!(text(held.await.unwrap()).await, "held");
    assert_eq!(text(next.await.unwrap()).await, "short");
    assert_eq!(server.tasks.running("http connection"), 1);
}

#[tokio::test]
async fn a_head_longer_than_the_limit_is_refused() {
    let app = Router::new().route(
        "/",
        get(async |headers: HeaderMap| headers.len().to_string()),
    );
    let limits = Limits {
        max_header_bytes: 8 << 10,
        ..Limits::default()
    };
    let server = Server::start(app, limits).await;
    let mut long = request(&server, "/");
    let padding = "x".repeat(9 << 10).parse().unwrap();
    long.headers_mut().insert("x-padding", padding);
    let status = client()
        .request(long)
        .await
        .map(|response| response.status());
    assert_eq!(status.unwrap(), StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn a_running_request_is_finished_while_the_server_drains() {
    let (app, entered, release) = held();
    let server = Server::start(app, Limits::default()).await;
    let client = client();
    let mut held = std::pin::pin!(client.request(request(&server, "/held")));
    tokio::select! {
        response = held.as_mut() => panic!("{response:?}"),
        () = entered.notified() => {}
    }
    server.shutdown.request();
    release.notify_one();
    assert_eq!(text(held.await.unwrap()).await, "held");
    server.served.await.unwrap();
    server.tasks.wait(DRAIN).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn streams_that_still_run_at_the_deadline_are_cut() {
    let app = Router::new().route("/never", get(std::future::pending::<&str>));
    let limits = Limits {
        request_timeout: DRAIN * 10,
        ..Limits::default()
    };
    let server = Server::start(app, limits).await;
    let started = Instant::now();
    let client = client();
    let mut never = std::pin::pin!(client.request(request(&server, "/never")));
    while server.tasks.running("http stream") == 0 {
        tokio::select! {
            biased;
            response = never.as_mut() => panic!("{response:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    server.shutdown.request();
    assert!(never.await.is_err());
    server.served.await.unwrap();
    assert_eq!(started.elapsed().as_secs(), DRAIN.as_secs());
    server.tasks.wait(Duration::from_secs(1)).await.unwrap();
}
