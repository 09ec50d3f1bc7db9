//! Traces, as a receiver of OTLP gets them.

use std::sync::Arc;

use anyhow::Context as _;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use libtest_mimic::Trial;
use proto::router::v1::ExecuteRequest;
use proto::router::v1::router_service_client::RouterServiceClient;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::raw::{Raw, bind, execute, parse, sync};
use tests::{Cluster, Router, wait};

use super::receiver::{Receiver, Seen, hex};
use crate::reshard::job::{ask, begin, until};
use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_request_is_traced_from_its_client_to_the_shard,
        a_job_is_a_trace_of_its_own,
    )
    .into()
}

/// Ids that a client might make.
const SPAN: &str = "00f067aa0ba902b7";

fn trace(number: u8) -> String {
    format!("4bf92f3577b34da6a3ce929d0e0e47{number:02x}")
}

fn parent(number: u8, flags: &str) -> String {
    format!("00-{}-{SPAN}-{flags}", trace(number))
}

async fn add_router(cluster: &mut Cluster, environment: Vec<(&str, String)>) -> Outcome {
    let config = json!({ "observability": { "enable_tracing": true } });
    let mut router = Router::prepare(&cluster.etcd.endpoint(), &config)?;
    for (name, value) in environment {
        router.program.set_environment(name, &value);
    }
    router.program.start().await?;
    cluster.routers.push(router);
    Ok(())
}

/// Posts a statement over HTTP within a trace, and gives the answer.
async fn post(router: &Router, sql: &str, parent: &str) -> anyhow::Result<Value> {
    let body = json!({ "query": sql }).to_string();
    let request = http::Request::post(format!("{}/v1/execute", router.program.http()))
        .header("content-type", "application/json")
        .header("traceparent", parent)
        .body(Full::new(bytes::Bytes::from(body)))?;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request).await?;
    same!(answer.status().as_u16(), 200);
    let body = answer.into_body().collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body)?)
}

/// The span of this name, which must be within one of that name.
fn within<'a>(spans: &'a [Seen], name: &str, outer: &str) -> anyhow::Result<&'a Seen> {
    let find = |name: &str| spans.iter().find(|seen| seen.span.name == name);
    let (inner, outer) = (find(name), find(outer).context("no outer span")?);
    let inner = inner.with_context(|| format!("no span {name}"))?;
    same!(inner.span.parent_span_id, outer.span.span_id, "{name}");
    Ok(inner)
}

async fn a_request_is_traced_from_its_client_to_the_shard() -> Outcome {
    let receiver = Receiver::start().await?;
    let plan = Plan {
        routers: 0,
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await?;
    add_router(&mut cluster, receiver.environment("grpc")).await?;
    add_router(&mut cluster, receiver.environment("http/protobuf")).await?;
    let columns = "k bigint PRIMARY KEY, secret text";
    cluster.create("traced", columns, ("k", "bigint")).await?;
    for (number, router) in (1..).zip(&cluster.routers) {
        over_http(&receiver, router, number).await?;
    }
    let router = cluster.router(0)?;
    over_grpc(&receiver, router).await?;
    over_pgwire(&receiver, router).await?;
    let all = format!("{:?}", receiver.spans());
    for hidden in ["confidential", "traced", "SELECT", "INSERT"] {
        anyhow::ensure!(!all.contains(hidden), "a span tells {hidden}");
    }
    Ok(())
}

async fn over_http(receiver: &Receiver, router: &Router, number: u8) -> Outcome {
    post(
        router,
        "SELECT secret FROM traced WHERE k = 1",
        &parent(number, "01"),
    )
    .await?;
    let names = ["POST", "pool wait", "shard request"];
    let spans = receiver.trace(&trace(number), &names).await?;
    let server = spans.iter().find(|seen| seen.span.name == "POST");
    let server = server.context("the request's span")?;
    same!(hex(&server.span.parent_span_id), SPAN);
    same!(server.service, "sharding-router");
    same!(
        server.attribute("http.response.status_code").as_deref(),
        Some("200")
    );
    within(&spans, "pool wait", "POST")?;
    let shard = within(&spans, "shard request", "POST")?;
    same!(shard.attribute("sharding.route").as_deref(), Some("key"));
    anyhow::ensure!(shard.attribute("sharding.shard_id").is_some(), "no shard");
    // The shard knows, too, for its own log.
    let own = "SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let answer = post(router, own, &parent(number, "01")).await?;
    let seen = answer.to_string();
    anyhow::ensure!(
        seen.contains(&format!("traceparent='00-{}", trace(number))),
        "{seen}"
    );
    Ok(())
}

async fn over_grpc(receiver: &Receiver, router: &Router) -> Outcome {
    let mut client = RouterServiceClient::connect(router.program.grpc()).await?;
    let mut request = tonic::Request::new(ExecuteRequest {
        query: "SELECT secret FROM traced WHERE k = 1".to_owned(),
        ..ExecuteRequest::default()
    });
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent(10, "01").parse()?);
    client.execute(request).await?;
    let name = "sharding.router.v1.RouterService/Execute";
    let names = [name, "pool wait", "shard request"];
    let spans = receiver.trace(&trace(10), &names).await?;
    within(&spans, "shard request", name).map(drop)
}

async fn over_pgwire(receiver: &Receiver, router: &Router) -> Outcome {
    let mut session = Raw::connect(&router.address()).await?;
    let insert = "INSERT INTO traced (k, secret) VALUES (1, 'confidential')";
    let comment =
        |number, flags| format!("/*action='pay',traceparent='{}'*/", parent(number, flags));
    session
        .query(&format!("{insert} {}", comment(20, "01")))
        .await?;
    let names = ["query", "pool wait", "shard request"];
    let spans = receiver.trace(&trace(20), &names).await?;
    let shard = within(&spans, "shard request", "query")?;
    same!(shard.attribute("error.type"), None);
    // The same again fails on the shard.
    session
        .query(&format!("{insert} {}", comment(21, "01")))
        .await?;
    let spans = receiver.trace(&trace(21), &names).await?;
    let shard = within(&spans, "shard request", "query")?;
    same!(
        shard.attribute("error.type").as_deref(),
        Some("shard_error")
    );
    // The extended protocol, a batch a trace.
    let select = format!(
        "SELECT secret FROM traced WHERE k = $1 {}",
        comment(22, "01")
    );
    let messages = [
        parse("", &select, &[]),
        bind("", "", false, &[Some(b"1")]),
        execute("", 0),
        sync(),
    ];
    session.exchange(&messages.concat()).await?;
    let names = ["batch", "pool wait", "shard request"];
    let spans = receiver.trace(&trace(22), &names).await?;
    within(&spans, "shard request", "batch")?;
    // A client that does not sample is not sampled.
    session
        .query(&format!("SELECT 1 {}", comment(23, "00")))
        .await?;
    session
        .query(&format!("SELECT 1 {}", comment(24, "01")))
        .await?;
    receiver.trace(&trace(24), &["query"]).await?;
    let unsampled = receiver
        .spans()
        .iter()
        .filter(|seen| seen.trace() == trace(23))
        .count();
    same!(unsampled, 0);
    Ok(())
}

async fn a_job_is_a_trace_of_its_own() -> Outcome {
    let receiver = Receiver::start().await?;
    let plan = Plan {
        manager_config: json!({ "observability": { "enable_tracing": true } }),
        manager_environment: {
            let mut environment = receiver.environment("grpc");
            // Jobs are traced whatever part of requests is.
            environment.push(("OTEL_TRACES_SAMPLER", "parentbased_traceidratio".to_owned()));
            environment.push(("OTEL_TRACES_SAMPLER_ARG", "0".to_owned()));
            environment
        },
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    cluster
        .create("moved", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let split = json!({ "source_shard_id": "shard-1", "target_shards": [{ "id": "shard-2" }] });
    let job = begin(&cluster, "split", split).await?;
    until(&cluster, &job, "completed").await?;
    ask(&cluster, &job, "finish").await?;
    let root = wait::until("the job's span", wait::START, async || {
        let spans = receiver.spans();
        let root = spans.iter().find(|seen| seen.span.name == "reshard job");
        root.cloned().context("it is not there")
    })
    .await?;
    same!(root.attribute("sharding.job_id"), Some(job));
    same!(root.service, "sharding-manager");
    anyhow::ensure!(
        root.span.parent_span_id.is_empty(),
        "the root is within another span"
    );
    let names = [
        "reshard preflight",
        "reshard prepare",
        "reshard copy",
        "reshard fence",
    ];
    let spans = receiver.trace(&root.trace(), &names).await?;
    for seen in spans.iter().filter(|seen| seen.span.name != "reshard job") {
        same!(
            seen.span.parent_span_id,
            root.span.span_id,
            "{}",
            seen.span.name
        );
        anyhow::ensure!(
            seen.span.start_time_unix_nano >= root.span.start_time_unix_nano,
            "{} began before its job",
            seen.span.name
        );
    }
    let others = receiver
        .spans()
        .iter()
        .filter(|seen| seen.trace() != root.trace())
        .count();
    same!(others, 0, "requests were sampled");
    Ok(())
}
