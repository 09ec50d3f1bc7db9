//! Every route and method with each kind of credential, made from the tables that the fronts are
//! made from; what readers, writers and whoever is limited to some groups may do.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use platform::Secret;
use platform::access::gate::Gate;
use platform::bearer::{Claims, Names, Verifier, sign};
use router::ingress::{self, Doors};
use serde_json::json;
use tests::credentials::{cases, methods_of, of_grpc, of_http};
use tower::ServiceExt as _;

use crate::setup::{Answer, Router, answer};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Doors that let in whoever has a token of a secret.
pub(crate) fn guarded(secret: &Secret) -> Doors {
    Doors {
        gate: Gate::of_tokens(Verifier::hs256(secret)),
        ..Doors::open()
    }
}

#[tokio::test]
async fn each_route_and_method_lets_in_whom_its_row_says() {
    let router = Router::start(1).await;
    let secret = Secret::new(SECRET);
    let doors = guarded(&secret);
    let http = router.http(&doors);
    for route in ingress::http::routes() {
        for case in cases(&secret, route.need) {
            let request = http::Request::builder().method(route.method.clone());
            let request = case.header.iter().fold(request, |request, header| {
                request.header("authorization", header)
            });
            let request = request.uri(route.path).body(Body::empty()).unwrap();
            let status = http.clone().oneshot(request).await.unwrap().status();
            let done = of_http(status.as_u16());
            assert_eq!(
                done,
                case.expected,
                "{}: {}: {status}",
                route.name(),
                case.name
            );
        }
    }
    let executor = Arc::clone(&router.executor);
    let grpc = ingress::grpc::router(executor, router.readiness.clone(), &doors);
    for method in ingress::grpc::METHODS {
        for case in cases(&secret, method.need) {
            let request = http::Request::post(method.path);
            let request = request.header("content-type", "application/grpc");
            let request = case.header.iter().fold(request, |request, header| {
                request.header("authorization", header)
            });
            let request = request.body(Body::from(vec![0_u8; 5])).unwrap();
            let response = grpc.clone().oneshot(request).await.unwrap();
            let status = response.headers().get("grpc-status");
            let done = of_grpc(status.and_then(|status| status.to_str().ok()));
            assert_eq!(done, case.expected, "{}: {}", method.path, case.name);
        }
    }
}

#[test]
fn the_tables_are_whole() {
    let in_table: BTreeSet<&str> = ingress::grpc::METHODS.iter().map(|row| row.path).collect();
    let described = methods_of("sharding.router.v1");
    let described: BTreeSet<&str> = described.iter().map(String::as_str).collect();
    assert_eq!(in_table, described);
    let document = ingress::http::openapi_document();
    let paths: BTreeSet<&str> = document["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let routes = ingress::http::routes();
    let routes: BTreeSet<&str> = routes.iter().map(|route| route.path).collect();
    assert_eq!(paths, routes);
}

async fn execute(router: &Router, token: &Claims, sql: &str) -> Answer {
    let secret = Secret::new(SECRET);
    let request = http::Request::post("/v1/execute")
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {}", sign(&secret, token)))
        .body(Body::from(json!({ "query": sql }).to_string()))
        .unwrap();
    let app = router.http(&guarded(&secret));
    answer(app.oneshot(request).await.unwrap()).await.unwrap()
}

#[tokio::test]
async fn readers_read_and_whoever_is_limited_to_groups_stays_there() {
    let router = Router::with_tables(1).await;
    let of = |role: &str, groups: Option<&[&str]>| Claims {
        role: Some(Names::One(role.to_owned())),
        groups: groups.map(|names| names.iter().map(|name| (*name).to_owned()).collect()),
        ..Claims::new("tester", Duration::from_secs(60))
    };
    let (reader, writer) = (of("reader", None), of("writer", None));
    let insert = "INSERT INTO orders (customer_id, id) VALUES (1, 1)";
    execute(&router, &writer, insert).await.ok();
    let select = "SELECT * FROM orders WHERE customer_id = 1";
    execute(&router, &reader, select).await.ok();
    let refused = execute(&router, &reader, "DELETE FROM orders WHERE customer_id = 1").await;
    assert_eq!(refused.error(403)["sqlstate"], "42501");
    // What a function does is seen by PostgreSQL alone.
    let hidden = "CREATE FUNCTION wipe(k bigint) RETURNS bigint LANGUAGE sql AS \
                  'DELETE FROM orders WHERE customer_id = $1 RETURNING customer_id'";
    router.shards[0].psql(hidden).await.unwrap();
    let sneaky = execute(&router, &reader, "SELECT wipe(1)").await;
    assert!(sneaky.status >= 400, "{}", sneaky.text);
    assert_eq!(execute(&router, &reader, select).await.ok()["row_count"], 1);
    // A backend that a reader had is a writer's again.
    let more = "INSERT INTO orders (customer_id, id) VALUES (1, 2)";
    execute(&router, &writer, more).await.ok();
    let texts = of("writer", Some(&["texts"]));
    let add = "INSERT INTO words (word, meaning) VALUES ('a', '{}')";
    execute(&router, &texts, add).await.ok();
    execute(&router, &texts, select).await.error(403);
    let none = of("writer", Some(&[]));
    execute(&router, &none, add).await.error(403);
    execute(&router, &none, "SELECT 1").await.ok();
}
