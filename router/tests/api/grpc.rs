//! The gRPC front over a real connection.

use std::sync::Arc;
use std::time::Duration;

use platform::serve::{self, Listener};
use platform::{Secret, Shutdown};
use proto::router::v1::execute_stream_response::Part;
use proto::router::v1::router_service_client::RouterServiceClient;
use proto::router::v1::value::Kind;
use proto::router::v1::{
    ArrayValue, ExecuteRequest, ExecuteStreamRequest, Key, ShardForKeyRequest, Value, key,
};
use router::ingress::{self, Doors};
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::access::guarded;
use crate::setup::Router;

async fn serve(router: &Router, doors: &Doors) -> (Channel, Shutdown) {
    let listener = Listener::bind("127.0.0.1:0", None).await.unwrap();
    let address = listener.local_addr();
    let executor = Arc::clone(&router.executor);
    let app = ingress::grpc::router(executor, router.readiness.clone(), doors);
    let (tasks, shutdown) = (router.tasks.clone(), Shutdown::new());
    let stop = shutdown.clone();
    let serving = async move {
        let deadline = Duration::from_secs(1);
        serve::serve(
            listener,
            app,
            serve::Limits::default(),
            &tasks,
            stop,
            deadline,
        )
        .await;
    };
    drop(router.tasks.spawn("grpc", serving));
    let channel = Channel::from_shared(format!("http://{address}")).unwrap();
    (channel.connect().await.unwrap(), shutdown)
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn int_key(key: i64) -> Option<Key> {
    let kind = Some(key::Kind::IntValue(key));
    Some(Key { kind })
}

fn statement(query: &str, params: Vec<Kind>) -> ExecuteRequest {
    ExecuteRequest {
        query: query.to_owned(),
        params: params.into_iter().map(value).collect(),
        ..ExecuteRequest::default()
    }
}

#[tokio::test]
async fn statements_run_where_their_key_is() {
    let router = Router::with_tables(2).await;
    let (channel, _stop) = serve(&router, &Doors::open()).await;
    let mut client = RouterServiceClient::new(channel);
    for customer in [1, 2, 3, i64::MAX] {
        let params = vec![Kind::IntValue(customer), Kind::TextValue("a".to_owned())];
        let mut insert = statement(
            "INSERT INTO orders (customer_id, id, note) VALUES ($1, 1, $2)",
            params,
        );
        insert.shard_key = int_key(customer);
        let written = client.execute(insert).await.unwrap().into_inner();
        assert_eq!(
            (written.row_count, &*written.command_tag),
            (1, "INSERT 0 1")
        );
        let sql = "SELECT customer_id, note, NULL::int AS n FROM orders WHERE customer_id = $1";
        let select = statement(sql, vec![Kind::IntValue(customer)]);
        let read = client.execute(select).await.unwrap().into_inner();
        assert_eq!(read.rows[0].values[0], value(Kind::IntValue(customer)));
        assert_eq!(
            read.rows[0].values[1],
            value(Kind::TextValue("a".to_owned()))
        );
        assert_eq!(read.rows[0].values[2], value(Kind::NullValue(0)));
        assert_eq!(read.columns[0].type_name, "int8");
        let located = ShardForKeyRequest {
            key: int_key(customer),
            group: String::new(),
        };
        let located = client.shard_for_key(located).await.unwrap().into_inner();
        assert_eq!((&located.shard_id, located.epoch), (&read.shard_id, 7));
        assert_eq!(written.shard_id, read.shard_id);
    }
}

#[tokio::test]
async fn values_keep_their_types() {
    let router = Router::start(1).await;
    let (channel, _stop) = serve(&router, &Doors::open()).await;
    let mut client = RouterServiceClient::new(channel);
    let array = |values: Vec<Kind>| {
        Kind::ArrayValue(ArrayValue {
            values: values.into_iter().map(value).collect(),
        })
    };
    for (cast, kind) in [
        ("bool", Kind::BoolValue(false)),
        ("int8", Kind::IntValue(i64::MIN)),
        ("float8", Kind::DoubleValue(5e-324)),
        ("float8", Kind::DoubleValue(f64::INFINITY)),
        ("text", Kind::TextValue("\u{e9}\n".to_owned())),
        ("bytea", Kind::BytesValue(vec![0, 1, 255])),
        (
            "numeric",
            Kind::NumericValue("12345678901234567890.10".to_owned()),
        ),
        ("jsonb", Kind::JsonValue(r#"{"a": 1}"#.to_owned())),
        ("timestamptz", Kind::TimeValue("infinity".to_owned())),
        (
            "timestamp",
            Kind::TimeValue("2024-01-02T03:04:05".to_owned()),
        ),
        (
            "int4[]",
            array(vec![array(vec![Kind::IntValue(1), Kind::NullValue(0)])]),
        ),
        ("bytea[]", array(vec![Kind::BytesValue(vec![0xff])])),
    ] {
        let sql = format!("SELECT $1::{cast}");
        let answer = client
            .execute(statement(&sql, vec![kind.clone()]))
            .await
            .unwrap();
        assert_eq!(answer.into_inner().rows[0].values[0], value(kind), "{cast}");
    }
}

#[tokio::test]
async fn errors_have_a_code_and_a_sqlstate() {
    let router = Router::with_tables(1).await;
    let (channel, _stop) = serve(&router, &Doors::open()).await;
    let mut client = RouterServiceClient::new(channel);
    for (sql, code, sqlstate) in [
        ("SELEC", Code::InvalidArgument, "42601"),
        ("SELECT 1/0", Code::InvalidArgument, "22012"),
        ("BEGIN", Code::Unimplemented, "0A000"),
        (
            "SELECT a.id FROM orders a, orders b",
            Code::Unimplemented,
            "0A000",
        ),
    ] {
        let status = client.execute(statement(sql, vec![])).await.unwrap_err();
        assert_eq!(status.code(), code, "{sql}: {status}");
        assert_eq!(status.metadata().get("sqlstate").unwrap(), sqlstate);
        if sqlstate == "0A000" {
            assert!(status.metadata().get("hint").is_some(), "{sql}");
        }
    }
    let mut slow = statement("SELECT pg_sleep(30)", vec![]);
    slow.timeout_ms = 200;
    let status = client.execute(slow).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let mut unset = statement("SELECT $1::int", vec![]);
    unset.params = vec![Value { kind: None }];
    let status = client.execute(unset).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    router.quiet().await;
}

#[tokio::test]
async fn a_result_that_is_too_long_is_refused_and_can_be_streamed() {
    let router = Router::with_tables(1).await;
    let limits = ingress::Limits {
        max_result_bytes: 100_000,
        ..ingress::Limits::default()
    };
    let doors = Doors {
        limits,
        ..Doors::open()
    };
    let (channel, _stop) = serve(&router, &doors).await;
    let mut client = RouterServiceClient::new(channel);
    let sql = "SELECT g, repeat('x', 100) FROM generate_series(1, 20000) AS g";
    let status = client.execute(statement(sql, vec![])).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("ExecuteStream"));
    router.quiet().await;

    let insert = "INSERT INTO orders (customer_id, id, note) SELECT 1, g, repeat('x', 100) \
                  FROM generate_series(1, 5000) AS g RETURNING *";
    let mut insert = statement(insert, vec![]);
    insert.shard_key = int_key(1);
    let status = client.execute(insert).await.unwrap_err();
    if status.code() == Code::ResourceExhausted {
        assert!(status.message().contains("took effect"), "{status}");
        assert_eq!(
            router.shards[0]
                .psql("SELECT count(*) FROM orders")
                .await
                .unwrap(),
            "5000"
        );
    } else {
        // Routing may refuse INSERT ... SELECT.
        assert_eq!(status.code(), Code::Unimplemented, "{status}");
    }

    let request = ExecuteStreamRequest {
        request: Some(statement(sql, vec![])),
    };
    let mut parts = client.execute_stream(request).await.unwrap().into_inner();
    let (mut rows, mut batches, mut headers) = (0, 0, 0);
    let summary = loop {
        match parts.message().await.unwrap().unwrap().part.unwrap() {
            Part::Header(header) => {
                headers += 1;
                assert_eq!(header.columns.len(), 2);
                assert_eq!((header.shard_id.as_str(), batches), ("a", 0));
            }
            Part::Rows(batch) => {
                batches += 1;
                rows += batch.rows.len();
            }
            Part::Summary(summary) => break summary,
        }
    };
    assert_eq!((headers, rows, summary.row_count), (1, 20_000, 20_000));
    assert!(batches > 10, "{batches}");
    assert!(parts.message().await.unwrap().is_none());
}

#[tokio::test]
async fn a_stream_that_is_dropped_stops_its_statement() {
    let router = Router::start(1).await;
    let (channel, _stop) = serve(&router, &Doors::open()).await;
    let mut client = RouterServiceClient::new(channel);
    let sql = "SELECT g, repeat('x', 1000) FROM generate_series(1, 1000000) AS g";
    let request = ExecuteStreamRequest {
        request: Some(statement(sql, vec![])),
    };
    let mut parts = client.execute_stream(request).await.unwrap().into_inner();
    parts.message().await.unwrap().unwrap();
    assert_eq!(router.busy(0).await, "1");
    drop(parts);
    router.quiet().await;
}

#[tokio::test]
async fn health_is_open_and_follows_readiness_and_calls_need_a_token() {
    let router = Router::start(1).await;
    let secret = Secret::new("0123456789abcdef0123456789abcdef");
    let (channel, _stop) = serve(&router, &guarded(&secret)).await;
    let mut health = HealthClient::new(channel.clone());
    let of = |service: &str| HealthCheckRequest {
        service: service.to_owned(),
    };
    let name = "sharding.router.v1.RouterService";
    for (ready, status) in [
        (Ok(()), ServingStatus::Serving),
        (Err("no topology".to_owned()), ServingStatus::NotServing),
    ] {
        router.readiness.set("topology", ready);
        for service in ["", name] {
            let answer = health.check(of(service)).await.unwrap().into_inner();
            assert_eq!(answer.status(), status);
        }
    }
    assert_eq!(
        health.check(of("other")).await.unwrap_err().code(),
        Code::NotFound
    );
    let mut watch = health.watch(of("")).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::NotServing);
    router.readiness.set("topology", Ok(()));
    let second = watch.message().await.unwrap().unwrap();
    assert_eq!(second.status(), ServingStatus::Serving);
    router.readiness.drain();
    let third = watch.message().await.unwrap().unwrap();
    assert_eq!(third.status(), ServingStatus::NotServing);
    assert!(watch.message().await.unwrap().is_none());

    let mut client = RouterServiceClient::new(channel.clone());
    let status = client
        .execute(statement("SELECT 1", vec![]))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let token =
        platform::bearer::sign_hs256(&secret, "tester", &["reader"], Duration::from_secs(60));
    let mut request = tonic::Request::new(statement("SELECT 1", vec![]));
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    client.execute(request).await.unwrap();
}
