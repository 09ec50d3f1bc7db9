//! Who may do what: the first administrator, sessions, API keys, limits, and clients that send
//! slowly.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use platform::{Secret, bearer};
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::http::Answer;
use tests::{Cluster, Manager, http as client, wait};

use crate::suite::{Outcome, Suite, alone, same};

mod fuzz;
mod provider;
mod record;
mod sessions;
mod shardctl;
mod slow;
mod streams;
mod unseen;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = alone!(suite:
        of_two_managers_one_creates_the_first_administrator,
        routers_know_of_keys_and_revocations_within_seconds,
        too_many_requests_wait_and_strange_pages_read_nothing,
    )
    .into();
    trials.extend(provider::trials(suite));
    trials.extend(record::trials(suite));
    trials.extend(sessions::trials(suite));
    trials.extend(slow::trials(suite));
    trials.extend(shardctl::trials(suite));
    trials.extend(fuzz::trials(suite));
    trials.extend(streams::trials(suite));
    trials.extend(unseen::trials(suite));
    trials
}

const SECRET: &str = "a secret of at least 32 characters";
const PASSWORD: &str = "correct horse battery";

fn secured() -> Value {
    json!({ "security": { "enable_rbac": true, "jwt_secret": SECRET } })
}

/// A new API key, as the manager answers it.
async fn create_key(manager: &Manager, root: &str, wanted: &Value) -> anyhow::Result<Value> {
    let url = manager.api("/auth/keys");
    call(Method::POST, &url, root, Some(wanted))
        .await?
        .expect(201)
}

/// A cluster without shards, whose programs ask for credentials.
async fn start(managers: usize, routers: usize) -> anyhow::Result<Cluster> {
    let plan = Plan {
        shards: 0,
        managers,
        routers: 0,
        manager_config: secured(),
        ..Plan::default()
    };
    let mut cluster = Cluster::start(plan).await?;
    for manager in &cluster.managers {
        led(manager).await?;
    }
    for _ in 0..routers {
        let mut router = tests::Router::prepare(&cluster.etcd.endpoint(), &secured())?;
        router.program.start().await?;
        cluster.routers.push(router);
    }
    Ok(cluster)
}

/// Waits until a manager knows who leads.
async fn led(manager: &Manager) -> Outcome {
    wait::until("a leader", wait::START, || async {
        let token = bearer::sign_hs256(
            &Secret::new(SECRET),
            "test",
            &["operator"],
            Duration::from_secs(60),
        );
        // Nobody forgets what is not there, but only who leads says that.
        let url = manager.api("/tables/none");
        let answer = call(Method::DELETE, &url, &token, None).await?;
        same!(answer.status.as_u16(), 404);
        Ok(())
    })
    .await
}

async fn call(
    method: Method,
    url: &str,
    credential: &str,
    body: Option<&Value>,
) -> anyhow::Result<Answer> {
    let bearer = format!("Bearer {credential}");
    let headers = [("authorization", bearer.as_str())];
    client::send_with(method, url, &headers, body.map(ToString::to_string)).await
}

/// Creates the first administrator; gives its token.
async fn set_up(manager: &Manager) -> anyhow::Result<String> {
    let body = json!({ "name": "root", "password": PASSWORD });
    let answer = client::post(&manager.api("/auth/setup"), &body).await?;
    let session = answer.expect(201)?;
    let token = session["access_token"].as_str().context("no token")?;
    Ok(token.to_owned())
}

async fn of_two_managers_one_creates_the_first_administrator() -> Outcome {
    let cluster = start(2, 0).await?;
    let mut racing = tokio::task::JoinSet::new();
    for index in 0..12 {
        let manager = cluster.managers.get(index % 2).context("two managers")?;
        let url = manager.api("/auth/setup");
        let body = json!({ "name": format!("root{index}"), "password": PASSWORD });
        racing.spawn(async move { (index, client::post(&url, &body).await) });
    }
    let mut created = Vec::new();
    for (index, answer) in racing.join_all().await {
        let answer = answer?;
        match answer.status.as_u16() {
            201 => created.push((index, answer.json()?)),
            409 => {}
            _ => anyhow::bail!("{}: {}", answer.status, answer.body),
        }
    }
    same!(created.len(), 1);
    let (index, session) = created.pop().context("one")?;
    let token = session["access_token"].as_str().context("no token")?;
    // Both managers know the one, and know of no other.
    for manager in &cluster.managers {
        let accounts = call(Method::GET, &manager.api("/auth/accounts"), token, None).await?;
        let accounts = accounts.expect(200)?["accounts"].clone();
        same!(accounts.as_array().map(Vec::len), Some(1));
        same!(accounts[0]["name"], json!(format!("root{index}")));
        let late = json!({ "name": "late", "password": PASSWORD });
        let answer = client::post(&manager.api("/auth/setup"), &late).await?;
        same!(answer.status.as_u16(), 409);
    }
    let manager = &cluster.managers[0];
    let audit = call(
        Method::GET,
        &manager.api("/audit?action=setup"),
        token,
        None,
    )
    .await?;
    same!(
        audit.expect(200)?["entries"].as_array().map(Vec::len),
        Some(1)
    );
    let found = call(Method::GET, &manager.api("/audit/verify"), token, None).await?;
    same!(found.expect(200)?["is_intact"], json!(true));
    Ok(())
}

async fn routers_know_of_keys_and_revocations_within_seconds() -> Outcome {
    let mut cluster = start(1, 0).await?;
    let etcd = cluster.etcd.endpoint();
    let root = set_up(&cluster.managers[0]).await?;
    let shard = tests::Postgres::start().await?;
    let body = json!({ "name": "one", "primary_endpoint": shard.endpoint() });
    let shards = cluster.managers[0].api("/shards");
    let added = call(Method::POST, &shards, &root, Some(&body)).await?;
    added.expect(201)?;
    let mut router = tests::Router::prepare(&etcd, &secured())?;
    router.program.start().await?;
    let url = format!("{}/v1/execute", router.program.http());
    cluster.routers.push(router);
    let manager = &cluster.managers[0];
    let select = json!({ "query": "SELECT 1 AS one" });
    same!(client::post(&url, &select).await?.status.as_u16(), 401);
    // An administrator has no right to rows.
    same!(status(&url, &root, Some(&select)).await?, 403);
    let key = a_key_comes_and_goes(manager, &root, &url).await?;
    let token = a_session_comes_and_goes(manager, &root, &url).await?;
    let log = cluster.routers[0].program.log() + &cluster.managers[0].0.log();
    for secret in [key.as_str(), &token, PASSWORD, SECRET] {
        anyhow::ensure!(!log.contains(secret), "a secret is in a log");
    }
    Ok(())
}

async fn status(url: &str, credential: &str, body: Option<&Value>) -> anyhow::Result<u16> {
    let answer = call(Method::POST, url, credential, body).await?;
    Ok(answer.status.as_u16())
}

async fn a_key_comes_and_goes(manager: &Manager, root: &str, url: &str) -> anyhow::Result<String> {
    let select = json!({ "query": "SELECT 1 AS one" });
    let key = json!({ "name": "app", "role": "reader" });
    let made = create_key(manager, root, &key).await?;
    let key = made["key"].as_str().context("no key")?;
    becomes(url, key, &select, 200).await?;
    let write = json!({ "query": "CREATE TABLE x (id int)" });
    same!(status(url, key, Some(&write)).await?, 403);
    let id = made["id"].as_str().context("no id")?;
    let gone = manager.api(&format!("/auth/keys/{id}"));
    same!(
        call(Method::DELETE, &gone, root, None)
            .await?
            .status
            .as_u16(),
        204
    );
    becomes(url, key, &select, 401).await?;
    Ok(key.to_owned())
}

async fn a_session_comes_and_goes(
    manager: &Manager,
    root: &str,
    url: &str,
) -> anyhow::Result<String> {
    let select = json!({ "query": "SELECT 1 AS one" });
    let eve = json!({ "name": "eve", "password": PASSWORD, "roles": ["reader", "viewer"] });
    same!(
        status(&manager.api("/auth/accounts"), root, Some(&eve)).await?,
        201
    );
    let login = json!({ "name": "eve", "password": PASSWORD });
    let session = client::post(&manager.api("/auth/login"), &login)
        .await?
        .expect(200)?;
    let token = session["access_token"].as_str().context("no token")?;
    becomes(url, token, &select, 200).await?;
    same!(
        status(&manager.api("/auth/logout"), token, None).await?,
        204
    );
    let shards = call(Method::GET, &manager.api("/shards"), token, None).await?;
    same!(shards.status.as_u16(), 401);
    becomes(url, token, &select, 401).await?;
    Ok(token.to_owned())
}

/// Waits until a credential is answered with a status.
async fn becomes(url: &str, credential: &str, body: &Value, status: u16) -> Outcome {
    wait::until("the router knows", Duration::from_secs(5), || async {
        let answer = call(Method::POST, url, credential, Some(body)).await?;
        anyhow::ensure!(
            answer.status == status,
            "{}: {}",
            answer.status,
            answer.body
        );
        Ok(())
    })
    .await
}

async fn too_many_requests_wait_and_strange_pages_read_nothing() -> Outcome {
    let limited = json!({
        "security": { "enable_rbac": true, "jwt_secret": SECRET },
        "limits": {
            "requests_per_second": 1, "request_burst": 10,
            "logins_per_second": 1, "login_burst": 3,
        },
        "cors": { "allowed_origins": ["https://console.example.com"] },
    });
    let cluster = start(1, 0).await?;
    let mut router = tests::Router::prepare(&cluster.etcd.endpoint(), &limited)?;
    // Without a shard it is not ready; it serves all the same.
    router.program.launch()?;
    let health = format!("{}/healthz", router.program.http());
    wait::until("the router", wait::START, || async {
        client::get(&health).await.map(drop)
    })
    .await?;
    let url = format!("{}/v1/openapi.json", router.program.http());
    let mut refused = None;
    for _ in 0..30 {
        let answer = client::get(&url).await?;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.context("no request is refused")?;
    anyhow::ensure!(refused.headers.contains_key("retry-after"), "{refused:?}");
    let mut manager = Manager::prepare(&cluster.etcd.endpoint(), &limited)?;
    manager.0.start().await?;
    let login = json!({ "name": "root", "password": PASSWORD });
    let mut statuses = Vec::new();
    for _ in 0..8 {
        let answer = client::post(&manager.api("/auth/login"), &login).await?;
        statuses.push(answer.status.as_u16());
    }
    anyhow::ensure!(statuses.contains(&429), "{statuses:?}");
    let origin = |origin: &'static str| [("origin", origin)];
    let document = cluster.managers[0].api("/openapi.json");
    let closed = origin("https://console.example.com");
    let answer = client::send_with(Method::GET, &document, &closed, None).await?;
    same!(answer.status.as_u16(), 200);
    anyhow::ensure!(
        !answer.headers.contains_key("access-control-allow-origin"),
        "{answer:?}"
    );
    for name in [
        "x-content-type-options",
        "x-frame-options",
        "content-security-policy",
    ] {
        anyhow::ensure!(answer.headers.contains_key(name), "no {name}");
    }
    for (origin, is_allowed) in [
        (origin("https://console.example.com"), true),
        (origin("https://evil.example.com"), false),
    ] {
        let answer = client::send_with(Method::GET, &health, &origin, None).await?;
        let allowed = answer.headers.contains_key("access-control-allow-origin");
        same!(allowed, is_allowed);
        anyhow::ensure!(answer.headers.contains_key("x-content-type-options"));
        anyhow::ensure!(!answer.headers.contains_key("strict-transport-security"));
    }
    Ok(())
}
