//! What a process has cost, as the kernel counts it.

use std::time::Duration;

use anyhow::Context as _;

/// CPU time that a process has used so far, in user and in system mode.
pub(crate) fn cpu(id: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{id}/stat");
    let stat = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    // The name in parentheses may hold anything; utime and stime are the 12th and 13th after it.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let fields: Vec<&str> = fields.unwrap_or_default().split(' ').collect();
    let ticks = |at: usize| -> Option<u64> { fields.get(at)?.parse().ok() };
    let total = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    let total = total.with_context(|| format!("{path} is not understood: {stat}"))?;
    // Linux counts in hundredths of a second for programs, whatever its own clock is.
    Ok(Duration::from_millis(total * 10))
}

/// Memory of a process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident_kib: u64,
    pub(crate) proportional_kib: u64,
}

/// The memory that a process occupies now.
pub(crate) fn memory(id: u32) -> anyhow::Result<Memory> {
    Ok(Memory {
        resident_kib: kib(&format!("/proc/{id}/smaps_rollup"), "Rss:")?,
        proportional_kib: kib(&format!("/proc/{id}/smaps_rollup"), "Pss:")?,
    })
}

/// The most memory that a process occupied since [`forget_peak`].
pub(crate) fn peak_kib(id: u32) -> anyhow::Result<u64> {
    kib(&format!("/proc/{id}/status"), "VmHWM:")
}

/// Lets the peak begin anew.
pub(crate) fn forget_peak(id: u32) -> anyhow::Result<()> {
    let path = format!("/proc/{id}/clear_refs");
    std::fs::write(&path, "5").with_context(|| format!("write {path}"))
}

fn kib(path: &str, label: &str) -> anyhow::Result<u64> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(label));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("{path} does not say {label}"))
}
