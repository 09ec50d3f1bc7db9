//! What is streamed about a job ends with the credential that it was asked for by.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use platform::bearer::{Claims, Names, sign};
use platform::{Secret, bearer};
use proto::manager::v1;
use proto::manager::v1::reshard_service_client::ReshardServiceClient;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::{Cluster, Manager, Postgres, http as client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Code, Request, Streaming};

use super::{PASSWORD, SECRET, call, create_key, led, set_up};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: what_is_streamed_about_a_job_ends_with_the_credential).into()
}

/// Within which an end is seen: streams look four times a second, and grants are watched.
const SOON: Duration = Duration::from_secs(5);

async fn what_is_streamed_about_a_job_ends_with_the_credential() -> Outcome {
    let (cluster, shards) = prepare().await?;
    let manager = cluster.manager(0)?;
    let root = set_up(manager).await?;
    // The copy of a job waits for whoever writes on its source.
    let writer = shards.first().context("a shard")?.client().await?;
    let job = long_job(manager, &root, &shards, &writer).await?;
    let mut lasting = Events::open(manager, &job, &root).await?;
    key_is_revoked(manager, &root, &job).await?;
    session_is_ended(manager, &root, &job).await?;
    token_expires(manager, &job).await?;
    // All the while one that is good still went on.
    anyhow::ensure!(
        timeout(Duration::from_millis(600), lasting.rest())
            .await
            .is_err(),
        "a stream has ended whose token is good"
    );
    writer.batch_execute("COMMIT").await?;
    Ok(())
}

async fn prepare() -> anyhow::Result<(Cluster, Vec<Postgres>)> {
    let plan = Plan {
        shards: 0,
        routers: 0,
        manager_config: json!({
            "security": { "enable_rbac": true, "jwt_secret": SECRET, "jwt_leeway": "0s" },
        }),
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    led(cluster.manager(0)?).await?;
    let shards = vec![Postgres::start().await?, Postgres::start().await?];
    Ok((cluster, shards))
}

/// Starts a job that lasts until `writer` commits.
async fn long_job(
    manager: &Manager,
    root: &str,
    shards: &[Postgres],
    writer: &tokio_postgres::Client,
) -> anyhow::Result<String> {
    for (name, shard) in ["one", "two"].iter().zip(shards) {
        shard
            .psql("CREATE TABLE led (k bigint PRIMARY KEY)")
            .await?;
        let body = json!({ "name": name, "primary_endpoint": shard.endpoint() });
        let added = call(Method::POST, &manager.api("/shards"), root, Some(&body)).await?;
        added.expect(201)?;
    }
    let table = json!({ "name": "led", "shard_key": "k", "key_type": "bigint" });
    let added = call(Method::POST, &manager.api("/tables"), root, Some(&table)).await?;
    added.expect(201)?;
    writer.batch_execute("BEGIN; SELECT txid_current()").await?;
    let body = json!({ "from": "one", "to": "two", "count": 10 });
    let url = manager.api("/reshard/move");
    let begun = call(Method::POST, &url, root, Some(&body))
        .await?
        .expect(202)?;
    Ok(begun["id"].as_str().context("a job has an id")?.to_owned())
}

async fn key_is_revoked(manager: &Manager, root: &str, job: &str) -> Outcome {
    let body = json!({ "name": "watcher", "role": "viewer" });
    let made = create_key(manager, root, &body).await?;
    let (key, id) = (made["key"].as_str(), made["id"].as_str());
    let (key, id) = (key.context("a key")?, id.context("an id")?);
    let streams = Streams::open(manager, job, key).await?;
    let url = manager.api(&format!("/auth/keys/{id}"));
    let gone = call(Method::DELETE, &url, root, None).await?;
    same!(gone.status.as_u16(), 204);
    streams.end_with("the token has been revoked").await
}

async fn session_is_ended(manager: &Manager, root: &str, job: &str) -> Outcome {
    let eve = json!({ "name": "eve", "password": PASSWORD, "roles": ["viewer"] });
    let made = call(
        Method::POST,
        &manager.api("/auth/accounts"),
        root,
        Some(&eve),
    )
    .await?;
    made.expect(201)?;
    let login = json!({ "name": "eve", "password": PASSWORD });
    let session = client::post(&manager.api("/auth/login"), &login).await?;
    let session: Value = session.expect(200)?;
    let token = session["access_token"].as_str().context("a token")?;
    let streams = Streams::open(manager, job, token).await?;
    let out = call(Method::POST, &manager.api("/auth/logout"), token, None).await?;
    same!(out.status.as_u16(), 204);
    streams.end_with("the token has been revoked").await
}

async fn token_expires(manager: &Manager, job: &str) -> Outcome {
    let claims = Claims {
        role: Some(Names::One("viewer".to_owned())),
        exp: bearer::now() + 2,
        ..Claims::new("short", Duration::ZERO)
    };
    let token = sign(&Secret::new(SECRET), &claims);
    let streams = Streams::open(manager, job, &token).await?;
    streams.end_with("the token or key has expired").await
}

/// Both forms of a stream.
struct Streams {
    events: Events,
    messages: Streaming<v1::WatchJobResponse>,
}

impl Streams {
    /// Opens them and reads the job as it is.
    async fn open(manager: &Manager, job: &str, credential: &str) -> anyhow::Result<Self> {
        let events = Events::open(manager, job, credential).await?;
        let mut services = ReshardServiceClient::connect(manager.0.grpc()).await?;
        let mut request = Request::new(v1::WatchJobRequest { id: job.to_owned() });
        let bearer = format!("Bearer {credential}").parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let mut messages = services.watch_job(request).await?.into_inner();
        let first = messages.message().await?.context("the job")?;
        same!(first.job.unwrap_or_default().id, job);
        Ok(Self { events, messages })
    }

    /// Waits for both to say why they end, and to end.
    async fn end_with(mut self, reason: &str) -> Outcome {
        let rest = timeout(SOON, self.events.rest()).await;
        let rest = rest.context("the events go on")??;
        anyhow::ensure!(rest.contains("event: error"), "{rest}");
        anyhow::ensure!(rest.contains(reason), "{rest}");
        let refused = async {
            loop {
                match self.messages.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => anyhow::bail!("the messages end without a reason"),
                    Err(status) => return Ok(status),
                }
            }
        };
        let status = timeout(SOON, refused).await.context("messages go on")??;
        same!(status.code(), Code::Unauthenticated);
        anyhow::ensure!(status.message().contains(reason), "{status}");
        Ok(())
    }
}

/// A stream of server-sent events.
struct Events(TcpStream);

impl Events {
    async fn open(manager: &Manager, job: &str, credential: &str) -> anyhow::Result<Self> {
        let address = manager.0.http();
        let address = address.strip_prefix("http://").context("an address")?;
        let mut stream = TcpStream::connect(address).await?;
        let head = format!(
            "GET /api/v1/reshard/jobs/{job}/events HTTP/1.1\r\nhost: {address}\r\n\
             authorization: Bearer {credential}\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await?;
        let mut read = String::new();
        while !read.contains("event: job") {
            let mut buffer = [0; 4096];
            let count = timeout(SOON, stream.read(&mut buffer)).await??;
            anyhow::ensure!(count > 0, "no event: {read}");
            read.push_str(&String::from_utf8_lossy(buffer.get(..count).unwrap_or(&[])));
        }
        Ok(Self(stream))
    }

    /// What comes until the end.
    async fn rest(&mut self) -> anyhow::Result<String> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await?;
        Ok(String::from_utf8_lossy(&rest).into_owned())
    }
}
