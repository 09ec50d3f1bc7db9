//! Malformed and outsized input ends at most its own session; memory stays bounded whatever the
//! size of a result.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::Cluster;
use tests::cluster::Plan;
use tests::program::Program;
use tests::raw::{Raw, bind, execute, message, parse, query, startup, sync, tags, terminate};

use super::{column, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite: a_result_of_any_size_streams_in_bounded_memory));
    trials.extend(shared!(suite:
        malformed_messages_end_their_session_with_an_error,
        lying_lengths_are_not_believed,
        malformed_startup_packets_end_their_connection,
        a_goodbye_before_the_startup_packet_is_not_answered,
        random_bytes_do_no_harm,
        a_long_statement_is_run,
        a_large_value_goes_in_and_comes_out,
    ));
    trials
}

async fn healthy(cluster: &Cluster) -> Outcome {
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    same!(column(&session.query("SELECT 1").await?)?, ["1"]);
    Ok(())
}

async fn malformed_messages_end_their_session_with_an_error(cluster: &Cluster) -> Outcome {
    let malformed = [
        ("unknown type", message(b'!', b"")),
        ("a type of the server", message(b'Z', b"I")),
        ("length below 4", vec![b'Q', 0, 0, 0, 3]),
        ("negative length", vec![b'Q', 0xff, 0xff, 0xff, 0xff]),
        ("query without an end", message(b'Q', b"SELECT 1")),
        ("query with two ends", message(b'Q', b"SELECT 1\0\0")),
        ("parse that is too short", message(b'P', b"name")),
        (
            "bind with too many values",
            message(b'B', b"\0\0\0\0\x7f\xff\0\0"),
        ),
        (
            "bind with a value of length -2",
            message(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        ),
        ("describe of nothing", message(b'D', b"X\0")),
        ("execute without a limit", message(b'E', b"\0")),
    ];
    let address = cluster.router(0)?.address();
    for (what, bytes) in malformed {
        let mut session = Raw::connect(&address).await?;
        session.send(&[bytes, sync()].concat()).await?;
        // PostgreSQL ends some of these sessions and lets others go on; both are right.
        let mut answer = Vec::new();
        while let Some(message) = session.receive().await? {
            let ready = message.tag == b'Z';
            answer.push(message);
            if ready {
                break;
            }
        }
        same!(
            sqlstate(&answer).as_deref(),
            Some("08P01"),
            "{what}: {answer:?}"
        );
    }
    healthy(cluster).await
}

async fn lying_lengths_are_not_believed(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    let before = memory(&router.program, "VmSize")?;
    let mut sessions = Vec::new();
    for _ in 0..8 {
        let mut session = Raw::connect(&router.address()).await?;
        // 2 GiB are announced and nothing follows.
        session.send(&[b'Q', 0x7f, 0xff, 0xff, 0xff]).await?;
        sessions.push(session);
    }
    for session in &mut sessions {
        let answer = session.closed().await?;
        let code = sqlstate(&answer).unwrap_or_default();
        anyhow::ensure!(["08P01", "54000"].contains(&code.as_str()), "{answer:?}");
    }
    let grown = memory(&router.program, "VmSize")?.saturating_sub(before);
    anyhow::ensure!(grown < 1 << 30, "the router reserved {grown} bytes");
    healthy(cluster).await
}

async fn malformed_startup_packets_end_their_connection(cluster: &Cluster) -> Outcome {
    let port = cluster.router(0)?.address().port;
    let long = "x".repeat(20_000);
    let packets = [
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 7, 0, 3, 0],
        vec![0x7f, 0xff, 0xff, 0xff],
        vec![0xff, 0xff, 0xff, 0xff],
        vec![0, 0, 0, 9, 0, 3, 0, 0, b'u'],
        startup(&[("user", "postgres"), ("application_name", &long)]),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
    ];
    for packet in packets {
        let mut connection = Raw::open(port).await?;
        connection.send(&packet).await?;
        // An error or nothing, then the end.
        let answer = connection.closed().await?;
        let sane = answer.iter().all(|message| message.tag == b'E');
        anyhow::ensure!(sane, "{packet:?} answered by {answer:?}");
    }
    healthy(cluster).await
}

/// A client may leave before it has said who it is.
async fn a_goodbye_before_the_startup_packet_is_not_answered(cluster: &Cluster) -> Outcome {
    let mut connection = Raw::open(cluster.router(0)?.address().port).await?;
    connection.send(&terminate()).await?;
    same!(connection.closed().await?.len(), 0);
    healthy(cluster).await
}

async fn random_bytes_do_no_harm(cluster: &Cluster) -> Outcome {
    let address = cluster.router(0)?.address();
    // A linear congruence is random enough and gives the same bytes on every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    for round in 0..100 {
        let bytes: Vec<u8> = (0..200).map(|_| next()).collect();
        let mut session = if round % 2 == 0 {
            Raw::open(address.port).await?
        } else {
            Raw::connect(&address).await?
        };
        let tag = b"QPBDECSHXdcfp"[usize::from(next()) % 13];
        drop(session.send(&message(tag, &bytes)).await);
        drop(session.send(&bytes).await);
    }
    healthy(cluster).await
}

async fn a_long_statement_is_run(cluster: &Cluster) -> Outcome {
    cluster
        .create("long", "k bigint, v text", ("k", "bigint"))
        .await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let rows: Vec<String> = (0..20_000)
        .map(|n| format!("(7, 'row number {n}')"))
        .collect();
    let sql = format!("INSERT INTO long (k, v) VALUES {}", rows.join(", "));
    let answer = session.query(&sql).await?;
    same!(tags(&answer), "CZ", "{answer:?}");
    same!(answer[0].text(), "INSERT 0 20000");
    // A parser's stack is not endless.
    let deep = format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000));
    let answer = session.query(&deep).await?;
    let code = sqlstate(&answer).unwrap_or_default();
    anyhow::ensure!(
        ["54001", "54000", "42601"].contains(&code.as_str()),
        "{code}"
    );
    same!(status(&answer)?, 'I');
    healthy(cluster).await
}

async fn a_large_value_goes_in_and_comes_out(cluster: &Cluster) -> Outcome {
    cluster
        .create("large", "k bigint PRIMARY KEY, v bytea", ("k", "bigint"))
        .await?;
    let client = cluster.router(0)?.client().await?;
    let value: Vec<u8> = (0..=255_u8).cycle().take(8 << 20).collect();
    client
        .execute(
            "INSERT INTO large (k, v) VALUES ($1, $2)",
            &[&7_i64, &value],
        )
        .await?;
    let row = client
        .query_one("SELECT v FROM large WHERE k = $1", &[&7_i64])
        .await?;
    anyhow::ensure!(row.get::<_, &[u8]>(0) == value, "8 MiB came back changed");
    Ok(())
}

/// A field of `/proc/<pid>/status` in bytes.
pub(super) fn memory(program: &Program, field: &str) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", program.id()?))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(kilobytes
        .with_context(|| format!("{field} of the router"))?
        .parse::<u64>()?
        << 10)
}

async fn a_result_of_any_size_streams_in_bounded_memory() -> Outcome {
    let cluster = Cluster::start(Plan {
        shards: 1,
        ..Plan::default()
    })
    .await?;
    let router = cluster.router(0)?;
    cluster
        .create("stream", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let mut session = Raw::connect(&router.address()).await?;
    session.query("INSERT INTO stream (k) VALUES (7)").await?;
    // 5 forgets the peak so far.
    std::fs::write(format!("/proc/{}/clear_refs", router.program.id()?), "5")?;
    let before = memory(&router.program, "VmHWM")?;
    let one_row = "SELECT repeat('x', 20 << 20) FROM stream WHERE k = 7";
    let many_rows =
        "SELECT repeat('x', 100000) FROM stream, generate_series(1, 1000) AS n WHERE k = $1";
    session.send(&query(one_row)).await?;
    let answer = session.until_ready().await?;
    same!(tags(&answer), "TDCZ");
    same!(column(&answer)?.concat().len(), 20 << 20);
    let batch = [
        parse("", many_rows, &[20]),
        bind("", "", true, &[Some(&7_i64.to_be_bytes())]),
        execute("", 0),
        sync(),
    ];
    session.send(&batch.concat()).await?;
    let mut rows = 0;
    while let Some(message) = session.receive().await? {
        rows += u32::from(message.tag == b'D');
        if message.tag == b'Z' {
            break;
        }
    }
    same!(rows, 1_000);
    let body = json!({ "query": many_rows, "params": [7] });
    let answer = router.execute(&body).await?;
    same!(answer.status.as_u16(), 200);
    anyhow::ensure!(
        answer.body.len() > 100_000_000,
        "HTTP answered {} bytes",
        answer.body.len()
    );
    let grown = memory(&router.program, "VmHWM")?.saturating_sub(before);
    anyhow::ensure!(
        grown < 8 << 20,
        "the router grew by {grown} bytes for a row of 20 MiB"
    );
    Ok(())
}
