//! A cluster whose shard-1 has a guard on one key, opened and closed by hand, and a topology that
//! is written as a manager would write it.

use anyhow::Context as _;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::program::Router;
use tests::raw::{Message, Raw};
use tests::{Cluster, wait};
use topology::records::{self, Head, Hold, ShardVnodes};
use topology::routers::{self, Router as Listed};
use topology::store::{self, Compare, EtcdStore, Op, Store as _, Txn};
use topology::{Epoch, Key, ShardId, hash, keys};

use crate::suite::Outcome;

/// A key of shard-1 whose vnode moves to shard-2, and one that stays. Both shards hold a row of
/// the first, as a mirror does, and shard-1 one of the second; all values are 0.
pub(super) struct Ground {
    pub(super) cluster: Cluster,
    pub(super) store: EtcdStore,
    pub(super) moved: i64,
    pub(super) stays: i64,
}

/// What the guard does.
#[derive(Debug, Clone, Copy)]
pub(super) enum Guard {
    Open,
    /// VG002.
    Closing,
    /// VG001.
    Closed,
}

impl Ground {
    pub(super) async fn prepare(router_config: Value, routers: usize) -> anyhow::Result<Self> {
        let cluster = Cluster::start(Plan {
            routers,
            router_config,
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
        let moved = cluster.key_on("shard-1", 1).await?;
        let snapshot = cluster.snapshot().await?;
        let vnode = |key| snapshot.owner_of(&Key::Bigint(key)).map(|it| it.token);
        let mut stays = moved;
        while vnode(stays) == vnode(moved) {
            stays = cluster.key_on("shard-1", stays + 1).await?;
        }
        let ground = Self {
            cluster,
            store,
            moved,
            stays,
        };
        let rows = format!("INSERT INTO held VALUES ({moved}, 0)");
        ground
            .shard(1)?
            .psql(&format!("{rows}, ({stays}, 0)"))
            .await?;
        ground.shard(2)?.psql(&rows).await?;
        ground.shard(1)?.psql(&guard(moved)).await?;
        Ok(ground)
    }

    pub(super) fn router(&self) -> anyhow::Result<&Router> {
        self.cluster.router(0)
    }

    pub(super) fn shard(&self, number: usize) -> anyhow::Result<&tests::Postgres> {
        self.cluster.shard(&format!("shard-{number}"))
    }

    pub(super) async fn connect(&self) -> anyhow::Result<Raw> {
        Raw::connect(&self.router()?.address()).await
    }

    pub(super) async fn guard(&self, guard: Guard) -> Outcome {
        let value = match guard {
            Guard::Open => 0,
            Guard::Closing => -1,
            Guard::Closed => 7,
        };
        let sql = format!("SELECT setval('vg.fence', {value})");
        self.shard(1)?.psql(&sql).await?;
        Ok(())
    }

    /// Adds one to a key's value.
    pub(super) fn count(key: i64) -> String {
        format!("UPDATE held SET v = v + 1 WHERE k = {key}")
    }

    pub(super) async fn value(&self, shard: usize, key: i64) -> anyhow::Result<String> {
        let sql = format!("SELECT v FROM held WHERE k = {key}");
        self.shard(shard)?.psql(&sql).await
    }

    /// Writes as the leader does: the changes and the next head in one transaction.
    pub(super) async fn write(&self, mut ops: Vec<Op>) -> anyhow::Result<Epoch> {
        let entry = self.store.read(keys::HEAD).await?.context("a head")?;
        let head: Head = records::decode(&entry.key, &entry.value)?;
        let epoch = Epoch(head.epoch.0 + 1);
        ops.push(Op::put(
            keys::HEAD,
            records::encode(&Head { epoch, ..head }),
        ));
        let seen = Compare::ModRevision(keys::HEAD.to_owned(), entry.mod_revision);
        let txn = Txn {
            compares: vec![seen],
            ops,
        };
        let committed = self.store.commit(txn).await?;
        anyhow::ensure!(
            matches!(committed, store::Committed::Applied(_)),
            "another write was faster"
        );
        Ok(epoch)
    }

    /// A hold of the moved key's vnode, or of nothing: that announces a job.
    pub(super) async fn hold(&self, announced: bool) -> anyhow::Result<Epoch> {
        let token = hash::token_of(&Key::Bigint(self.moved));
        let range = records::TokenRange {
            after: topology::Token(token.0.wrapping_sub(1)),
            last: token,
        };
        let hold = Hold {
            id: "job".to_owned(),
            ranges: if announced { Vec::new() } else { vec![range] },
            deadline_ms: 60_000,
        };
        let record = records::encode(&hold);
        self.write(vec![Op::put(keys::hold(&hold.id), record)])
            .await
    }

    /// The moved key's vnode is shard-2's from now on, and nothing is held.
    pub(super) async fn flip(&self) -> anyhow::Result<Epoch> {
        let vnode = self.cluster.snapshot().await?;
        let vnode = vnode
            .owner_of(&Key::Bigint(self.moved))
            .context("an owner")?;
        let mut ops = vec![Op::delete(keys::hold("job"))];
        for name in ["shard-1", "shard-2"] {
            let id = ShardId::try_new(name)?;
            let entry = self.store.read(&keys::ring(&id)).await?.context("a ring")?;
            let mut part: ShardVnodes = records::decode(&entry.key, &entry.value)?;
            if name == "shard-1" {
                part.tokens.retain(|token| *token != vnode.token);
            } else {
                part.tokens.push(vnode.token);
                part.tokens.sort_unstable();
            }
            ops.push(Op::put(entry.key, records::encode(&part)));
        }
        self.write(ops).await
    }

    /// What the routers' records say.
    pub(super) async fn listed(&self) -> anyhow::Result<Vec<Listed>> {
        Ok(routers::list(&self.store).await?.all)
    }

    /// Waits until every router has acknowledged an epoch.
    pub(super) async fn acknowledged(&self, epoch: Epoch) -> Outcome {
        let count = self.cluster.routers.len();
        wait::until("acknowledged", wait::SETTLE, async || {
            let listed = self.listed().await?;
            let all = listed.iter().all(|it| it.record.applied_epoch >= epoch);
            anyhow::ensure!(all && listed.len() == count, "{epoch}: {listed:?}");
            Ok(())
        })
        .await
    }

    /// A counter's value over all its labels.
    pub(super) async fn counted(&self, name: &str) -> anyhow::Result<u64> {
        let metrics = self.router()?.program.metrics().await?;
        let values = metrics.lines().filter(|line| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        let values = values.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(values.sum())
    }
}

/// The SQLSTATEs among some messages.
pub(super) fn sqlstates(messages: &[Message]) -> Vec<String> {
    messages.iter().filter_map(Message::sqlstate).collect()
}

/// What a router lays over its configuration to give up soon.
pub(super) fn impatient() -> Value {
    json!({ "sharding": { "hold": { "max_wait": "300ms" } } })
}

/// A guard as the managers install one, of one key and without its lock.
fn guard(key: i64) -> String {
    format!(
        "CREATE SCHEMA IF NOT EXISTS vg;
         CREATE SEQUENCE vg.fence MINVALUE -1 START 0;
         SELECT setval('vg.fence', 0);
         CREATE FUNCTION vg.guard() RETURNS trigger LANGUAGE plpgsql AS $$
         DECLARE
           fence bigint := pg_sequence_last_value('vg.fence');
         BEGIN
           IF NEW.k = {key} AND fence < 0 THEN
             RAISE EXCEPTION USING ERRCODE = 'VG002', MESSAGE = 'this row is being moved';
           ELSIF NEW.k = {key} AND fence > 0 THEN
             RAISE EXCEPTION USING ERRCODE = 'VG001', MESSAGE = 'this row is on another shard',
               DETAIL = 'epoch ' || fence, HINT = 'retry';
           END IF;
           RETURN NEW;
         END $$;
         CREATE TRIGGER guard BEFORE INSERT OR UPDATE ON held FOR EACH ROW
           EXECUTE FUNCTION vg.guard();
         ALTER TABLE held ENABLE ALWAYS TRIGGER guard;
         CREATE FUNCTION vg.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
           RAISE EXCEPTION USING ERRCODE = 'VG003', MESSAGE = 'not while rows are being moved',
             HINT = 'retry after the move';
         END $$;
         CREATE TRIGGER refuse BEFORE TRUNCATE ON held EXECUTE FUNCTION vg.refuse();"
    )
}
