//! A system without a connection in clear: etcd under TLS with client certificates, users and logins
//! that end, shards that let nobody in without TLS and a password, fronts that ask for certificates.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::router::v1::ExecuteRequest;
use proto::router::v1::router_service_client::RouterServiceClient;
use serde_json::json;
use tests::authority::{Access, Authority};
use tests::cluster::Plan;
use tests::{Cluster, Router, http, wait};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::{access, shardctl};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        rows_move_while_everything_is_under_tls,
        programs_leave_an_etcd_that_they_cannot_trust,
    )
    .into()
}

/// A channel of tonic's own TLS, which is none of ours.
async fn channel(url: &str, access: &Access) -> anyhow::Result<Channel> {
    let identity = access.identity.as_ref().context("a certificate")?;
    let read = |path| std::fs::read(path);
    let own = Identity::from_pem(read(&identity.certificate)?, read(&identity.key)?);
    let root = Certificate::from_pem(read(&access.root)?);
    let tls = ClientTlsConfig::new().ca_certificate(root).identity(own);
    let endpoint = Endpoint::from_shared(url.to_owned())?.tls_config(tls)?;
    Ok(endpoint.connect().await?)
}

async fn rows_move_while_everything_is_under_tls() -> Outcome {
    let mut cluster = Cluster::start(Plan {
        shards: 1,
        spares: 1,
        managers: 2,
        authority: Some(Arc::new(Authority::new()?)),
        ..Plan::default()
    })
    .await?;
    cluster
        .create("t", "k bigint PRIMARY KEY, v text", ("k", "bigint"))
        .await?;
    let fill = "INSERT INTO t SELECT g, repeat('x', 100) FROM generate_series(1, 2000) g";
    // Rows of one shard: all of them, so far.
    cluster.shards[0].psql(fill).await?;
    every_front_answers(&cluster).await?;
    let spare = cluster.spares[0].endpoint();
    let add = format!("shards add shard-2 {spare}");
    for command in [&add, "reshard add-shard shard-2 --max-pause 2s --wait"] {
        let access = access(&cluster)?;
        let (went_well, said) = shardctl(&cluster.managers[0], access, command).await?;
        anyhow::ensure!(went_well, "{said}");
    }
    let counts = [
        cluster.shards[0].psql("SELECT count(*) FROM t").await?,
        cluster.spares[0].psql("SELECT count(*) FROM t").await?,
    ];
    let moved: u32 = counts[1].parse()?;
    anyhow::ensure!(moved > 0 && moved < 2000, "{counts:?}");
    same!(
        cluster.router(0)?.psql("SELECT count(*) FROM t").await?,
        "2000"
    );
    // etcd forgets all logins.
    cluster.etcd.restart().await?;
    let table = json!({ "name": "u", "shard_key": "k", "key_type": "bigint" });
    for manager in &cluster.managers {
        wait::until("a write by every manager", wait::SETTLE, async || {
            let answer = http::post(&manager.api("/tables"), &table).await?;
            anyhow::ensure!([201, 409].contains(&answer.status.as_u16()), "{answer:?}");
            Ok(())
        })
        .await?;
    }
    cluster.settle().await?;
    nothing_answers_in_clear(&cluster).await
}

async fn every_front_answers(cluster: &Cluster) -> Outcome {
    let (router, access) = (cluster.router(0)?, access(cluster)?);
    let encrypted = "SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    same!(router.psql(encrypted).await?, "t|TLSv1.3");
    let body = json!({ "query": "SELECT count(*) AS n FROM t" });
    let answer = router.execute(&body).await?.expect(200)?;
    same!(answer["rows"][0]["n"], json!(2000), "{answer}");
    for program in [&router.program, &cluster.managers[0].0] {
        for path in ["/healthz", "/metrics", "/v1/nothing"] {
            let url = format!("{}{path}", program.http());
            let stays = http::get(&url).await?.headers;
            let stays = stays.get("strict-transport-security");
            let stays = stays.and_then(|value| value.to_str().ok());
            same!(stays, Some("max-age=31536000"), "{url}");
        }
    }
    let channel = channel(&router.program.grpc(), access).await?;
    let request = ExecuteRequest {
        query: "SELECT k FROM t WHERE k = 7".to_owned(),
        ..ExecuteRequest::default()
    };
    RouterServiceClient::new(channel).execute(request).await?;
    for program in [
        &router.program,
        &cluster.managers[0].0,
        &cluster.managers[1].0,
    ] {
        let metrics = program.metrics().await?;
        for used_for in ["fronts", "managers", "shards", "etcd"] {
            let labels = format!("part=\"authority\",used_for=\"{used_for}\"");
            let line = format!("tls_certificate_expiry_seconds{{{labels}}} ");
            anyhow::ensure!(metrics.contains(&line), "no {line} in {metrics}");
        }
    }
    for manager in &cluster.managers {
        let (went_well, said) = shardctl(manager, access, "status").await?;
        anyhow::ensure!(went_well && said.contains("shard-1"), "{said}");
    }
    // With the scheme and without it.
    let named = router.program.metrics_url();
    let named = named.trim_end_matches("/metrics");
    let bare = cluster.managers[0].0.metrics_url();
    let bare = bare
        .trim_start_matches("https://")
        .trim_end_matches("/metrics");
    let top = format!("top --once --interval 200ms -o json --metrics {named},{bare}");
    let (went_well, said) = shardctl(&cluster.managers[0], access, &top).await?;
    let top: serde_json::Value = serde_json::from_str(&said).context(said)?;
    anyhow::ensure!(went_well && top["unread"] == json!({}), "{top}");
    same!(top["routers"].as_array().map(Vec::len), Some(1));
    Ok(())
}

async fn nothing_answers_in_clear(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    for program in [&router.program, &cluster.managers[0].0] {
        for url in [program.http(), program.grpc(), program.metrics_url()] {
            let clear = url.replace("https://", "http://");
            let answer = http::get(&clear).await;
            anyhow::ensure!(answer.is_err(), "{clear} answers {answer:?}");
        }
    }
    let in_clear = async |port: u16, password: Option<String>| {
        let mut command = router.address().command("psql");
        command
            .env("PGSSLMODE", "disable")
            .env("PGPORT", port.to_string());
        command.env("PGPASSWORD", password.unwrap_or_default());
        let output = command.args(["-X", "-c", "SELECT 1"]).output().await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        anyhow::Ok((output.status.success(), said))
    };
    let (let_in, said) = in_clear(router.address().port, None).await?;
    anyhow::ensure!(
        !let_in && said.contains("encrypted connections only"),
        "{said}"
    );
    let shard = cluster.shards[0].address();
    let (let_in, said) = in_clear(shard.port, shard.password).await?;
    anyhow::ensure!(!let_in && said.contains("no encryption"), "{said}");
    let etcd = http::get(&format!("http://{}/health", cluster.etcd.endpoint())).await;
    // Go answers such clients once, by a text that says what it wants.
    anyhow::ensure!(etcd.is_err() || etcd.is_ok_and(|answer| answer.status == 400));
    Ok(())
}

async fn programs_leave_an_etcd_that_they_cannot_trust() -> Outcome {
    let (ours, theirs) = (Authority::new()?, Authority::new()?);
    let etcd = tests::Etcd::start_secured(&ours).await?;
    let (own, stranger) = (ours.issue("router")?, theirs.issue("router")?);
    let (user, password) = tests::etcd::LOGIN;
    for (root, own, password, complaint) in [
        (theirs.root(), &own, password, "invalid peer certificate"),
        (ours.root(), &stranger, password, "UnknownCA"),
        (ours.root(), &own, "another", "invalid user ID or password"),
    ] {
        let metadata = json!({
            "tls_ca_path": root, "tls_cert_path": own.certificate, "tls_key_path": own.key,
        });
        let config = json!({ "metadata": metadata });
        let mut router = Router::prepare(&etcd.endpoint(), &config)?;
        router.program.set_environment("ETCD_USERNAME", user);
        router.program.set_environment("ETCD_PASSWORD", password);
        router.program.launch()?;
        wait::until(complaint, wait::SETTLE, async || {
            let log = router.program.log();
            anyhow::ensure!(log.contains(complaint), "{log}");
            Ok(())
        })
        .await?;
        let ready = http::get(&format!("{}/readyz", router.program.http())).await?;
        same!(ready.status.as_u16(), 503);
        anyhow::ensure!(
            !router.program.log().contains(password),
            "it logs the password"
        );
    }
    Ok(())
}
