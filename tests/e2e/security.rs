//! What keeps strangers out and secrets in: TLS on every connection, certificates that are replaced,
//! secrets that show up nowhere, and managers and routers that are cut off.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::authority::Access;
use tests::program::executable;
use tests::{Cluster, Manager};
use tokio::process::Command;

use crate::suite::Suite;

mod authorities;
mod encrypted;
mod partitions;
mod rotation;
mod secrets;

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    [
        authorities::trials(suite),
        encrypted::trials(suite),
        partitions::trials(suite),
        rotation::trials(suite),
        secrets::trials(suite),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Runs shardctl under TLS, with this access; whether it went well, and all that it says.
async fn shardctl(
    manager: &Manager,
    access: &Access,
    arguments: &str,
) -> anyhow::Result<(bool, String)> {
    let mut command = Command::new(executable("shardctl")?);
    command.args(["--manager", &manager.0.grpc(), "--timeout", "30s"]);
    command.arg("--ca").arg(&access.root);
    if let Some(identity) = &access.identity {
        command.arg("--cert").arg(&identity.certificate);
        command.arg("--key").arg(&identity.key);
    }
    command.args(arguments.split(' ')).kill_on_drop(true);
    let output = command.output().await?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    Ok((output.status.success(), said))
}

fn access(cluster: &Cluster) -> anyhow::Result<&Access> {
    let secured = cluster.secured.as_ref().context("all is under TLS")?;
    Ok(&secured.access)
}
