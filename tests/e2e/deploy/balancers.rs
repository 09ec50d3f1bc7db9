//! The load balancers' configurations of configs/, run as they are but for addresses: a rolling
//! restart of everything behind HAProxy loses no query.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::pg::Address;
use tests::port::Port;
use tests::process::{Custody, Process};
use tests::program::executable;
use tests::raw::{Raw, query};
use tests::{Cluster, http, wait};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::suite::{Outcome, Suite, Unavailable, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_rolling_restart_behind_haproxy_loses_no_query,
        nginx_leaves_out_a_router_that_is_gone,
    )
    .into()
}

/// Sessions that send statements one after another.
const SESSIONS: i64 = 6;

async fn cluster() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        routers: 3,
        managers: 2,
        ..Plan::default()
    })
    .await?;
    cluster
        .create("write", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    Ok(cluster)
}

/// A load balancer and where it listens.
struct Balancer {
    _process: Process,
    pgwire: Port,
    http: Port,
    manager: Port,
}

fn program(name: &str) -> anyhow::Result<PathBuf> {
    let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin"];
    let found = found.iter().map(|folder| Path::new(folder).join(name));
    let found = found.into_iter().find(|path| path.exists());
    found.ok_or_else(|| Unavailable::Missing(name.to_owned()).into())
}

/// A file of configs/ with addresses that are there in the place of its names.
fn addressed(file: &str, cluster: &Cluster) -> anyhow::Result<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../configs")
        .join(file);
    let mut text = std::fs::read_to_string(path)?;
    for (number, router) in (1..).zip(&cluster.routers) {
        let ports = router.program.ports();
        for (port, real) in [
            (6432, router.address().port),
            (8080, ports.http.number()),
            (50051, ports.grpc.number()),
        ] {
            let (name, real) = (
                format!("router-{number}:{port}"),
                format!("127.0.0.1:{real}"),
            );
            text = text.replace(
                &format!("{name} port 9090"),
                &format!("{real} port {}", ports.metrics.number()),
            );
            text = text.replace(&name, &real);
        }
    }
    for (number, manager) in (1..).zip(&cluster.managers) {
        let ports = manager.0.ports();
        for (port, real) in [(8081, ports.http.number()), (50052, ports.grpc.number())] {
            let name = format!("manager-{number}:{port} port 9091");
            let real = format!("127.0.0.1:{real} port {}", ports.metrics.number());
            text = text.replace(&name, &real);
        }
    }
    Ok(text)
}

async fn start(name: &str, file: &str, cluster: &Cluster) -> anyhow::Result<Balancer> {
    let program = program(name)?;
    let folder = Folder::shared()?.fresh(name);
    std::fs::create_dir_all(&folder)?;
    let (pgwire, http, manager) = (Port::take()?, Port::take()?, Port::take()?);
    let others = [Port::take()?, Port::take()?];
    let mut text = addressed(file, cluster)?;
    let ports = [
        (6432, &pgwire),
        (8080, &http),
        (8081, &manager),
        (50051, &others[0]),
        (50052, &others[1]),
    ];
    for (port, real) in ports {
        let real = format!("127.0.0.1:{}", real.number());
        text = text.replace(&format!("bind :{port}"), &format!("bind {real}"));
        text = text.replace(&format!("listen {port} "), &format!("listen {real} "));
    }
    let config = folder.join("config");
    std::fs::write(&config, text)?;
    let mut command = Command::new(program);
    match name {
        "haproxy" => command.args(["-db", "-f"]).arg(&config),
        _ => command
            .args(["-g", "daemon off;", "-p"])
            .arg(&folder)
            .arg("-c")
            .arg(&config),
    };
    let mut process = Process::start(command, Custody::SELF, &folder.join("log"))?;
    let address = Address {
        port: pgwire.number(),
        ..cluster.router(0)?.address()
    };
    process
        .ready(wait::START, || async {
            address.client().await?.simple_query("SELECT 1").await?;
            Ok(())
        })
        .await?;
    Ok(Balancer {
        _process: process,
        pgwire,
        http,
        manager,
    })
}

/// What a client saw.
#[derive(Debug, Default)]
struct Seen {
    done: u64,
    /// Sessions that were ended between two statements, as drivers expect it of a server that
    /// restarts: the statement was not begun, and runs on the next session.
    moved: u64,
    slowest: Duration,
    lost: BTreeMap<String, u64>,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.moved += other.moved;
        self.slowest = self.slowest.max(other.slowest);
        for (what, count) in other.lost {
            *self.lost.entry(what).or_default() += count;
        }
    }

    fn lose(&mut self, what: String) {
        *self.lost.entry(what).or_default() += 1;
    }
}

/// Writes keys one after another, over sessions that it keeps as long as they last.
async fn writer(address: Address, first: i64, stop: &AtomicBool, keys: &AtomicI64) -> Seen {
    let mut seen = Seen::default();
    let mut session = None;
    let mut key = first;
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let mut client = match session.take() {
            Some(client) => client,
            None => match Raw::connect(&address).await {
                Ok(client) => client,
                Err(error) => {
                    seen.lose(format!("connect: {error:#}"));
                    sleep(Duration::from_millis(20)).await;
                    continue;
                }
            },
        };
        let sql = format!("INSERT INTO write (k) VALUES ({key})");
        match run(&mut client, &sql).await.as_deref() {
            Ok("") => {
                seen.done += 1;
                keys.fetch_add(1, Ordering::Relaxed);
                key += SESSIONS;
                seen.slowest = seen.slowest.max(begun.elapsed());
                session = Some(client);
                // Time for the router to end the session in between, too.
                sleep(Duration::from_millis(2)).await;
            }
            Ok("57P01") => seen.moved += 1,
            Ok(code) => seen.lose(format!("write: {code}")),
            Err(error) => seen.lose(format!("write: {error}")),
        }
    }
    seen
}

/// Runs a statement; the SQLSTATE that it ends with, or nothing. A session that ends without a word
/// leaves open what became of it, which is the worst there is.
async fn run(client: &mut Raw, sql: &str) -> Result<String, String> {
    let sent = client.send(&query(sql)).await;
    let mut code = None;
    loop {
        match client.receive().await {
            Ok(Some(message)) => {
                code = message.sqlstate().or(code);
                if message.tag == b'Z' {
                    return Ok(code.unwrap_or_default());
                }
            }
            ended @ (Ok(None) | Err(_)) => {
                return code.ok_or_else(|| format!("sent {sent:?}, ended {ended:?}"));
            }
        }
    }
}

/// Requests over HTTP, each over a connection of its own: none may fail.
async fn reader(url: String, body: Option<serde_json::Value>, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let answer = match &body {
            Some(body) => http::post(&url, body).await,
            None => http::get(&url).await,
        };
        match answer {
            Ok(answer) if answer.status == 200 => seen.done += 1,
            Ok(answer) => seen.lose(format!("{url}: {} {}", answer.status, answer.body)),
            Err(error) => seen.lose(format!("{url}: {error:#}")),
        }
        seen.slowest = seen.slowest.max(begun.elapsed());
        sleep(Duration::from_millis(5)).await;
    }
    seen
}

/// Clients of all fronts, until they are told to stop.
fn clients(
    balancer: &Balancer,
    address: &Address,
    stop: &Arc<AtomicBool>,
    written: &Arc<AtomicI64>,
) -> JoinSet<(&'static str, Seen)> {
    let mut clients = JoinSet::new();
    for first in 0..SESSIONS {
        let (address, stop, written) = (address.clone(), Arc::clone(stop), Arc::clone(written));
        clients.spawn(async move { ("pgwire", writer(address, first, &stop, &written).await) });
    }
    let body =
        json!({ "query": "SELECT k FROM write WHERE k = $1", "params": [1], "shard_key": "1" });
    let execute = format!("http://127.0.0.1:{}/v1/execute", balancer.http.number());
    let topology = format!(
        "http://127.0.0.1:{}/api/v1/topology",
        balancer.manager.number()
    );
    for (front, url, body) in [("http", execute, Some(body)), ("manager", topology, None)] {
        let stop = Arc::clone(stop);
        clients.spawn(async move { (front, reader(url, body, &stop).await) });
    }
    clients
}

/// A system whose clients work through HAProxy.
pub(super) struct Busy {
    _balancer: Balancer,
    clients: JoinSet<(&'static str, Seen)>,
    stop: Arc<AtomicBool>,
    written: Arc<AtomicI64>,
    begun: Instant,
}

impl Busy {
    pub(super) async fn begin(cluster: &Cluster) -> anyhow::Result<Self> {
        let balancer = start("haproxy", "haproxy/haproxy.cfg", cluster).await?;
        let address = Address {
            port: balancer.pgwire.number(),
            ..cluster.router(0)?.address()
        };
        let (stop, written) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicI64::new(0)),
        );
        let clients = clients(&balancer, &address, &stop, &written);
        Ok(Self {
            _balancer: balancer,
            clients,
            stop,
            written,
            begun: Instant::now(),
        })
    }

    /// Waits until two hundred more keys have been written.
    pub(super) async fn goes_on(&self) -> Outcome {
        let wanted = self.written.load(Ordering::Relaxed) + 200;
        wait::until("writes", wait::START, async || {
            let now = self.written.load(Ordering::Relaxed);
            anyhow::ensure!(now >= wanted, "{now} of {wanted}");
            Ok(())
        })
        .await
    }

    /// Stops the clients. None has lost anything, and what they wrote is there once.
    pub(super) async fn end(mut self, cluster: &Cluster) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        let mut fronts: BTreeMap<&str, Seen> = BTreeMap::new();
        while let Some(one) = self.clients.join_next().await {
            let (front, seen) = one?;
            fronts.entry(front).or_default().add(seen);
        }
        for (front, seen) in &fronts {
            told!(
                "in {:?}: {front}: {} done, {} moved to another router, slowest {:?}, lost {:?}",
                self.begun.elapsed(),
                seen.done,
                seen.moved,
                seen.slowest,
                seen.lost
            );
        }
        for (front, seen) in &fronts {
            same!(seen.lost, BTreeMap::new(), "lost over {front}");
            anyhow::ensure!(seen.done > 0, "nothing was done over {front}");
        }
        let mut rows = 0;
        for shard in &cluster.shards {
            rows += shard
                .psql("SELECT count(*) FROM write")
                .await?
                .parse::<u64>()?;
        }
        let written = fronts.get("pgwire").context("writers wrote")?.done;
        same!(rows, written, "rows that are there");
        Ok(())
    }
}

async fn a_rolling_restart_behind_haproxy_loses_no_query() -> Outcome {
    let mut cluster = cluster().await?;
    let busy = Busy::begin(&cluster).await?;
    busy.goes_on().await?;
    for router in &mut cluster.routers {
        same!(router.program.terminate().await?.code(), Some(0));
        router.program.start().await?;
        busy.goes_on().await?;
    }
    for manager in &mut cluster.managers {
        same!(manager.0.terminate().await?.code(), Some(0));
        manager.0.start().await?;
        busy.goes_on().await?;
    }
    busy.end(&cluster).await
}

async fn nginx_leaves_out_a_router_that_is_gone() -> Outcome {
    let mut cluster = cluster().await?;
    let balancer = start("nginx", "nginx/nginx.conf", &cluster).await?;
    let address = Address {
        port: balancer.pgwire.number(),
        ..cluster.router(0)?.address()
    };
    same!(
        health("router", cluster.routers[0].program.config())?,
        Some(0)
    );
    same!(health("manager", cluster.managers[0].0.config())?, Some(0));
    cluster.routers[0].program.terminate().await?;
    same!(
        health("router", cluster.routers[0].program.config())?,
        Some(1)
    );
    for _ in 0..12 {
        address.client().await?.simple_query("SELECT 1").await?;
        let url = format!("http://127.0.0.1:{}/readyz", balancer.http.number());
        same!(http::get(&url).await?.status.as_u16(), 200);
    }
    Ok(())
}

/// What the health check of an image says of the program of a configuration.
fn health(program: &str, config: &Path) -> anyhow::Result<Option<i32>> {
    let mut command = Command::new(executable(program)?);
    let output = command
        .args(["--health", "--config"])
        .arg(config)
        .output()?;
    Ok(output.status.code())
}
