//! An authority of certificates is replaced by another one, as docs/security.md says, while clients
//! ask: at the end nothing that the old one has signed is good for anything, on any connection.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::authority::{Access, Authority, Identity};
use tests::process::Signal;
use tests::{Cluster, Program, http, wait};

use super::access;
use super::rotation::{doors, is_let_in, load, serial_in, serial_of, start};
use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: an_authority_is_replaced_on_every_connection_without_a_failed_query).into()
}

/// Runs a step while clients ask over all fronts; none of them may fail.
async fn under_load(cluster: &Cluster, step: impl Future<Output = Outcome>) -> anyhow::Result<u32> {
    let (stop, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let step = async {
        let outcome = step.await;
        stop.store(true, Ordering::Relaxed);
        outcome
    };
    tokio::try_join!(step, load(cluster, &stop, &answered))?;
    Ok(answered.load(Ordering::Relaxed))
}

/// Has all programs read their files again, and etcd and the shards too.
async fn read_again(cluster: &mut Cluster) -> Outcome {
    // It reads authorities at its start alone.
    cluster.etcd.restart().await?;
    for shard in &cluster.shards {
        shard.psql("SELECT pg_reload_conf()").await?;
    }
    let mut programs = vec![&cluster.router(0)?.program];
    programs.extend(cluster.managers.iter().map(|manager| &manager.0));
    // For fronts, managers, shards and etcd.
    let times = |program: &&Program| program.log().matches("TLS files read again").count();
    let before: Vec<usize> = programs.iter().map(times).collect();
    for program in &programs {
        program.signal(Signal::Hangup)?;
    }
    wait::until("the files are read", wait::SETTLE, async || {
        let now: Vec<usize> = programs.iter().map(times).collect();
        let mut both = before.iter().zip(&now);
        anyhow::ensure!(both.all(|(was, is)| *is >= was + 4), "{before:?}, {now:?}");
        Ok(())
    })
    .await
}

/// Writes the new authority's certificate for each name over the old one's, whose owner stays.
fn replace(old: &Authority, new: &Authority, names: &[&str]) -> Outcome {
    let folder = old.root();
    let folder = folder.parent().context("a folder")?;
    for name in names {
        let Identity { certificate, key } = new.issue(name)?;
        std::fs::write(folder.join(format!("{name}.key")), std::fs::read(key)?)?;
        let file = folder.join(format!("{name}.crt"));
        std::fs::write(file, std::fs::read(certificate)?)?;
    }
    Ok(())
}

/// Every port of both programs shows this certificate.
async fn is_shown(cluster: &Cluster, serial: &str) -> Outcome {
    let access = access(cluster)?;
    for (address, starttls) in doors(cluster)? {
        let shown = serial_of(&address, access, starttls).await?;
        same!(shown, serial, "{address}");
    }
    Ok(())
}

async fn an_authority_is_replaced_on_every_connection_without_a_failed_query() -> Outcome {
    let (old, new) = (Arc::new(Authority::new()?), Authority::new()?);
    let mut cluster = start(&old, 2).await?;
    // A certificate of the old one that is good for long.
    let left = Access {
        root: new.root(),
        identity: Some(old.issue("left")?),
    };
    // 1. Everybody trusts both.
    let both = [std::fs::read(old.root())?, std::fs::read(new.root())?].concat();
    std::fs::write(old.root(), both)?;
    read_again(&mut cluster).await?;
    // 2. One certificate after the other is replaced.
    let folder = old.root();
    let folder = folder.parent().context("a folder")?;
    let step = async {
        replace(&old, &new, &["postgres", "program", "etcd"])?;
        let serial = serial_in(&folder.join("program.crt")).await?;
        cluster.shards[0].psql("SELECT pg_reload_conf()").await?;
        wait::until("the new certificate", wait::SETTLE, async || {
            is_shown(&cluster, &serial).await
        })
        .await
    };
    let first = under_load(&cluster, step).await?;
    // Clients, and what the harness shows etcd.
    replace(&old, &new, &["harness", "etcdctl"])?;
    // 3. Nobody trusts the old one any more.
    std::fs::write(old.root(), std::fs::read(new.root())?)?;
    read_again(&mut cluster).await?;
    let mut console = cluster.router(0)?.address();
    "sharding".clone_into(&mut console.database);
    let step = async {
        console.psql("RECONNECT").await?;
        every_hop_works(&cluster, folder).await
    };
    let second = under_load(&cluster, step).await?;
    is_let_in(&cluster, &left, false).await?;
    let ours = access(&cluster)?.clone();
    is_let_in(&cluster, &ours, true).await?;
    told!(
        "{first} answers while certificates were replaced, {second} under the new authority alone"
    );
    Ok(())
}

/// Router and managers to etcd, to the shard, and to the manager that leads: each by a connection
/// that is new, or one that the restart of etcd has ended.
async fn every_hop_works(cluster: &Cluster, folder: &Path) -> Outcome {
    let encrypted = "SELECT count(*) FROM t";
    same!(cluster.router(0)?.psql(encrypted).await?, "0");
    let own = serial_in(&folder.join("postgres.crt")).await?;
    let shard = format!("127.0.0.1:{}", cluster.shards[0].address().port);
    let postgres = ["-starttls", "postgres"];
    same!(serial_of(&shard, access(cluster)?, &postgres).await?, own);
    for (index, manager) in cluster.managers.iter().enumerate() {
        // One of them leads, the other one has to ask it.
        let group = json!({ "name": format!("g{index}"), "key_type": "uuid" });
        wait::until("a write", wait::SETTLE, async || {
            let answer = http::post(&manager.api("/groups"), &group).await?;
            anyhow::ensure!([201, 409].contains(&answer.status.as_u16()), "{answer:?}");
            Ok(())
        })
        .await?;
        let diff = http::get(&manager.api("/schema/diff")).await?;
        same!(diff.status.as_u16(), 200, "{}", diff.body);
    }
    let create = "/* table_kind = unsharded */ CREATE TABLE IF NOT EXISTS u (k bigint PRIMARY KEY)";
    wait::until("a router's write", wait::SETTLE, async || {
        cluster.router(0)?.psql(create).await.map(drop)
    })
    .await?;
    cluster.settle().await
}
