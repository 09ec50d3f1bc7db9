//! One large result: how long it takes, what it costs the proxy, and how much of it the proxy
//! holds at a time.

use std::time::Duration;

use anyhow::Context as _;
use tests::pg::Address;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::arguments::Arguments;
use crate::points::median;
use crate::subject::{Subject, Subjects};
use crate::{Progress, usage};

/// Bytes of each row's only value.
const ROW_BYTES: u64 = 1024;

/// What one way cost.
#[derive(Debug, Clone)]
pub(crate) struct Bulk {
    pub(crate) subject: Subject,
    pub(crate) seconds: f64,
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) peak_kib: Option<u64>,
}

/// One run.
#[derive(Debug, Clone, Copy)]
struct Run {
    seconds: f64,
    cpu_seconds: Option<f64>,
    peak_kib: Option<u64>,
}

/// Reads the result through each subject, in rounds.
pub(crate) async fn measure(
    subjects: &Subjects,
    arguments: &Arguments,
    progress: &Progress,
) -> anyhow::Result<Vec<Bulk>> {
    let rows = arguments.bulk_mib * (1 << 20) / ROW_BYTES;
    let sql = format!("SELECT repeat('x', {ROW_BYTES}) FROM generate_series(1, {rows}) AS numbers");
    let mut runs: Vec<(Subject, Vec<Run>)> =
        Subject::ALL.map(|subject| (subject, Vec::new())).into();
    for _ in 0..arguments.rounds {
        for (subject, runs) in &mut runs {
            let proxy = subjects.proxy(*subject)?;
            let address = subjects.address(*subject)?;
            if let Some(proxy) = proxy {
                usage::forget_peak(proxy)?;
            }
            let before = proxy.map(usage::cpu).transpose()?;
            let took = read(&address, &sql, rows * ROW_BYTES).await?;
            let after = proxy.map(usage::cpu).transpose()?;
            let used = before.zip(after).map(|(before, after)| after - before);
            let peak = proxy.map(usage::peak_kib).transpose()?;
            runs.push(Run {
                seconds: took.as_secs_f64(),
                cpu_seconds: used.map(|used| used.as_secs_f64()),
                peak_kib: peak,
            });
        }
    }
    progress.done("the large result");
    Ok(runs
        .iter()
        .map(|(subject, runs)| Bulk {
            subject: *subject,
            seconds: median(runs.iter().map(|run| run.seconds)),
            cpu_seconds: runs
                .iter()
                .map(|run| run.cpu_seconds)
                .collect::<Option<Vec<_>>>()
                .map(median),
            peak_kib: runs.iter().filter_map(|run| run.peak_kib).max(),
        })
        .collect())
}

/// Sends a simple query and reads its answer without looking at it, so that the client costs as
/// little as it can.
async fn read(address: &Address, sql: &str, at_least: u64) -> anyhow::Result<Duration> {
    let mut stream = TcpStream::connect(("127.0.0.1", address.port)).await?;
    let mut startup = vec![0, 3, 0, 0];
    for text in ["user", &address.user, "database", &address.database, ""] {
        startup.extend_from_slice(text.as_bytes());
        startup.push(0);
    }
    send(&mut stream, None, &startup).await?;
    read_to_ready(&mut stream).await?;
    let begin = Instant::now();
    let mut query = sql.as_bytes().to_vec();
    query.push(0);
    send(&mut stream, Some(b'Q'), &query).await?;
    let bytes = read_to_ready(&mut stream).await?;
    let took = begin.elapsed();
    anyhow::ensure!(bytes >= at_least, "the result was only {bytes} bytes");
    Ok(took)
}

async fn send(stream: &mut TcpStream, tag: Option<u8>, body: &[u8]) -> anyhow::Result<()> {
    let mut message: Vec<u8> = tag.into_iter().collect();
    message.extend_from_slice(&u32::try_from(body.len() + 4)?.to_be_bytes());
    message.extend_from_slice(body);
    Ok(stream.write_all(&message).await?)
}

/// Reads until the last bytes are a ReadyForQuery of an idle session, which ends every answer; no
/// row of this benchmark looks like one.
async fn read_to_ready(stream: &mut TcpStream) -> anyhow::Result<u64> {
    const READY: &[u8] = b"Z\0\0\0\x05I";
    let mut buffer = vec![0; 256 << 10];
    let mut tail: Vec<u8> = Vec::new();
    let mut bytes = 0;
    loop {
        let read = stream.read(&mut buffer).await?;
        anyhow::ensure!(read > 0, "the connection was closed within the answer");
        bytes += u64::try_from(read)?;
        let fresh = buffer.get(..read).context("a read fills the buffer")?;
        let keep = fresh.len().saturating_sub(READY.len());
        tail.extend_from_slice(fresh.get(keep..).unwrap_or_default());
        let surplus = tail.len().saturating_sub(READY.len());
        tail.drain(..surplus);
        if tail == READY {
            return Ok(bytes);
        }
    }
}
