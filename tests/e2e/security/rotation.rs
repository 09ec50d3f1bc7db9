//! Certificates are replaced under load, and whoever shows none, an old one or one of somebody else
//! is refused at every door.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use ::http::Method;
use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::authority::{Access, Authority, Identity};
use tests::cluster::Plan;
use tests::process::Signal;
use tests::{Cluster, http, wait};
use tokio::process::Command;

use super::{access, shardctl};
use crate::suite::{Outcome, Suite, alone, same, told};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        certificates_are_replaced_under_load_without_a_failed_query,
        who_shows_no_certificate_of_ours_is_refused_at_every_door,
    )
    .into()
}

/// A shard with a table, all under TLS.
pub(super) async fn start(authority: &Arc<Authority>, managers: usize) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(Plan {
        shards: 1,
        managers,
        authority: Some(Arc::clone(authority)),
        ..Plan::default()
    })
    .await?;
    cluster
        .create("t", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    Ok(cluster)
}

/// The serial number that a server under TLS shows.
pub(super) async fn serial_of(
    address: &str,
    access: &Access,
    starttls: &[&str],
) -> anyhow::Result<String> {
    let identity = access.identity.as_ref().context("a certificate")?;
    let mut command = Command::new("bash");
    let line = "openssl s_client -connect \"$0\" -cert \"$1\" -key \"$2\" \"${@:3}\" < /dev/null \
                2> /dev/null | openssl x509 -noout -serial";
    command.args(["-c", line, address]);
    command
        .arg(&identity.certificate)
        .arg(&identity.key)
        .args(starttls);
    let output = command.output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

pub(super) async fn serial_in(certificate: &Path) -> anyhow::Result<String> {
    let mut command = Command::new("openssl");
    command
        .args(["x509", "-noout", "-serial", "-in"])
        .arg(certificate);
    let output = command.output().await?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// All ports of both programs, as `host:port`, and how openssl is told what is spoken there.
pub(super) fn doors(cluster: &Cluster) -> anyhow::Result<Vec<(String, &'static [&'static str])>> {
    let router = cluster.router(0)?;
    let postgres: &[&str] = &["-starttls", "postgres"];
    let mut doors = vec![(format!("127.0.0.1:{}", router.address().port), postgres)];
    for program in [&router.program, &cluster.manager(0)?.0] {
        for url in [program.http(), program.grpc(), program.metrics_url()] {
            let address = url.trim_start_matches("https://");
            let address = address.trim_end_matches("/metrics").to_owned();
            doors.push((address, &[]));
        }
    }
    Ok(doors)
}

/// Connects again and again and asks over both fronts; counts what is answered.
pub(super) async fn load(cluster: &Cluster, stop: &AtomicBool, answered: &AtomicU32) -> Outcome {
    let router = cluster.router(0)?;
    while !stop.load(Ordering::Relaxed) {
        same!(router.psql("SELECT count(*) FROM t").await?, "0");
        let body = json!({ "query": "SELECT k FROM t WHERE k = 1" });
        router.execute(&body).await?.expect(200)?;
        http::get(&cluster.manager(0)?.api("/shards"))
            .await?
            .expect(200)?;
        answered.fetch_add(3, Ordering::Relaxed);
    }
    Ok(())
}

async fn certificates_are_replaced_under_load_without_a_failed_query() -> Outcome {
    let authority = Arc::new(Authority::new()?);
    let cluster = start(&authority, 1).await?;
    let (stop, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    let replaced = async {
        let outcome = replace(&cluster, &authority, &answered).await;
        stop.store(true, Ordering::Relaxed);
        outcome
    };
    let load = || load(&cluster, &stop, &answered);
    tokio::try_join!(replaced, load(), load())?;
    told!(
        "{} answers over three certificates",
        answered.load(Ordering::Relaxed)
    );
    Ok(())
}

/// A new certificate, one that cannot be used, and another new one.
async fn replace(cluster: &Cluster, authority: &Authority, answered: &AtomicU32) -> Outcome {
    let access = access(cluster)?;
    let shown = async |wanted: &str| {
        for (address, starttls) in doors(cluster)? {
            let shown = serial_of(&address, access, starttls).await?;
            same!(shown, wanted, "{address}");
        }
        anyhow::Ok(())
    };
    let enough = async |more: u32| {
        let wanted = answered.load(Ordering::Relaxed) + more;
        wait::until("load", wait::SETTLE, async || {
            let now = answered.load(Ordering::Relaxed);
            anyhow::ensure!(now >= wanted, "{now} answers of {wanted}");
            Ok(())
        })
        .await
    };
    enough(6).await?;
    let Identity { certificate, key } = authority.issue("program")?;
    let second = serial_in(&certificate).await?;
    wait::until("the new certificate", wait::SETTLE, async || {
        shown(&second).await
    })
    .await?;
    enough(6).await?;
    let good = (std::fs::read(&certificate)?, std::fs::read(&key)?);
    std::fs::write(&certificate, "no certificate")?;
    let programs = [&cluster.router(0)?.program, &cluster.manager(0)?.0];
    wait::until("the complaints", wait::SETTLE, async || {
        for program in programs {
            let complaint = "replaced TLS files cannot be used, the old ones stay in force";
            let log = program.log();
            let line = log.lines().find(|line| line.contains(complaint));
            let line = line.context("no complaint")?;
            anyhow::ensure!(line.contains("ERROR"), "{line}");
        }
        Ok(())
    })
    .await?;
    shown(&second).await?;
    enough(6).await?;
    std::fs::write(&certificate, good.0)?;
    std::fs::write(&key, good.1)?;
    authority.issue("program")?;
    let third = serial_in(&certificate).await?;
    for program in programs {
        program.signal(Signal::Hangup)?;
    }
    wait::until("SIGHUP", Duration::from_secs(5), async || {
        shown(&third).await
    })
    .await?;
    // Towards etcd and the shards, too.
    let table = json!({ "name": "u", "shard_key": "k", "key_type": "bigint" });
    http::post(&cluster.manager(0)?.api("/tables"), &table)
        .await?
        .expect(201)?;
    enough(6).await
}

async fn who_shows_no_certificate_of_ours_is_refused_at_every_door() -> Outcome {
    let (authority, other) = (Arc::new(Authority::new()?), Authority::new()?);
    let cluster = start(&authority, 1).await?;
    let root = authority.root();
    let as_who = |identity: Option<Identity>| Access {
        root: root.clone(),
        identity,
    };
    let ours = as_who(Some(authority.issue("somebody")?));
    is_let_in(&cluster, &ours, true).await?;
    for stranger in [
        as_who(None),
        as_who(Some(authority.expired("late")?)),
        as_who(Some(other.issue("somebody")?)),
    ] {
        is_let_in(&cluster, &stranger, false)
            .await
            .with_context(|| format!("{stranger:?}"))?;
    }
    // Nobody has said who they are; that they came is on record.
    wait::until("the strangers on record", wait::SETTLE, async || {
        let manager = cluster.manager(0)?;
        let url = manager.api("/audit?action=pg_login&target=user&result=refused");
        let audit = http::get(&url).await?.expect(200)?.to_string();
        for reason in [
            "no client certificate",
            "the client certificate is not valid here",
        ] {
            anyhow::ensure!(audit.contains(reason), "no {reason} in {audit}");
        }
        Ok(())
    })
    .await
}

/// Whether every front of both programs, and etcd, let in who comes like this.
pub(super) async fn is_let_in(cluster: &Cluster, access: &Access, wanted: bool) -> Outcome {
    let (router, manager) = (cluster.router(0)?, cluster.manager(0)?);
    let mut urls = vec![format!("https://{}/health", cluster.etcd.endpoint())];
    for program in [&router.program, &manager.0] {
        urls.extend([
            format!("{}/healthz", program.http()),
            format!("{}/healthz", program.grpc()),
            program.metrics_url(),
        ]);
    }
    for url in urls {
        let answer = http::by_curl(access, &Method::GET, &url, None).await;
        same!(answer.is_ok(), wanted, "{url}: {answer:?}");
    }
    let mut address = router.address();
    address.access = Some(access.clone());
    let Output { status, stderr, .. } = address.psql_output("SELECT 1").await?;
    same!(
        status.success(),
        wanted,
        "psql: {}",
        String::from_utf8_lossy(&stderr)
    );
    let (went_well, said) = shardctl(manager, access, "status").await?;
    same!(went_well, wanted, "shardctl: {said}");
    Ok(())
}
