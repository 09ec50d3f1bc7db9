//! The router's gRPC front, and what every gRPC server here offers: health and reflection.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::router::v1::execute_stream_response::Part;
use proto::router::v1::router_service_client::RouterServiceClient;
use proto::router::v1::{
    ArrayValue, ExecuteRequest, ExecuteStreamRequest, Key, NullValue, ShardForKeyRequest, Value,
    key, value,
};
use tests::Cluster;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use crate::suite::{Outcome, Suite, same, shared};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        a_statement_runs_on_the_shard_of_its_key,
        values_keep_their_types,
        a_large_result_is_streamed,
        a_result_that_is_too_large_for_one_answer_is_refused,
        errors_have_the_code_of_their_kind,
        a_key_has_a_shard,
        health_and_reflection_are_served,
    )
    .into()
}

async fn channel(cluster: &Cluster) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(cluster.router(0)?.program.grpc())?
        .connect()
        .await?)
}

/// Asks the health service about the server as a whole.
pub(crate) async fn check_health(channel: Channel) -> Outcome {
    let request = HealthCheckRequest {
        service: String::new(),
    };
    let answer = HealthClient::new(channel)
        .check(request)
        .await?
        .into_inner();
    same!(answer.status(), ServingStatus::Serving);
    Ok(())
}

/// The names that reflection lists.
pub(crate) async fn reflected_services(channel: Channel) -> anyhow::Result<Vec<String>> {
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let answers = ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(request))
        .await?;
    let answer = answers
        .into_inner()
        .message()
        .await?
        .and_then(|answer| answer.message_response);
    let Some(MessageResponse::ListServicesResponse(list)) = answer else {
        anyhow::bail!("reflection answers {answer:?}");
    };
    Ok(list
        .service
        .into_iter()
        .map(|service| service.name)
        .collect())
}

fn int_key(value: i64) -> Option<Key> {
    Some(Key {
        kind: Some(key::Kind::IntValue(value)),
    })
}

fn int(value: i64) -> Value {
    Value {
        kind: Some(value::Kind::IntValue(value)),
    }
}

fn request(query: &str, params: Vec<Value>) -> ExecuteRequest {
    ExecuteRequest {
        query: query.to_owned(),
        params,
        ..ExecuteRequest::default()
    }
}

async fn a_statement_runs_on_the_shard_of_its_key(cluster: &Cluster) -> Outcome {
    cluster
        .create("grpc_runs", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let mut client = RouterServiceClient::new(channel(cluster).await?);
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        let insert = ExecuteRequest {
            shard_key: int_key(key),
            ..request(
                "INSERT INTO grpc_runs (k, v) VALUES ($1, 'x')",
                vec![int(key)],
            )
        };
        let inserted = client.execute(insert).await?.into_inner();
        same!((inserted.shard_id.as_str(), inserted.row_count), (shard, 1));
        same!(inserted.command_tag, "INSERT 0 1");
        let select = request("SELECT k, v FROM grpc_runs WHERE k = $1", vec![int(key)]);
        let read = client.execute(select).await?.into_inner();
        same!((read.shard_id.as_str(), read.row_count), (shard, 1));
        let columns: Vec<(&str, &str)> = read
            .columns
            .iter()
            .map(|c| (c.name.as_str(), c.type_name.as_str()))
            .collect();
        same!(columns, [("k", "int8"), ("v", "text")]);
        same!(read.rows[0].values[0], int(key));
        same!(
            read.rows[0].values[1].kind,
            Some(value::Kind::TextValue("x".to_owned()))
        );
        let there = cluster
            .shard(shard)?
            .psql("SELECT k FROM grpc_runs")
            .await?;
        same!(there, key.to_string());
    }
    Ok(())
}

async fn values_keep_their_types(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, b bool, f float8, t text, raw bytea, n numeric, j jsonb, \
        a int[], ts timestamptz, nothing int";
    cluster
        .create("grpc_types", columns, ("k", "bigint"))
        .await?;
    let mut client = RouterServiceClient::new(channel(cluster).await?);
    let kinds = vec![
        value::Kind::IntValue(i64::MAX),
        value::Kind::BoolValue(true),
        value::Kind::DoubleValue(f64::INFINITY),
        value::Kind::TextValue("it's".to_owned()),
        value::Kind::BytesValue(vec![0, 255]),
        value::Kind::NumericValue("12345678901234567890.0123456789".to_owned()),
        value::Kind::JsonValue("{\"a\": [1, null]}".to_owned()),
        value::Kind::ArrayValue(ArrayValue {
            values: vec![int(1), null(), int(3)],
        }),
        value::Kind::TimeValue("2024-02-29T12:34:56Z".to_owned()),
        value::Kind::NullValue(NullValue::Unspecified.into()),
    ];
    let values: Vec<Value> = kinds
        .iter()
        .map(|kind| Value {
            kind: Some(kind.clone()),
        })
        .collect();
    let slots: Vec<String> = (1..=values.len()).map(|n| format!("${n}")).collect();
    let sql = format!(
        "INSERT INTO grpc_types (k, b, f, t, raw, n, j, a, ts, nothing) VALUES ({})",
        slots.join(", ")
    );
    client.execute(request(&sql, values.clone())).await?;
    let select = request("SELECT * FROM grpc_types WHERE k = $1", vec![int(i64::MAX)]);
    let read = client.execute(select).await?.into_inner();
    for (is, wanted) in read.rows[0].values.iter().zip(&values) {
        match (&is.kind, &wanted.kind) {
            (Some(value::Kind::TimeValue(is)), Some(value::Kind::TimeValue(wanted))) => {
                same!(is.replace("+00:00", "Z"), *wanted);
            }
            (is, wanted) => same!(is, wanted),
        }
    }
    Ok(())
}

fn null() -> Value {
    Value {
        kind: Some(value::Kind::NullValue(NullValue::Unspecified.into())),
    }
}

async fn a_large_result_is_streamed(cluster: &Cluster) -> Outcome {
    cluster
        .create("grpc_stream", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut client = RouterServiceClient::new(channel(cluster).await?);
    client
        .execute(request("INSERT INTO grpc_stream (k) VALUES (7)", vec![]))
        .await?;
    let sql = "SELECT n, repeat('x', 100) FROM grpc_stream, generate_series(1, 100000) AS n \
               WHERE k = 7 ORDER BY n";
    let request = ExecuteStreamRequest {
        request: Some(request(sql, vec![])),
    };
    let mut parts = client.execute_stream(request).await?.into_inner();
    let first = parts.message().await?.and_then(|message| message.part);
    let Some(Part::Header(header)) = first else {
        anyhow::bail!("first comes {first:?}")
    };
    same!(header.columns.len(), 2);
    let mut count = 0_i64;
    let summary = loop {
        match parts.message().await?.and_then(|message| message.part) {
            Some(Part::Rows(batch)) => {
                for row in batch.rows {
                    count += 1;
                    same!(row.values[0], int(count));
                }
            }
            Some(Part::Summary(summary)) => break summary,
            part => anyhow::bail!("{part:?} among the rows"),
        }
    };
    same!((count, summary.row_count), (100_000, 100_000));
    same!(parts.message().await?, None);
    Ok(())
}

async fn a_result_that_is_too_large_for_one_answer_is_refused(cluster: &Cluster) -> Outcome {
    cluster
        .create("grpc_large", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut client = RouterServiceClient::new(channel(cluster).await?);
    client
        .execute(request("INSERT INTO grpc_large (k) VALUES (7)", vec![]))
        .await?;
    let sql = "SELECT repeat('x', 1 << 20) FROM grpc_large, generate_series(1, 100) WHERE k = 7";
    let refused = client
        .execute(request(sql, vec![]))
        .await
        .err()
        .map(|error| error.code());
    same!(refused, Some(Code::ResourceExhausted));
    let read = client
        .execute(request("SELECT k FROM grpc_large WHERE k = 7", vec![]))
        .await?;
    same!(read.into_inner().row_count, 1);
    Ok(())
}

async fn errors_have_the_code_of_their_kind(cluster: &Cluster) -> Outcome {
    cluster
        .create("grpc_errors", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut client = RouterServiceClient::new(channel(cluster).await?);
    client
        .execute(request("INSERT INTO grpc_errors (k) VALUES (7)", vec![]))
        .await?;
    for (sql, codes) in [
        (
            "INSERT INTO grpc_errors (k) VALUES (7)",
            &[Code::FailedPrecondition, Code::AlreadyExists][..],
        ),
        (
            "SELECT nowhere FROM grpc_errors WHERE k = 7",
            &[Code::InvalidArgument],
        ),
        (
            "SELECT a.k FROM grpc_errors a, grpc_errors b",
            &[Code::Unimplemented],
        ),
        (
            "SELECT * FROM grpc_errors WHERE k = 'x'",
            &[Code::InvalidArgument],
        ),
        ("", &[Code::InvalidArgument]),
    ] {
        let error = client.execute(request(sql, vec![])).await.err();
        let error = error.with_context(|| format!("{sql:?} succeeded"))?;
        anyhow::ensure!(codes.contains(&error.code()), "{sql:?}: {error:?}");
        let streamed = ExecuteStreamRequest {
            request: Some(request(sql, vec![])),
        };
        let streamed = match client.execute_stream(streamed).await {
            Err(status) => Some(status),
            Ok(mut parts) => loop {
                match parts.get_mut().message().await {
                    Err(status) => break Some(status),
                    Ok(None) => break None,
                    Ok(Some(_)) => {}
                }
            },
        };
        let code = streamed.map(|status| status.code());
        same!(code, Some(error.code()), "{sql:?} streamed");
    }
    Ok(())
}

async fn a_key_has_a_shard(cluster: &Cluster) -> Outcome {
    cluster
        .create("grpc_keys", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut client = RouterServiceClient::new(channel(cluster).await?);
    let snapshot = cluster.snapshot().await?;
    for number in [0, 1, -1, i64::MAX] {
        let request = ShardForKeyRequest {
            key: int_key(number),
            group: String::new(),
        };
        let answer = client.shard_for_key(request).await?.into_inner();
        let key = topology::Key::Bigint(number);
        let home = tests::cluster::owner(&snapshot, &key).context("the ring has vnodes")?;
        same!(
            (answer.shard_id.as_str(), answer.token),
            (home, topology::hash::token_of(&key).0)
        );
    }
    let none = ShardForKeyRequest {
        key: None,
        group: String::new(),
    };
    let error = client
        .shard_for_key(none)
        .await
        .err()
        .map(|error| error.code());
    same!(error, Some(Code::InvalidArgument));
    Ok(())
}

async fn health_and_reflection_are_served(cluster: &Cluster) -> Outcome {
    let channel = channel(cluster).await?;
    check_health(channel.clone()).await?;
    let services = reflected_services(channel).await?;
    let wanted = "sharding.router.v1.RouterService".to_owned();
    anyhow::ensure!(services.contains(&wanted), "{services:?}");
    Ok(())
}
