//! One run of pgbench and what it says.

use std::process::Stdio;

use anyhow::Context as _;
use tests::folder::Folder;
use tests::pg::Address;
use tests::postgres;

use crate::load::ROWS;

/// pgbench's `-M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Simple,
    Extended,
    Prepared,
}

impl Mode {
    pub(crate) const ALL: [Self; 3] = [Self::Simple, Self::Extended, Self::Prepared];

    /// As pgbench calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Simple => "simple",
            Self::Extended => "extended",
            Self::Prepared => "prepared",
        }
    }

    pub(crate) fn read(text: &str) -> anyhow::Result<Self> {
        let found = Self::ALL.into_iter().find(|mode| mode.name() == text);
        found.with_context(|| format!("{text} is not a mode: simple, extended or prepared"))
    }
}

/// What a run amounted to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) queries: f64,
    pub(crate) queries_per_second: f64,
    pub(crate) latency_ms: f64,
}

/// A random row by key: what every routed query looks like.
pub(crate) fn write_script() -> anyhow::Result<std::path::PathBuf> {
    let script = Folder::shared()?.fresh("point-read").with_extension("sql");
    let text = format!(
        "\\set aid random(1, {ROWS})\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n"
    );
    std::fs::write(&script, text)?;
    Ok(script)
}

/// Runs the script for some seconds.
pub(crate) async fn run(
    address: &Address,
    script: &std::path::Path,
    mode: Mode,
    clients: usize,
    seconds: u64,
) -> anyhow::Result<Outcome> {
    let program = postgres::bin()?.join("pgbench");
    let mut command = address.command(&program.to_string_lossy());
    let threads = clients.min(2);
    command.args(["-n", "-M", mode.name()]);
    command.args(["-c", &clients.to_string(), "-j", &threads.to_string()]);
    command.args(["-T", &seconds.to_string(), "-f"]).arg(script);
    let output = command.stdin(Stdio::null()).output().await?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "pgbench: {errors}");
    let text = String::from_utf8_lossy(&output.stdout);
    let failed = figure(&text, "number of failed transactions: ")?;
    anyhow::ensure!(failed == 0.0, "pgbench: {failed} transactions failed");
    Ok(Outcome {
        queries: figure(&text, "number of transactions actually processed: ")?,
        queries_per_second: figure(&text, "tps = ")?,
        latency_ms: figure(&text, "latency average = ")?,
    })
}

/// The number after a label.
fn figure(text: &str, label: &str) -> anyhow::Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let word = line.and_then(|line| line.split([' ', '/']).next());
    let number = word.and_then(|word| word.parse().ok());
    number.with_context(|| format!("pgbench does not say {label:?}:\n{text}"))
}
