//! The harness itself: servers come up fast, keep their ports and data over a death, and nothing is
//! left behind, however the test program ends.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::postgres::{Auth, Options, PASSWORD};
use tests::{Etcd, Postgres, wait};

use crate::suite::{Outcome, Suite, alone, same};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        a_killed_etcd_comes_back_with_its_data,
        a_killed_server_comes_back_on_its_port_with_its_data,
        a_server_with_scram_refuses_a_wrong_password,
        a_paused_server_answers_again_after_the_pause,
        nothing_outlives_a_killed_test_program,
        the_data_of_a_server_goes_with_it,
    )
    .into()
}

/// Set in the process that `nothing_outlives_a_killed_test_program` starts and kills.
const CHILD: &str = "E2E_HARNESS_CHILD";

pub(crate) fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

/// Starts servers, says so, and waits to be killed.
pub(crate) fn run_child() -> ExitCode {
    let run = || {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(async {
            let (etcd, server) = tokio::try_join!(Etcd::start(), Postgres::start())?;
            let mut out = std::io::stdout();
            writeln!(out, "{} {}", etcd.id()?, server.id()?)?;
            out.flush()?;
            tokio::time::sleep(Duration::from_secs(600)).await;
            anyhow::Ok(())
        })
    };
    if run().is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn nothing_outlives_a_killed_test_program() -> Outcome {
    let mut child = Command::new(std::env::current_exe()?)
        .env(CHILD, "1")
        .stdout(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    let out = child.stdout.take().context("the output is a pipe")?;
    BufReader::new(out).read_line(&mut line)?;
    let servers: Vec<&str> = line.split_whitespace().collect();
    same!(servers.len(), 2, "ids of etcd and PostgreSQL in {line:?}");
    child.kill()?;
    child.wait()?;
    wait::until("end of the servers", wait::SETTLE, async || {
        let left = servers
            .iter()
            .filter(|id| Path::new("/proc").join(id).exists())
            .count();
        anyhow::ensure!(left == 0, "{left} of them run");
        Ok(())
    })
    .await?;
    // Its files go with the next run, or with this call.
    tests::folder::remove_abandoned();
    Ok(())
}

async fn a_killed_etcd_comes_back_with_its_data() -> Outcome {
    let mut etcd = Etcd::start().await?;
    etcd.etcdctl(&["put", "/a", "1"])?;
    etcd.kill().await?;
    etcd.restart().await?;
    let value = etcd.etcdctl(&["get", "--print-value-only", "/a"])?;
    same!(value.trim(), "1");
    Ok(())
}

async fn a_killed_server_comes_back_on_its_port_with_its_data() -> Outcome {
    let mut server = Postgres::start().await?;
    server.psql("CREATE TABLE t AS SELECT 7 AS a").await?;
    let port = server.address().port;
    let open = server.client().await?;
    server.kill().await?;
    anyhow::ensure!(
        open.simple_query("SELECT 1").await.is_err(),
        "the session is still open"
    );
    anyhow::ensure!(server.client().await.is_err(), "the server still accepts");
    server.restart().await?;
    same!(server.address().port, port);
    same!(server.psql("SELECT a FROM t").await?, "7");
    Ok(())
}

async fn a_server_with_scram_refuses_a_wrong_password() -> Outcome {
    let server = Postgres::start_with(Options {
        auth: Auth::Scram,
        ..Options::default()
    })
    .await?;
    let mut address = server.address();
    same!(address.password.as_deref(), Some(PASSWORD));
    same!(address.psql("SHOW wal_level").await?, "logical");
    address.password = Some("wrong".to_owned());
    let refused = address.psql_output("SELECT 1").await?;
    let text = String::from_utf8_lossy(&refused.stderr);
    anyhow::ensure!(text.contains("password authentication failed"), "{text}");
    Ok(())
}

async fn a_paused_server_answers_again_after_the_pause() -> Outcome {
    let server = Postgres::start().await?;
    let client = server.client().await?;
    server.pause()?;
    let query = client.simple_query("SELECT 1");
    tokio::pin!(query);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut query).await;
    anyhow::ensure!(early.is_err(), "a paused server answered");
    server.resume()?;
    query.await?;
    Ok(())
}

async fn the_data_of_a_server_goes_with_it() -> Outcome {
    let (etcd, server) = tokio::try_join!(Etcd::start(), Postgres::start())?;
    let line = std::fs::read_to_string(format!("/proc/{}/cmdline", etcd.id()?))?;
    let mut words = line.split('\0').skip_while(|word| *word != "--data-dir");
    let of_etcd = words.nth(1).context("etcd is told its data folder")?;
    let of_server = server.psql("SHOW data_directory").await?;
    let folders = [Path::new(of_etcd), Path::new(of_server.trim())];
    same!(folders.map(Path::exists), [true, true], "{folders:?} exist");
    drop((etcd, server));
    let kept = std::env::var_os("KEEP_TEST_FILES").is_some();
    same!(folders.map(Path::exists), [kept, kept], "{folders:?} exist");
    Ok(())
}
