//! Statements for keys that are being moved: they wait, others do not, and none waits for ever.
//! Holds are written here as a manager would write them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::program::Router;
use tests::raw::{Raw, bind, cancel, execute, message, parse, query, sync};
use tests::{Cluster, wait};
use tokio::time::{Instant, timeout};
use topology::records::{self, Head, Hold, TokenRange};
use topology::store::{self, Compare, EtcdStore, Op, Store as _, Txn};
use topology::{Epoch, hash, keys};

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        statements_for_held_keys_wait_and_others_do_not,
        a_transaction_that_is_open_goes_on,
        a_transaction_that_has_written_never_waits_for_all_shards,
        a_copy_by_the_extended_protocol_waits,
        a_hold_that_nobody_takes_away_ends_at_its_deadline,
        too_many_too_large_and_too_long_are_refused,
        a_client_that_leaves_gives_its_place_up,
        a_cancel_ends_a_wait_under_a_hold,
        a_router_that_ends_sends_those_who_wait_away,
    )
    .into()
}

/// Long enough for a statement that is not held to be answered.
const MOMENT: Duration = Duration::from_millis(300);

/// Longer than any test waits.
const FOREVER_MS: u32 = 600_000;

/// A cluster with a table, a key that is held on demand and one that is not.
struct Ground {
    cluster: Cluster,
    store: EtcdStore,
    held: i64,
    free: i64,
}

impl Ground {
    /// `limits` are those of `sharding.hold`.
    async fn prepare(limits: Value) -> anyhow::Result<Self> {
        let cluster = Cluster::start(Plan {
            router_config: json!({ "sharding": { "hold": limits } }),
            ..Plan::default()
        })
        .await?;
        cluster
            .create("held", "k bigint PRIMARY KEY, v bigint", ("k", "bigint"))
            .await?;
        let store = EtcdStore::connect(store::etcd::Config {
            endpoints: vec![cluster.etcd.endpoint()],
            timeout: wait::SETTLE,
            credentials: None,
            tls: None,
        })?;
        let held = cluster.key_on("shard-1", 1).await?;
        let free = cluster.key_on("shard-1", held + 1).await?;
        Ok(Self {
            cluster,
            store,
            held,
            free,
        })
    }

    fn router(&self) -> anyhow::Result<&Router> {
        self.cluster.router(0)
    }

    /// Writes as the leader does: the change and the next head in one transaction.
    async fn write(&self, op: Op) -> Outcome {
        let entry = self.store.read(keys::HEAD).await?.context("a head")?;
        let head: Head = records::decode(&entry.key, &entry.value)?;
        let next = Head {
            epoch: Epoch(head.epoch.0 + 1),
            ..head
        };
        let txn = Txn {
            compares: vec![Compare::ModRevision(
                keys::HEAD.to_owned(),
                entry.mod_revision,
            )],
            ops: vec![op, Op::put(keys::HEAD, records::encode(&next))],
        };
        let committed = self.store.commit(txn).await?;
        anyhow::ensure!(
            matches!(committed, store::Committed::Applied(_)),
            "another write was faster"
        );
        self.router()?.program.has_seen(next.epoch.0).await
    }

    async fn hold(&self, deadline_ms: u32) -> Outcome {
        let token = hash::token_of(&topology::Key::Bigint(self.held));
        let before = topology::Token(token.0.wrapping_sub(1));
        let hold = Hold {
            id: "job".to_owned(),
            ranges: vec![TokenRange {
                after: before,
                last: token,
            }],
            deadline_ms,
        };
        let value = records::encode(&hold);
        self.write(Op::put(keys::hold(&hold.id), value)).await
    }

    async fn release(&self) -> Outcome {
        self.write(Op::delete(keys::hold("job"))).await
    }

    async fn connect(&self) -> anyhow::Result<Raw> {
        Raw::connect(&self.router()?.address()).await
    }

    fn upsert(&self, key: i64) -> String {
        format!("INSERT INTO held (k, v) VALUES ({key}, 1) ON CONFLICT (k) DO UPDATE SET v = 2")
    }

    /// Waits until so many statements wait.
    async fn waiting(&self, count: u32) -> Outcome {
        let wanted = format!("router_hold_waiting {count}");
        wait::until(&wanted, wait::SETTLE, async || {
            let metrics = self.router()?.program.metrics().await?;
            let line = metrics
                .lines()
                .find(|line| line.starts_with("router_hold_waiting "));
            same!(line, Some(wanted.as_str()));
            Ok(())
        })
        .await
    }

    async fn rejected(&self, reason: &str) -> Outcome {
        let wanted = format!("router_hold_rejected_total{{reason=\"{reason}\"}} 1");
        let metrics = self.router()?.program.metrics().await?;
        anyhow::ensure!(metrics.contains(&wanted), "no {wanted} in {metrics}");
        Ok(())
    }
}

async fn silent(session: &mut Raw) -> Outcome {
    let early = timeout(MOMENT, session.receive()).await;
    anyhow::ensure!(early.is_err(), "answered under a hold: {early:?}");
    Ok(())
}

fn sqlstate(messages: &[tests::raw::Message]) -> Option<String> {
    messages.iter().find_map(tests::raw::Message::sqlstate)
}

async fn statements_for_held_keys_wait_and_others_do_not() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    ground.hold(FOREVER_MS).await?;
    let (mut simple, mut extended) = (ground.connect().await?, ground.connect().await?);
    let mut block = ground.connect().await?;
    simple.send(&query(&ground.upsert(ground.held))).await?;
    let sql = "INSERT INTO held (k, v) VALUES ($1, 9) ON CONFLICT (k) DO NOTHING RETURNING k";
    let key = ground.held.to_string();
    let bound = bind("", "", false, &[Some(key.as_bytes())]);
    let batch = [parse("", sql, &[]), bound, execute("", 0), sync()].concat();
    extended.send(&batch).await?;
    block.query("BEGIN").await?;
    // One key of two is enough.
    let both = format!(
        "SELECT 1 FROM held WHERE k IN ({}, {})",
        ground.free, ground.held
    );
    block.send(&query(&both)).await?;
    let body = json!({ "query": "SELECT k FROM held WHERE k = $1", "params": [ground.held] });
    let http = ground.router()?.execute(&body);
    tokio::pin!(http);
    anyhow::ensure!(timeout(MOMENT, &mut http).await.is_err(), "HTTP answered");
    ground.waiting(4).await?;
    for session in [&mut simple, &mut extended, &mut block] {
        silent(session).await?;
    }
    let mut other = ground.connect().await?;
    same!(
        sqlstate(&other.query(&ground.upsert(ground.free)).await?),
        None
    );
    same!(sqlstate(&other.query("SELECT 1").await?), None);
    ground.release().await?;
    for session in [&mut simple, &mut extended, &mut block] {
        same!(sqlstate(&session.until_ready().await?), None);
    }
    same!(http.await?.status.as_u16(), 200);
    ground.waiting(0).await?;
    let metrics = ground.router()?.program.metrics().await?;
    let count = "router_hold_wait_seconds_count 4";
    anyhow::ensure!(metrics.contains(count), "no {count} in {metrics}");
    Ok(())
}

async fn a_transaction_that_is_open_goes_on() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    let mut open = ground.connect().await?;
    open.query("BEGIN").await?;
    open.query(&ground.upsert(ground.free)).await?;
    // What has been done here could be done elsewhere: it has not begun.
    let mut movable = ground.connect().await?;
    movable.query("BEGIN").await?;
    movable.query("SELECT 1").await?;
    ground.hold(FOREVER_MS).await?;
    same!(
        sqlstate(&open.query(&ground.upsert(ground.held)).await?),
        None
    );
    same!(sqlstate(&open.query("COMMIT").await?), None);
    movable.send(&query(&ground.upsert(ground.held))).await?;
    silent(&mut movable).await?;
    ground.release().await?;
    same!(sqlstate(&movable.until_ready().await?), None);
    same!(sqlstate(&movable.query("COMMIT").await?), None);
    let value = format!("SELECT v FROM held WHERE k = {}", ground.held);
    same!(ground.router()?.psql(&value).await?, "2");
    Ok(())
}

/// It would have to let its backend go, and what it has written with it.
async fn a_transaction_that_has_written_never_waits_for_all_shards() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    ground.hold(FOREVER_MS).await?;
    for sql in ["SELECT count(*) FROM held", "COPY held FROM STDIN"] {
        let mut session = ground.connect().await?;
        session.query("BEGIN").await?;
        session.query(&ground.upsert(ground.free)).await?;
        let answer = session.query(sql).await?;
        same!(sqlstate(&answer).as_deref(), Some("40001"));
        let failed = session.query("SELECT 1").await?;
        same!(sqlstate(&failed).as_deref(), Some("25P02"));
        session.query("COMMIT").await?;
        let key = ground.free;
        let count = format!("SELECT v FROM held WHERE k = {key}");
        same!(ground.router()?.psql(&count).await?, "");
    }
    ground.waiting(0).await
}

async fn a_copy_by_the_extended_protocol_waits() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    let mut session = ground.connect().await?;
    ground.hold(FOREVER_MS).await?;
    let sql = "COPY held FROM STDIN";
    let batch = [
        parse("", sql, &[]),
        bind("", "", false, &[]),
        execute("", 0),
        sync(),
    ];
    session.send(&batch.concat()).await?;
    ground.waiting(1).await?;
    ground.release().await?;
    let begun = |it: &tests::raw::Message| it.tag == b'G';
    while !begun(&session.receive().await?.context("an answer")?) {}
    let rows = format!("{}\t7\n{}\t7\n", ground.held, ground.free);
    session
        .send(&[message(b'd', rows.as_bytes()), message(b'c', b""), sync()].concat())
        .await?;
    same!(sqlstate(&session.until_ready().await?), None);
    let keys = (ground.held, ground.free);
    let sum = format!(
        "SELECT sum(v) FROM held WHERE k IN ({}, {})",
        keys.0, keys.1
    );
    same!(ground.router()?.psql(&sum).await?, "14");
    Ok(())
}

async fn a_hold_that_nobody_takes_away_ends_at_its_deadline() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    ground.hold(1_000).await?;
    let mut session = ground.connect().await?;
    // The first may wait for it; for the second it is over.
    for _ in 0..2 {
        let begin = Instant::now();
        same!(
            sqlstate(&session.query(&ground.upsert(ground.held)).await?),
            None
        );
        let took = begin.elapsed();
        anyhow::ensure!(took < Duration::from_secs(5), "took {took:?}");
    }
    ground.release().await
}

async fn too_many_too_large_and_too_long_are_refused() -> Outcome {
    let limits = json!({ "max_waiting": 1, "max_bytes": 10_000, "max_wait": "2s" });
    let ground = Ground::prepare(limits).await?;
    ground.hold(FOREVER_MS).await?;
    let (mut first, mut second) = (ground.connect().await?, ground.connect().await?);
    let large = format!("{} -- {}", ground.upsert(ground.held), "x".repeat(10_000));
    same!(
        sqlstate(&second.query(&large).await?).as_deref(),
        Some("53400")
    );
    ground.rejected("bytes").await?;
    first.send(&query(&ground.upsert(ground.held))).await?;
    ground.waiting(1).await?;
    let refused = second.query(&ground.upsert(ground.held)).await?;
    same!(sqlstate(&refused).as_deref(), Some("53400"));
    ground.rejected("count").await?;
    let late = first.until_ready().await?;
    same!(sqlstate(&late).as_deref(), Some("40001"));
    ground.rejected("time").await?;
    // The sessions are as good as before.
    same!(
        sqlstate(&first.query(&ground.upsert(ground.free)).await?),
        None
    );
    let body = json!({ "query": "SELECT k FROM held WHERE k = $1", "params": [ground.held] });
    let answer = ground.router()?.execute(&body).await?;
    same!(answer.status.as_u16(), 503, "{}", answer.body);
    Ok(())
}

async fn a_client_that_leaves_gives_its_place_up() -> Outcome {
    let ground = Ground::prepare(json!({ "max_waiting": 1 })).await?;
    ground.hold(FOREVER_MS).await?;
    for _ in 0..3 {
        let mut session = ground.connect().await?;
        session.send(&query(&ground.upsert(ground.held))).await?;
        ground.waiting(1).await?;
        drop(session);
        ground.waiting(0).await?;
    }
    let body = json!({ "query": "SELECT k FROM held WHERE k = $1", "params": [ground.held] });
    anyhow::ensure!(
        timeout(MOMENT, ground.router()?.execute(&body))
            .await
            .is_err(),
        "HTTP answered under a hold"
    );
    ground.waiting(0).await?;
    ground.release().await?;
    // What nobody waited for any more was not run.
    let value = format!("SELECT count(*) FROM held WHERE k = {}", ground.held);
    same!(ground.router()?.psql(&value).await?, "0");
    Ok(())
}

async fn a_cancel_ends_a_wait_under_a_hold() -> Outcome {
    let ground = Ground::prepare(json!({})).await?;
    ground.hold(FOREVER_MS).await?;
    let mut session = ground.connect().await?;
    for begin in [None, Some("BEGIN")] {
        if let Some(begin) = begin {
            session.query(begin).await?;
            session.query("SELECT 1").await?;
        }
        session.send(&query(&ground.upsert(ground.held))).await?;
        ground.waiting(1).await?;
        let address = ground.router()?.address();
        let mut canceller = Raw::open(address.port).await?;
        canceller.send(&cancel(&session.cancel_key)).await?;
        let answer = session.until_ready().await?;
        same!(sqlstate(&answer).as_deref(), Some("57014"), "{answer:?}");
        ground.waiting(0).await?;
        if begin.is_some() {
            let failed = session.query(&ground.upsert(ground.free)).await?;
            same!(sqlstate(&failed).as_deref(), Some("25P02"));
            same!(sqlstate(&session.query("ROLLBACK").await?), None);
        }
        // A cancel that came too late for a wait is forgotten.
        canceller = Raw::open(address.port).await?;
        canceller.send(&cancel(&session.cancel_key)).await?;
        canceller.closed().await?;
        let served = session.query(&ground.upsert(ground.free)).await?;
        same!(sqlstate(&served), None);
    }
    ground.release().await?;
    let value = format!("SELECT count(*) FROM held WHERE k = {}", ground.held);
    same!(ground.router()?.psql(&value).await?, "0");
    Ok(())
}

async fn a_router_that_ends_sends_those_who_wait_away() -> Outcome {
    let mut ground = Ground::prepare(json!({})).await?;
    ground.hold(FOREVER_MS).await?;
    let mut session = ground.connect().await?;
    session.send(&query(&ground.upsert(ground.held))).await?;
    ground.waiting(1).await?;
    let mut router = ground.cluster.routers.pop().context("a router")?;
    let begin = Instant::now();
    router.program.terminate().await?;
    let took = begin.elapsed();
    anyhow::ensure!(took < Duration::from_secs(10), "ended after {took:?}");
    same!(sqlstate(&session.closed().await?).as_deref(), Some("57P01"));
    Ok(())
}
