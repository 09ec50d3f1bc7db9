//! The disaster drill: a system under writes that span shards is backed up and destroyed; what is
//! restored into fresh servers is whole, and has every row and the ring.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::cluster::Plan;
use tests::folder::Folder;
use tests::program::{executable, target_folder};
use tests::{Cluster, Etcd, Manager, Postgres, http, postgres, wait};

use crate::reshard::job;
use crate::suite::{Outcome, Suite, alone, same, told};
use crate::transactions::bank::{self, Tellers};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_dumped_system_is_restored_with_every_row_and_the_ring,
        a_system_is_restored_from_data_folders_and_their_log,
        no_backup_is_taken_while_rows_lie_on_two_shards,
    )
    .into()
}

const TELLERS: usize = 4;

/// Runs shardctl as a CronJob does: it finds etcd and the shards by its environment.
async fn shardctl(etcd: &Etcd, arguments: &[&str]) -> anyhow::Result<Output> {
    let mut command = Command::new(executable("shardctl")?);
    command
        .args(arguments)
        .env("ETCD_ENDPOINTS", etcd.endpoint())
        .env("DB_USERNAME", postgres::USER)
        .env("DB_PASSWORD", postgres::PASSWORD);
    let mut command = tokio::process::Command::from(command);
    Ok(command.kill_on_drop(true).output().await?)
}

async fn done(etcd: &Etcd, arguments: &[&str]) -> anyhow::Result<Value> {
    let mut all = vec!["--output", "json"];
    all.extend(arguments);
    let output = shardctl(etcd, &all).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{arguments:?}: {errors}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

async fn refused(etcd: &Etcd, arguments: &[&str], wanted: &str) -> Outcome {
    let output = shardctl(etcd, arguments).await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    same!(output.status.code(), Some(1), "{arguments:?}: {errors}");
    anyhow::ensure!(errors.contains(wanted), "{arguments:?}: {errors}");
    Ok(())
}

/// Begins transfers through the first router.
fn tellers(cluster: &Cluster, next: &Arc<AtomicI64>) -> anyhow::Result<Tellers> {
    let address = cluster.router(0)?.address();
    Ok(Tellers::start(std::iter::repeat_n(address, TELLERS), next))
}

/// Waits until so many transfers have been begun.
async fn until_begun(next: &AtomicI64, count: i64) -> Outcome {
    wait::until("transfers", wait::START, async || {
        let begun = next.load(Ordering::Relaxed);
        anyhow::ensure!(begun >= count, "{begun} of {count}");
        Ok(())
    })
    .await
}

/// A system with the bank, a reference table, an unsharded one, a user and a role of its own.
async fn build(plan: Plan) -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(plan).await?;
    bank::open(&cluster).await?;
    let router = cluster.router(0)?;
    let sql = "CREATE TABLE rate (code text PRIMARY KEY, v numeric); \
               CREATE TABLE note (id serial PRIMARY KEY, body text); \
               CREATE ROLE auditor; GRANT SELECT ON rate TO auditor";
    for statement in sql.split("; ") {
        router.psql(statement).await?;
    }
    let tables = [
        json!({ "name": "rate", "kind": "reference" }),
        json!({ "name": "note", "kind": "unsharded", "shard_id": "shard-2" }),
    ];
    for table in &tables {
        cluster.post_when_led("/tables", table).await?;
    }
    cluster.settle().await?;
    router
        .psql("INSERT INTO rate (code, v) VALUES ('a', 1.5), ('b', 2.25)")
        .await?;
    let sql = "INSERT INTO note (body) SELECT repeat('note ', 40) FROM generate_series(1, 500)";
    cluster.shard("shard-2")?.psql(sql).await?;
    let user = json!({ "name": "teller", "password": "a password of the teller" });
    cluster.post_when_led("/users", &user).await?;
    Ok(cluster)
}

/// Each table of each shard as one checksum over its rows.
async fn rows(shards: &[Postgres]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for (number, shard) in (1..).zip(shards) {
        for table in ["account", "entry", "rate", "note"] {
            let sql = format!(
                "SELECT count(*), md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {table} t"
            );
            all.insert(format!("{table} on {number}"), shard.psql(&sql).await?);
        }
    }
    Ok(all)
}

/// Where every vnode is, and what else the managers know that is no address.
async fn topology(manager: &Manager) -> anyhow::Result<Value> {
    let mut all = json!({});
    for path in ["/ring", "/tables", "/groups", "/users"] {
        let mut answer = http::get(&manager.api(path)).await?.expect(200)?;
        if let Some(fields) = answer.as_object_mut() {
            fields.remove("epoch");
        }
        all[path] = answer;
    }
    Ok(all)
}

/// Programs on restored servers.
async fn revive(etcd: Etcd, shards: Vec<Postgres>) -> anyhow::Result<Cluster> {
    let mut manager = Manager::prepare(&etcd.endpoint(), &json!({}))?;
    manager.0.start().await?;
    let mut cluster = Cluster {
        routers: Vec::new(),
        managers: vec![manager],
        shards,
        spares: Vec::new(),
        etcd,
        secured: None,
    };
    cluster.add_router(&json!({})).await?;
    Ok(cluster)
}

/// It serves, takes writes over shards and changes of the topology.
async fn goes_on(cluster: &Cluster) -> Outcome {
    let next = Arc::new(AtomicI64::new(1_000_000));
    let load = tellers(cluster, &next)?;
    until_begun(&next, 1_000_020).await?;
    let told = load.stop().await?;
    anyhow::ensure!(!told.acknowledged.is_empty(), "nothing was acknowledged");
    let table = json!({ "name": "later", "shard_key": "k", "key_type": "bigint" });
    let sql = "CREATE TABLE later (k bigint PRIMARY KEY)";
    cluster.router(0)?.psql(sql).await?;
    cluster.post_when_led("/tables", &table).await?;
    cluster.settle().await?;
    cluster
        .router(0)?
        .psql("INSERT INTO later (k) VALUES (1), (2), (3)")
        .await?;
    Ok(())
}

/// A folder for backups, which is there for as long as its owner.
fn folder() -> anyhow::Result<(Arc<Folder>, PathBuf)> {
    let owner = Folder::shared()?;
    let path = owner.fresh("backups");
    Ok((owner, path))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str().context("the path is text")
}

/// A restore's arguments: the backup, and each shard's new address.
fn to_servers(backup: &str, shards: &[Postgres]) -> Vec<String> {
    let mut arguments = vec!["restore".to_owned(), backup.to_owned()];
    for (number, shard) in (1..).zip(shards) {
        arguments.push("--shard".to_owned());
        arguments.push(format!("shard-{number}={}", shard.endpoint()));
    }
    arguments
}

async fn restore(etcd: &Etcd, backup: &str, shards: &[Postgres]) -> anyhow::Result<Value> {
    let arguments = to_servers(backup, shards);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    done(etcd, &arguments).await
}

async fn fresh(count: usize) -> anyhow::Result<(Etcd, Vec<Postgres>)> {
    let etcd = Etcd::start().await?;
    let mut shards = Vec::new();
    for _ in 0..count {
        shards.push(Postgres::start().await?);
    }
    Ok((etcd, shards))
}

async fn a_dumped_system_is_restored_with_every_row_and_the_ring() -> Outcome {
    let cluster = build(Plan::default()).await?;
    let (_owner, to) = folder()?;
    let next = Arc::new(AtomicI64::new(1));
    let load = tellers(&cluster, &next)?;
    until_begun(&next, 200).await?;
    let before = load.stop().await?;
    let load = tellers(&cluster, &next)?;
    until_begun(&next, 220).await?;
    let busy = done(&cluster.etcd, &["backup", "--to", text(&to)?]).await?;
    load.stop().await?;
    told!("backup under load: {busy}");
    let quiet = done(
        &cluster.etcd,
        &["backup", "--to", text(&to)?, "--keep", "2"],
    )
    .await?;
    let (busy, quiet) = (
        busy["folder"].as_str().context("a folder")?,
        quiet["folder"].as_str().context("a folder")?,
    );
    for backup in [busy, quiet] {
        let verified = done(&cluster.etcd, &["backup", "verify", backup]).await?;
        same!(verified["verified"], json!(true));
    }
    let mode = std::fs::metadata(quiet)?.permissions().mode();
    same!(mode & 0o777, 0o700, "who may read a backup");
    age_is_shown(&cluster).await?;
    etcd_takes_its_snapshot(Path::new(quiet))?;
    let (wanted_rows, wanted) = (
        rows(&cluster.shards).await?,
        topology(&cluster.managers[0]).await?,
    );
    drop(cluster);

    // Taken under load: whole, with all that was acknowledged before it began.
    let (etcd, shards) = fresh(2).await?;
    restore(&etcd, busy, &shards).await?;
    let again = to_servers(busy, &shards);
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    refused(&etcd, &again, "etcd is not empty").await?;
    let restored = revive(etcd, shards).await?;
    bank::check(&restored, &before, 0).await?;
    drop(restored);

    row_for_row(quiet, &wanted_rows, &wanted).await
}

/// What was taken when nobody wrote.
async fn row_for_row(
    quiet: &str,
    wanted_rows: &BTreeMap<String, String>,
    wanted: &Value,
) -> Outcome {
    let (etcd, shards) = fresh(2).await?;
    restore(&etcd, quiet, &shards).await?;
    let restored = revive(etcd, shards).await?;
    same!(rows(&restored.shards).await?, *wanted_rows);
    same!(topology(&restored.managers[0]).await?, *wanted);
    let granted = "SELECT has_table_privilege('auditor', 'rate', 'SELECT')";
    same!(restored.shards[0].psql(granted).await?, "t");
    goes_on(&restored).await?;
    damage_is_found(&restored.etcd, Path::new(quiet)).await
}

/// etcd's own tool makes a data folder of it.
fn etcd_takes_its_snapshot(backup: &Path) -> Outcome {
    let unpacked = target_folder()?.join("tools/etcd/etcdutl");
    let tool = Some(unpacked).filter(|path| path.exists());
    let mut command = Command::new(tool.unwrap_or_else(|| PathBuf::from("etcdutl")));
    let into = backup.with_extension("etcd");
    command
        .args(["snapshot", "restore"])
        .arg(backup.join("etcd/snapshot.db"));
    let output = command.arg("--data-dir").arg(&into).output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{errors}");
    anyhow::ensure!(
        into.join("member/snap/db").exists(),
        "no database in {}",
        into.display()
    );
    Ok(())
}

/// Within a look of the manager.
async fn age_is_shown(cluster: &Cluster) -> Outcome {
    wait::until("the backup's age", wait::SETTLE, async || {
        let metrics = cluster.manager(0)?.0.metrics().await?;
        let name = "backup_last_success_timestamp_seconds ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        let at: f64 = line.context("the metric is there")?.parse()?;
        anyhow::ensure!(at > 1_700_000_000.0, "it is {at}");
        Ok(())
    })
    .await
}

async fn damage_is_found(etcd: &Etcd, backup: &Path) -> Outcome {
    let dump = backup.join("shards/shard-1/data.dump");
    let whole = std::fs::read(&dump)?;
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&dump, &bytes)?;
    let verify = ["backup", "verify", text(backup)?];
    refused(etcd, &verify, "its checksum is another").await?;
    std::fs::remove_file(&dump)?;
    refused(etcd, &verify, "it is missing").await?;
    std::fs::write(&dump, &whole)?;
    let manifest = backup.join("manifest.json");
    let said = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, said.replace("\"epoch\"", "\"Epoch\""))?;
    refused(etcd, &verify, "manifest.json: its checksum is another").await
}

async fn a_system_is_restored_from_data_folders_and_their_log() -> Outcome {
    let cluster = build(Plan::default()).await?;
    let (_owner, to) = folder()?;
    let next = Arc::new(AtomicI64::new(1));
    let load = tellers(&cluster, &next)?;
    until_begun(&next, 200).await?;
    let before = load.stop().await?;
    let load = tellers(&cluster, &next)?;
    let arguments = ["backup", "--to", text(&to)?, "--method", "basebackup"];
    let backup = done(&cluster.etcd, &arguments).await?;
    load.stop().await?;
    told!("backup by basebackup: {backup}");
    let backup = backup["folder"].as_str().context("a folder")?;
    done(&cluster.etcd, &["backup", "verify", backup]).await?;
    let wanted = topology(&cluster.managers[0]).await?;
    drop(cluster);

    let etcd = Etcd::start().await?;
    let mut shards = Vec::new();
    for shard in ["shard-1", "shard-2"] {
        let server = Postgres::on_data_made_by(async |data| {
            let into = format!("{shard}={}", data.display());
            done(&etcd, &["restore", backup, "--pgdata", &into])
                .await
                .map(drop)
        });
        shards.push(server.await?);
    }
    for shard in &shards {
        wait::until("end of recovery", wait::START, async || {
            same!(shard.psql("SELECT pg_is_in_recovery()").await?, "f");
            Ok(())
        })
        .await?;
    }
    restore(&etcd, backup, &shards).await?;
    let restored = revive(etcd, shards).await?;
    // What was prepared and not decided is ended by the managers.
    wait::until("recovery", wait::START, async || {
        crate::transactions::nothing_is_prepared(&restored).await
    })
    .await?;
    bank::check(&restored, &before, 0).await?;
    same!(topology(&restored.managers[0]).await?, wanted);
    goes_on(&restored).await
}

async fn no_backup_is_taken_while_rows_lie_on_two_shards() -> Outcome {
    let cluster = Cluster::start(Plan::default()).await?;
    bank::open(&cluster).await?;
    let id = job::begin(&cluster, "move", job::some_vnodes("shard-1", "shard-2", 40)).await?;
    job::until(&cluster, &id, "completed").await?;
    let (_owner, to) = folder()?;
    // It can still be rolled back, so the rows are on both.
    refused(
        &cluster.etcd,
        &["backup", "--to", text(&to)?],
        "is not over",
    )
    .await?;
    anyhow::ensure!(!to.exists(), "something was left behind");
    job::ask(&cluster, &id, "finish").await?;
    wait::until("a backup after the job", wait::START, async || {
        done(&cluster.etcd, &["backup", "--to", text(&to)?]).await
    })
    .await?;
    // A damaged environment is told of.
    let output = Command::new(executable("shardctl")?)
        .args(["backup", "--to", text(&to)?])
        .env_remove("ETCD_ENDPOINTS")
        .output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(errors.contains("--etcd or ETCD_ENDPOINTS"), "{errors}");
    Ok(())
}
