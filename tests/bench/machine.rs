//! What the figures were measured on, and with.

use std::process::Command;

use anyhow::Context as _;
use tests::postgres;
use tests::program::executable;

use crate::bouncer;

/// The machine and the versions.
#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) memory_gib: u64,
    pub(crate) kernel: String,
    pub(crate) versions: Vec<String>,
    pub(crate) load_before: String,
}

impl Machine {
    pub(crate) fn look() -> anyhow::Result<Self> {
        let processors = std::fs::read_to_string("/proc/cpuinfo")?;
        let memory = std::fs::read_to_string("/proc/meminfo")?;
        let memory_kib: u64 = field(&memory, "MemTotal")
            .and_then(|text| text.split(' ').next()?.parse().ok())
            .unwrap_or(0);
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let router = executable("router")?;
        let server = postgres::bin()?.join("postgres");
        let versions = [
            (router.as_path(), "router"),
            (&server, "PostgreSQL"),
            (&bouncer::program()?, "PgBouncer"),
        ];
        Ok(Self {
            processor: field(&processors, "model name")
                .unwrap_or("unknown processor")
                .to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory_kib >> 20,
            kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")?
                .trim()
                .to_owned(),
            versions: versions
                .map(|(program, name)| version(program, name))
                .into_iter()
                .collect::<Result<_, _>>()?,
            load_before: load.split(' ').take(3).collect::<Vec<_>>().join(" "),
        })
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .find(|(field, _)| field.trim() == name)
        .map(|(_, value)| value.trim())
}

fn version(program: &std::path::Path, name: &str) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("ask {} for its version", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let number = text
        .split_whitespace()
        .find(|word| word.starts_with(|first: char| first.is_ascii_digit()));
    Ok(format!("{name} {}", number.unwrap_or("of unknown version")))
}

/// Lets this process and those that it starts open as many files as the system allows them.
pub(crate) fn raise_file_limit() -> anyhow::Result<()> {
    let id = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &id, "--nofile=20000:"])
        .status();
    // A machine that does not allow so many says so when the clients connect.
    let _status = status.context("run prlimit")?;
    Ok(())
}
