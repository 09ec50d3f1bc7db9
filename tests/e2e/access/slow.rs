//! Clients that connect and say nothing, or never come to an end: at every port, in clear and under
//! TLS, they are gone after a while, and others are served meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::authority::Authority;
use tests::cluster::Plan;
use tests::program::ROUTER_USER;
use tests::raw::{Raw, SSL_REQUEST, startup};
use tests::{Cluster, http as client};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        clients_that_send_slowly_keep_nobody_else_out,
        clients_that_do_not_log_in_keep_nobody_else_out,
        clients_that_do_not_finish_a_handshake_keep_nobody_else_out,
    )
    .into()
}

/// Beginnings of requests that never end.
const BEGINNINGS: [&str; 5] = [
    "",
    "PRI * HTTP/2.0\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    "POST /v1/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n",
    "POST /v1/execute HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
     content-length: 1000\r\n\r\n{",
];

async fn start(config: Value, authority: Option<Arc<Authority>>) -> anyhow::Result<Cluster> {
    Cluster::start(Plan {
        shards: 1,
        manager_config: config.clone(),
        router_config: config,
        authority,
        ..Plan::default()
    })
    .await
}

/// Where requests are taken, as `host:port`.
fn listeners(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for program in [&cluster.router(0)?.program, &cluster.manager(0)?.0] {
        for url in [program.http(), program.grpc(), program.metrics_url()] {
            let (_, rest) = url.split_once("://").context("a scheme")?;
            all.push(rest.trim_end_matches("/metrics").to_owned());
        }
    }
    Ok(all)
}

async fn open(address: &str, beginning: &[u8]) -> anyhow::Result<TcpStream> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(beginning).await?;
    Ok(stream)
}

/// Every front answers somebody who asks as one should.
async fn others_are_served(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    let served = async {
        same!(router.psql("SELECT 1").await?, "1");
        let select = json!({ "query": "SELECT 1" });
        same!(router.execute(&select).await?.status.as_u16(), 200);
        for program in [&router.program, &cluster.manager(0)?.0] {
            for url in [format!("{}/healthz", program.http()), program.metrics_url()] {
                same!(client::get(&url).await?.status.as_u16(), 200, "{url}");
            }
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), served).await?
}

/// Waits until all are over, by an answer that says so or by none.
async fn are_ended(held: Vec<(String, TcpStream)>, within: Duration) -> Outcome {
    let (begin, count) = (Instant::now(), held.len());
    for (what, mut stream) in held {
        let mut rest = Vec::new();
        let rest = stream.read_to_end(&mut rest);
        let ended = tokio::time::timeout(within.saturating_sub(begin.elapsed()), rest).await;
        drop(ended.with_context(|| format!("{what} is kept"))?);
    }
    told!("{count} ended after {:.1} s", begin.elapsed().as_secs_f64());
    Ok(())
}

async fn clients_that_send_slowly_keep_nobody_else_out() -> Outcome {
    const EACH: usize = 40;
    let quick = json!({
        "server": { "read_timeout": "2s" }, "security": { "enable_rbac": false },
    });
    let cluster = start(quick, None).await?;
    let mut held = Vec::new();
    for address in listeners(&cluster)? {
        for beginning in BEGINNINGS {
            for _ in 0..EACH {
                let stream = open(&address, beginning.as_bytes()).await?;
                held.push((format!("{address}: {beginning:?}"), stream));
            }
        }
    }
    others_are_served(&cluster).await?;
    are_ended(held, Duration::from_secs(30)).await?;
    others_are_served(&cluster).await
}

/// Three times as many as may be logged in, silent after any step of a login.
async fn clients_that_do_not_log_in_keep_nobody_else_out() -> Outcome {
    const SESSIONS: usize = 100;
    let (user, password) = ROUTER_USER;
    let config = json!({
        "pgwire": {
            "max_client_connections": SESSIONS,
            "auth": {
                "method": "scram-sha-256", "users": [{ "name": user, "password": password }],
            },
        },
    });
    let mut cluster = start(json!({}), None).await?;
    cluster.routers.clear();
    cluster.add_router(&config).await?;
    let mut address = cluster.router(0)?.address();
    (address.user, address.password) = (user.to_owned(), Some(password.to_owned()));
    let packet = startup(&[("user", user), ("database", &address.database)]);
    let half = packet.get(..10).context("half of a packet")?;
    let server = format!("127.0.0.1:{}", address.port);
    let mut held = Vec::new();
    for _ in 0..SESSIONS {
        for beginning in [b"".as_slice(), half, &packet] {
            held.push(open(&server, beginning).await?);
        }
    }
    let logged_in = address.client().await?;
    for _ in 0..5 {
        same!(address.psql("SELECT 1").await?, "1");
    }
    // Those who came first have been sent away long before their time is over.
    let first = held.first_mut().context("the first one")?;
    let mut rest = Vec::new();
    let rest = first.read_to_end(&mut rest);
    drop(tokio::time::timeout(Duration::from_secs(5), rest).await?);
    let log = cluster.router(0)?.program.log();
    anyhow::ensure!(log.contains("the oldest are sent away"), "{log}");
    let row = logged_in.query_one("SELECT 2", &[]).await?;
    same!(row.get::<_, i32>(0), 2, "who had logged in is not touched");
    who_guesses_has_to_wait(&cluster).await
}

/// Wrong passwords are refused for a while together with right ones; other users are not.
async fn who_guesses_has_to_wait(cluster: &Cluster) -> Outcome {
    let guess = async |user: &str| {
        let mut address = cluster.router(0)?.address();
        (address.user, address.password) = (user.to_owned(), Some("a guess".to_owned()));
        let output = address.psql_output("SELECT 1").await?;
        anyhow::Ok(String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let mut refused = None;
    for tried in 1..60 {
        let said = guess("somebody").await?;
        if said.contains("too many failed logins") {
            refused = Some(tried);
            break;
        }
        anyhow::ensure!(said.contains("password authentication failed"), "{said}");
    }
    let refused = refused.context("nobody has to wait")?;
    anyhow::ensure!(refused > 20, "refused at try {refused}");
    let other = guess("else").await?;
    anyhow::ensure!(other.contains("password authentication failed"), "{other}");
    Ok(())
}

async fn clients_that_do_not_finish_a_handshake_keep_nobody_else_out() -> Outcome {
    // The beginning of a ClientHello of 512 bytes.
    const HELLO: [u8; 6] = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    const EACH: usize = 30;
    let quick = json!({ "server": { "read_timeout": "2s" } });
    let mut cluster = start(quick, Some(Arc::new(Authority::new()?))).await?;
    cluster.routers.clear();
    let login = json!({ "pgwire": { "login_timeout": "5s" } });
    cluster.add_router(&login).await?;
    let mut doors = listeners(&cluster)?;
    let postgres = cluster.router(0)?.address().port;
    doors.push(format!("127.0.0.1:{postgres}"));
    let mut held = Vec::new();
    for address in doors {
        for beginning in [b"".as_slice(), &HELLO, b"GET / HTTP/1.1\r\n"] {
            for _ in 0..EACH {
                let what = format!("{address}: {beginning:?}");
                held.push((what, open(&address, beginning).await?));
            }
        }
    }
    let mut asked = Raw::open(postgres).await?;
    asked.send(&SSL_REQUEST).await?;
    same!(asked.byte().await?, Some(b'S'));
    asked.send(&HELLO).await?;
    others_are_served(&cluster).await?;
    are_ended(held, Duration::from_secs(30)).await?;
    drop(tokio::time::timeout(Duration::from_secs(5), asked.closed()).await?);
    others_are_served(&cluster).await
}
