//! What routers let in and refuse is in the cluster's audit log: who, when, from where, what, and
//! how often.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use http::Method;
use libtest_mimic::Trial;
use platform::{Secret, bearer};
use proto::router::v1::ExecuteRequest;
use proto::router::v1::router_service_client::RouterServiceClient;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::pg::Address;
use tests::program::executable;
use tests::raw::{self, Raw};
use tests::{Cluster, http as client, wait};
use tokio::process::Command;
use tokio::task::JoinSet;

use super::SECRET;
use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        what_routers_let_in_and_refuse_is_on_record,
        a_flood_of_bad_logins_makes_few_entries,
        what_happens_while_etcd_is_away_is_on_record_afterwards,
        no_event_is_lost_or_there_twice_while_leaders_die,
    )
    .into()
}

const PASSWORD: &str = "password of app";

/// A router that asks everybody who they are, and a manager that asks nobody.
async fn start() -> anyhow::Result<Cluster> {
    start_with(1, "10m").await
}

async fn start_with(managers: usize, repeat_interval: &str) -> anyhow::Result<Cluster> {
    let mut cluster = Cluster::start(Plan {
        shards: 1,
        managers,
        routers: 0,
        ..Plan::default()
    })
    .await?;
    let users = json!([
        { "name": "app", "password": PASSWORD }, { "name": "root", "password": PASSWORD },
    ]);
    let router = json!({
        "security": { "enable_rbac": true, "jwt_secret": SECRET },
        "audit": { "repeat_interval": repeat_interval },
        "pgwire": {
            "auth": { "method": "scram-sha-256", "users": users }, "admin_users": ["root"],
        },
    });
    cluster.add_router(&router).await?;
    Ok(cluster)
}

fn login(cluster: &Cluster, user: &str, password: &str) -> anyhow::Result<Address> {
    let mut address = cluster.router(0)?.address();
    address.user = user.to_owned();
    address.password = Some(password.to_owned());
    Ok(address)
}

/// The entries of some query that routers have brought about, newest first. The log checks out.
async fn entries(cluster: &Cluster, query: &str) -> anyhow::Result<Vec<Value>> {
    let manager = cluster.manager(0)?;
    let found = client::get(&manager.api("/audit/verify")).await?;
    same!(found.expect(200)?["is_intact"], json!(true));
    let url = manager.api(&format!("/audit?limit=1000&{query}"));
    let page = client::get(&url).await?.expect(200)?;
    let entries = page["entries"].as_array().context("entries")?.iter();
    let of_routers = entries.filter(|entry| entry["detail"]["router"].is_string());
    Ok(of_routers.cloned().collect())
}

/// How many events some entries tell of.
fn count(entries: &[Value]) -> u64 {
    let counts = entries.iter();
    counts
        .filter_map(|entry| entry["detail"]["count"].as_u64())
        .sum()
}

/// Waits for an entry with these fields; those of `detail` with a dot.
async fn on_record(cluster: &Cluster, fields: &[(&str, &str)]) -> anyhow::Result<Value> {
    wait::until("an entry", wait::SETTLE, async || {
        let all = entries(cluster, "").await?;
        let has = |entry: &&Value| {
            fields.iter().all(|(name, wanted)| {
                let found = match name.strip_prefix("detail.") {
                    Some(name) => &entry["detail"][name],
                    None => &entry[*name],
                };
                found.as_str() == Some(wanted)
            })
        };
        let found = all.iter().find(has).cloned();
        found.with_context(|| format!("no {fields:?} in {all:#?}"))
    })
    .await
}

async fn what_routers_let_in_and_refuse_is_on_record() -> Outcome {
    let cluster = start().await?;
    let right = login(&cluster, "app", PASSWORD)?;
    same!(right.psql("SELECT 1").await?, "1");
    for (user, password, database) in [
        ("app", "wrong", "app"),
        ("nobody\u{1b}[2J", "wrong", "app"),
        ("app", PASSWORD, "sharding"),
        // Right, and still not let in: that the password was right is on record.
        ("app", PASSWORD, "nowhere"),
        ("root", PASSWORD, "sharding"),
    ] {
        let mut address = login(&cluster, user, password)?;
        address.database = database.to_owned();
        let output = address.psql_output("SHOW VERSION").await?;
        same!(output.status.success(), user == "root", "{output:?}");
    }
    let router = cluster.router(0)?.address();
    let router = format!("{}:{}", router.host, router.port);
    let pg = ("detail.surface", "postgres");
    let console = ("detail.surface", "console");
    let done = [
        ("action", "pg_login"),
        ("result", "done"),
        ("actor", "user:app"),
        pg,
    ];
    let entry = on_record(&cluster, &done).await?;
    same!(entry["from"], json!("127.0.0.1"), "{entry}");
    same!(entry["detail"]["router"], json!(router), "{entry}");
    same!(entry["detail"]["count"], json!(1), "{entry}");
    for field in ["first_at", "last_at"] {
        anyhow::ensure!(entry["detail"][field].is_string(), "no {field} in {entry}");
    }
    for (action, actor, target, reason) in [
        ("pg_login", "anonymous", "user:app", "wrong password"),
        (
            "pg_login",
            "anonymous",
            "user:nobody\\u{1b}[2J",
            "unknown user",
        ),
        ("pg_login", "user:app", "user:app", "no such database"),
        (
            "console_login",
            "user:app",
            "user:app",
            "not in pgwire.admin_users",
        ),
    ] {
        let who = [("actor", actor), ("target", target)];
        let what = [("action", action), ("result", "refused")];
        let at = if action == "pg_login" { pg } else { console };
        let why = [("detail.reason", reason), at];
        on_record(&cluster, &[who, what, why].concat()).await?;
    }
    let done = [
        ("action", "console_login"),
        ("result", "done"),
        ("actor", "user:root"),
    ];
    on_record(&cluster, &done).await?;
    calls_are_on_record(&cluster).await?;
    is_shown(&cluster).await?;
    let metrics = cluster.router(0)?.program.metrics().await?;
    anyhow::ensure!(
        metrics.contains("router_audit_events_total{outcome=\"handed_over\"}"),
        "{metrics}"
    );
    Ok(())
}

/// Calls of HTTP and gRPC without a credential, and with one that is not enough.
async fn calls_are_on_record(cluster: &Cluster) -> Outcome {
    let program = &cluster.router(0)?.program;
    let secret = Secret::new(SECRET);
    let viewer = bearer::sign_hs256(&secret, "ann", &["viewer"], Duration::from_secs(60));
    let bearer = format!("Bearer {viewer}");
    let url = format!("{}/v1/execute", program.http());
    let body = json!({ "query": "SELECT 1" }).to_string();
    let strange = [("x-request-id", "strange-1")];
    let answer = client::send_with(Method::POST, &url, &strange, Some(body.clone())).await?;
    same!(answer.status.as_u16(), 401);
    let known = [
        ("authorization", bearer.as_str()),
        ("x-request-id", "known-1"),
    ];
    let answer = client::send_with(Method::POST, &url, &known, Some(body)).await?;
    same!(answer.status.as_u16(), 403);
    let mut grpc = RouterServiceClient::connect(program.grpc()).await?;
    for headers in [&strange[..], &known[..]] {
        let mut request = tonic::Request::new(ExecuteRequest::default());
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse()?);
        }
        anyhow::ensure!(grpc.execute(request).await.is_err(), "{headers:?}");
    }
    let execute = "/sharding.router.v1.RouterService/Execute";
    for (surface, action) in [("http", "POST /v1/execute"), ("grpc", execute)] {
        for (actor, id, reason) in [
            (
                "anonymous",
                "strange-1",
                "a bearer token or an API key is needed",
            ),
            (
                "ann",
                "known-1",
                "role reader is needed, which ann does not have",
            ),
        ] {
            let who = [("actor", actor), ("request_id", id), ("from", "127.0.0.1")];
            let what = [("action", action), ("result", "refused")];
            let why = [("detail.surface", surface), ("detail.reason", reason)];
            on_record(cluster, &[&who[..], &what[..], &why[..]].concat()).await?;
        }
    }
    Ok(())
}

async fn is_shown(cluster: &Cluster) -> Outcome {
    let mut command = Command::new(executable("shardctl")?);
    command.args(["--manager", &cluster.manager(0)?.0.grpc()]);
    command.args(["audit", "list", "--target", "user:app"]);
    let output = command.output().await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for wanted in ["pg_login", "wrong password", "console_login", "127.0.0.1"] {
        anyhow::ensure!(text.contains(wanted), "no {wanted} in {text}");
    }
    Ok(())
}

/// A login with a proof that is none; faster than a client that works out a wrong one.
async fn guess(port: u16, user: &str) -> Outcome {
    let mut raw = Raw::open(port).await?;
    let parameters = [("user", user), ("database", "app")];
    raw.send(&raw::startup(&parameters)).await?;
    let first = "n,,n=,r=nonce";
    let mut initial = b"SCRAM-SHA-256\0".to_vec();
    initial.extend(u32::try_from(first.len())?.to_be_bytes());
    initial.extend(first.as_bytes());
    for answer in [Some(initial), None] {
        let message = raw.receive().await?.context("a message")?;
        if message.tag == b'E' {
            same!(message.sqlstate().as_deref(), Some("53400"), "{message:?}");
            return Ok(());
        }
        let answer = answer.map_or_else(|| proof(&message.body), Ok)?;
        raw.send(&raw::message(b'p', &answer)).await?;
    }
    let refused = raw.receive().await?.context("a refusal")?;
    let code = refused.sqlstate().unwrap_or_default();
    anyhow::ensure!(["28P01", "53400"].contains(&code.as_str()), "{refused:?}");
    Ok(())
}

/// The last message of an exchange, to the server's first.
fn proof(challenge: &[u8]) -> anyhow::Result<Vec<u8>> {
    let challenge = String::from_utf8_lossy(challenge.get(4..).context("a challenge")?);
    let nonce = challenge.split(',').next().context("a nonce")?;
    Ok(format!("c=biws,{nonce},p={}=", "A".repeat(43)).into_bytes())
}

async fn a_flood_of_bad_logins_makes_few_entries() -> Outcome {
    const LOGINS: usize = 2_000;
    const AT_A_TIME: usize = 20;
    let mut cluster = start().await?;
    let mut guessing = JoinSet::new();
    for guesser in 0..AT_A_TIME {
        // Half of them guess one user's password, half of them whose name is one.
        let port = cluster.router(0)?.address().port;
        guessing.spawn(async move {
            for number in 0..LOGINS / AT_A_TIME {
                if guesser % 2 == 0 {
                    guess(port, &format!("user-{guesser}-{number}")).await?;
                } else {
                    guess(port, "app").await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(guessed) = guessing.join_next().await {
        guessed??;
    }
    let before = wait::until("the flood on record", wait::SETTLE, async || {
        let entries = entries(&cluster, "result=refused").await?;
        let is_folded = entries.iter().any(|entry| entry["target"] == "several");
        anyhow::ensure!(is_folded, "{entries:#?}");
        Ok(entries.len())
    })
    .await?;
    anyhow::ensure!(before <= 20, "{before} entries");
    // What waits for the end of the interval is told at the end of the router.
    cluster.routers[0].program.terminate().await?;
    let entries = wait::until("all of it on record", wait::SETTLE, async || {
        let entries = entries(&cluster, "result=refused").await?;
        same!(count(&entries), 2_000, "{entries:#?}");
        Ok(entries)
    })
    .await?;
    anyhow::ensure!(entries.len() <= 40, "{} entries", entries.len());
    told!(
        "{LOGINS} bad logins: {} entries, {before} of them at once",
        entries.len()
    );
    Ok(())
}

async fn what_happens_while_etcd_is_away_is_on_record_afterwards() -> Outcome {
    let cluster = start().await?;
    login(&cluster, "app", PASSWORD)?.psql("SELECT 1").await?;
    on_record(&cluster, &[("action", "pg_login"), ("result", "done")]).await?;
    cluster.etcd.pause()?;
    for number in 0..5 {
        let wrong = login(&cluster, &format!("stranger-{number}"), "wrong")?;
        anyhow::ensure!(wrong.client().await.is_err(), "let in");
        login(&cluster, "root", PASSWORD)?.psql("SELECT 1").await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    cluster.etcd.resume()?;
    wait::until(
        "what happened meanwhile",
        Duration::from_secs(60),
        async || {
            let refused = entries(&cluster, "result=refused").await?;
            same!((refused.len(), count(&refused)), (5, 5), "{refused:#?}");
            let done = entries(&cluster, "result=done&actor=user:root").await?;
            anyhow::ensure!(!done.is_empty(), "no login of root: {done:#?}");
            Ok(())
        },
    )
    .await
}

/// Events are handed over and taken all the time, with each manager killed in turn.
async fn no_event_is_lost_or_there_twice_while_leaders_die() -> Outcome {
    const DEATHS: usize = 4;
    let mut cluster = start_with(2, "1s").await?;
    let port = cluster.router(0)?.address().port;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut guessing = JoinSet::new();
    guessing.spawn(async move {
        let mut guesses = 0_u64;
        while !*stopped.borrow() {
            guess(port, "app").await?;
            guesses += 1;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(guesses)
    });
    for death in 0..DEATHS {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let manager = &mut cluster.managers[death % 2].0;
        manager.kill().await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        manager.start().await?;
    }
    stop.send(true)?;
    let guesses = guessing.join_next().await.context("it ends")???;
    cluster.routers[0].program.terminate().await?;
    let entries = wait::until(
        "each guess on record",
        Duration::from_secs(40),
        async || {
            let entries = entries(&cluster, "result=refused").await?;
            same!(count(&entries), guesses, "{} entries", entries.len());
            Ok(entries.len())
        },
    )
    .await?;
    // Nothing comes afterwards.
    tokio::time::sleep(Duration::from_secs(3)).await;
    same!(
        count(&self::entries(&cluster, "result=refused").await?),
        guesses
    );
    told!("{guesses} guesses in {entries} entries, with {DEATHS} deaths of managers");
    Ok(())
}
