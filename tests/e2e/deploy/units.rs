//! The units of configs/systemd, read by systemd itself.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::folder::Folder;
use tests::program::executable;

use crate::suite::{Outcome, Suite, Unavailable, alone};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: systemd_finds_nothing_wrong_with_the_units).into()
}

async fn systemd_finds_nothing_wrong_with_the_units() -> Outcome {
    let folder = Folder::shared()?.fresh("units");
    std::fs::create_dir_all(&folder)?;
    let programs = executable("router")?;
    let programs = programs.parent().context("a program has a folder")?;
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/systemd");
    let mut command = tokio::process::Command::from(Command::new("systemd-analyze"));
    command.args(["--man=no", "verify"]);
    for unit in std::fs::read_dir(units)? {
        let unit = unit?;
        let text = std::fs::read_to_string(unit.path())?;
        // Where they are installed, there are the programs.
        let text = text.replace("/usr/local/bin", &programs.display().to_string());
        let copy = folder.join(unit.file_name());
        std::fs::write(&copy, text)?;
        command.arg(copy);
    }
    let output = command.kill_on_drop(true).output().await;
    let output = output.map_err(|_| Unavailable::Missing("systemd-analyze".to_owned()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Units of the machine itself are none of ours.
    let ours: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("sharding-"))
        .collect();
    anyhow::ensure!(output.status.success() && ours.is_empty(), "{said}");
    Ok(())
}
