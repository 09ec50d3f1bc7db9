//! What belongs to one connection works in a session that keeps its connection: temporary tables,
//! session locks, notifications, cursors that outlive their transaction, large objects.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::cluster::Plan;
use tests::raw::{Raw, bind, describe, execute, parse, sync, tags};
use tests::wait;

use super::{column, error_of, sqlstate};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(shared!(suite:
        temporary_tables_are_their_sessions,
        temporary_tables_of_one_name_may_have_other_columns,
        temporary_functions_are_their_sessions,
        temporary_tables_are_not_mixed_with_rows_of_other_shards,
        a_lock_is_kept_however_it_is_taken,
        a_cursor_with_hold_outlives_its_transaction,
        large_objects_are_all_on_one_shard,
        discard_all_gives_the_connection_up,
    ));
    trials.extend(alone!(suite:
        session_locks_and_notifications_meet_over_all_routers,
        the_end_of_the_connection_is_the_end_of_the_session,
    ));
    trials
}

async fn rows(session: &mut Raw, sql: &str) -> anyhow::Result<Vec<String>> {
    let answer = session.query(sql).await?;
    same!(sqlstate(&answer), None, "{sql}: {answer:?}");
    column(&answer)
}

async fn prepared(session: &mut Raw, sql: &str) -> anyhow::Result<Vec<String>> {
    let batch = [
        parse("", sql, &[]),
        bind("", "", false, &[]),
        execute("", 0),
        sync(),
    ];
    let answer = session.exchange(&batch.concat()).await?;
    same!(sqlstate(&answer), None, "{sql}: {answer:?}");
    column(&answer)
}

async fn refused(session: &mut Raw, sql: &str, code: &str) -> Outcome {
    let answer = session.query(sql).await?;
    let (found, text) = error_of(&answer)?;
    same!(found, code, "{sql}: {text}");
    Ok(())
}

async fn temporary_tables_are_their_sessions(cluster: &Cluster) -> Outcome {
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
    rows(
        &mut one,
        "CREATE TEMP TABLE own (k int PRIMARY KEY, v text)",
    )
    .await?;
    prepared(&mut other, "CREATE TEMPORARY TABLE own AS SELECT 7 AS k").await?;
    prepared(&mut one, "INSERT INTO own VALUES (1, 'a'), (2, 'b')").await?;
    rows(&mut one, "CREATE INDEX ON own (v)").await?;
    same!(
        rows(&mut one, "SELECT k FROM own ORDER BY k").await?,
        ["1", "2"]
    );
    same!(
        prepared(&mut one, "SELECT v FROM own WHERE k = 2").await?,
        ["b"]
    );
    same!(rows(&mut other, "SELECT k FROM own").await?, ["7"]);
    // In a transaction with what the whole system has, and taken back with it.
    rows(&mut one, "BEGIN").await?;
    rows(&mut one, "UPDATE pg_temp.own SET v = 'c'").await?;
    rows(&mut one, "CREATE TEMP TABLE more (k int) ON COMMIT DROP").await?;
    rows(&mut one, "INSERT INTO more SELECT k FROM own").await?;
    same!(rows(&mut one, "SELECT count(*) FROM more").await?, ["2"]);
    rows(&mut one, "ROLLBACK").await?;
    refused(&mut one, "SELECT * FROM more", "42P01").await?;
    same!(
        rows(&mut one, "SELECT DISTINCT v FROM own ORDER BY 1").await?,
        ["a", "b"]
    );
    rows(&mut one, "TRUNCATE own; ALTER TABLE own ADD COLUMN w int").await?;
    same!(rows(&mut one, "SELECT count(w) FROM own").await?, ["0"]);
    rows(&mut one, "DROP TABLE own").await?;
    refused(&mut one, "SELECT * FROM own", "42P01").await?;
    same!(rows(&mut other, "SELECT k FROM own").await?, ["7"]);
    drop((one, other));
    // They go with their sessions, and so do the connections that had them.
    wait::until("no temporary table is left", wait::SETTLE, || async {
        for shard in &cluster.shards {
            let left =
                "SELECT count(*) FROM pg_class WHERE relpersistence = 't' AND relname = 'own'";
            anyhow::ensure!(shard.psql(left).await?.trim() == "0", "not yet");
        }
        Ok(())
    })
    .await
}

/// Prepared statements of one text mean another table in each session.
async fn temporary_tables_of_one_name_may_have_other_columns(cluster: &Cluster) -> Outcome {
    let mut sessions = Vec::new();
    for (columns, value) in [("a int", "1"), ("a text", "x"), ("b bytea", "\\x00")] {
        let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
        rows(
            &mut session,
            &format!("CREATE TEMP TABLE alike ({columns})"),
        )
        .await?;
        rows(
            &mut session,
            &format!("INSERT INTO alike VALUES ('{value}')"),
        )
        .await?;
        let read = "SELECT * FROM alike";
        let batch = [parse("read", read, &[]), describe(b'S', "read"), sync()].concat();
        same!(tags(&session.exchange(&batch).await?), "1tTZ");
        sessions.push((session, value));
    }
    for (session, value) in &mut sessions {
        for setting in ["SELECT 1", "SET search_path = pg_temp, public"] {
            rows(session, setting).await?;
            let batch = [bind("", "read", false, &[]), execute("", 0), sync()].concat();
            let answer = session.exchange(&batch).await?;
            same!(sqlstate(&answer), None, "{answer:?}");
            same!(column(&answer)?, [*value]);
        }
    }
    Ok(())
}

async fn temporary_functions_are_their_sessions(cluster: &Cluster) -> Outcome {
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
    for session in [&mut one, &mut other] {
        rows(session, "CREATE TEMP TABLE beside AS SELECT 1 AS k").await?;
    }
    let create = "CREATE FUNCTION pg_temp.own() RETURNS int LANGUAGE sql AS 'SELECT 3'";
    prepared(&mut one, create).await?;
    let call = "SELECT pg_temp.own() FROM beside";
    same!(rows(&mut one, call).await?, ["3"]);
    refused(&mut other, call, "42883").await?;
    let made = "SELECT count(*) FROM pg_proc WHERE proname = 'own' \
        AND pronamespace::regnamespace::text LIKE 'pg_temp%'";
    let mut counts = Vec::new();
    for shard in &cluster.shards {
        counts.push(shard.psql(made).await?.trim().to_owned());
    }
    same!(counts, ["1", "0"], "it is on one connection alone");
    rows(&mut one, "BEGIN; DROP FUNCTION pg_temp.own(); COMMIT").await?;
    refused(&mut one, call, "42883").await
}

async fn temporary_tables_are_not_mixed_with_rows_of_other_shards(cluster: &Cluster) -> Outcome {
    let columns = "k bigint PRIMARY KEY, v int";
    cluster.create("mixed", columns, ("k", "bigint")).await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    rows(
        &mut session,
        "INSERT INTO mixed (k, v) VALUES (1, 1), (2, 2), (3, 3)",
    )
    .await?;
    refused(&mut session, "CREATE TEMP TABLE mixed (k int)", "0A000").await?;
    refused(
        &mut session,
        "CREATE TEMP TABLE t AS SELECT * FROM mixed",
        "0A000",
    )
    .await?;
    rows(&mut session, "CREATE TEMP TABLE t (LIKE mixed)").await?;
    refused(&mut session, "INSERT INTO t SELECT * FROM mixed", "0A000").await?;
    refused(
        &mut session,
        "SELECT * FROM t JOIN mixed USING (k)",
        "0A000",
    )
    .await?;
    refused(&mut session, "DROP TABLE t, mixed", "0A000").await?;
    // Beside it the session works with all shards as before.
    same!(rows(&mut session, "SELECT sum(v) FROM mixed").await?, ["6"]);
    for key in 1..=3 {
        let sql = format!("SELECT v FROM mixed WHERE k = {key}");
        same!(rows(&mut session, &sql).await?, [key.to_string()]);
    }
    Ok(())
}

/// However it is called: by a cursor, by EXECUTE, with the answer copied out.
async fn a_lock_is_kept_however_it_is_taken(cluster: &Cluster) -> Outcome {
    let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
    let ways = [
        "PREPARE p AS SELECT pg_advisory_lock(901); EXECUTE p",
        "BEGIN; DECLARE c CURSOR FOR SELECT pg_advisory_lock(901); FETCH c; COMMIT",
        "COPY (SELECT pg_advisory_lock(901)) TO STDOUT",
        "EXPLAIN ANALYZE SELECT pg_advisory_lock(901)",
    ];
    for way in ways {
        let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
        for sql in way.split("; ") {
            rows(&mut session, sql).await?;
        }
        for _ in 0..3 {
            same!(rows(&mut session, "SELECT 1").await?, ["1"]);
        }
        let free = rows(&mut other, "SELECT pg_try_advisory_lock(901)").await?;
        same!(free, ["f"], "{way}");
        rows(&mut session, "SELECT pg_advisory_unlock(901)").await?;
        let free = rows(&mut other, "SELECT pg_try_advisory_lock(901)").await?;
        same!(free, ["t"], "{way}");
        rows(&mut other, "SELECT pg_advisory_unlock(901)").await?;
    }
    Ok(())
}

async fn a_cursor_with_hold_outlives_its_transaction(cluster: &Cluster) -> Outcome {
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    let declare = "DECLARE kept CURSOR WITH HOLD FOR SELECT generate_series(1, 3)";
    rows(&mut session, declare).await?;
    // psycopg asks for the columns of a cursor as for those of a portal.
    let asked = [describe(b'P', "kept"), sync()].concat();
    same!(tags(&session.exchange(&asked).await?), "TZ");
    let asked = [describe(b'P', "other"), sync()].concat();
    let (code, _) = error_of(&session.exchange(&asked).await?)?;
    same!(code, "34000");
    same!(rows(&mut session, "FETCH 2 FROM kept").await?, ["1", "2"]);
    same!(prepared(&mut session, "FETCH ALL FROM kept").await?, ["3"]);
    rows(&mut session, "CLOSE kept").await?;
    refused(&mut session, "FETCH 1 FROM kept", "34000").await
}

async fn large_objects_are_all_on_one_shard(cluster: &Cluster) -> Outcome {
    let mut writer = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut reader = Raw::connect(&cluster.router(0)?.address()).await?;
    let made = rows(&mut writer, "SELECT lo_from_bytea(0, 'abc')").await?;
    let oid = made.first().context("an object")?;
    let read = format!("SELECT encode(lo_get({oid}), 'escape')");
    same!(rows(&mut reader, &read).await?, ["abc"]);
    // lo_unlink (964) by a function call message: one argument in binary, a result in binary.
    let mut call = Vec::new();
    call.extend_from_slice(&964_i32.to_be_bytes());
    for word in [1_i16, 1, 1] {
        call.extend_from_slice(&word.to_be_bytes());
    }
    call.extend_from_slice(&4_i32.to_be_bytes());
    call.extend_from_slice(&oid.parse::<u32>()?.to_be_bytes());
    call.extend_from_slice(&1_i16.to_be_bytes());
    let answer = reader.exchange(&tests::raw::message(b'F', &call)).await?;
    same!(tags(&answer), "VZ");
    refused(&mut writer, &read, "42704").await?;
    // Any other function is not called in this way.
    let (head, rest) = call.split_at_mut(4);
    head.copy_from_slice(&1598_i32.to_be_bytes());
    let other = [&*head, &*rest].concat();
    let answer = reader.exchange(&tests::raw::message(b'F', &other)).await?;
    same!(sqlstate(&answer).as_deref(), Some("0A000"));
    Ok(())
}

async fn discard_all_gives_the_connection_up(cluster: &Cluster) -> Outcome {
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    rows(&mut session, "CREATE TEMP TABLE gone (k int)").await?;
    rows(&mut session, "SELECT pg_advisory_lock(77)").await?;
    rows(&mut session, "DISCARD ALL").await?;
    refused(&mut session, "SELECT * FROM gone", "42P01").await?;
    let mut other = Raw::connect(&cluster.router(0)?.address()).await?;
    // Free once the shard has noticed.
    rows(&mut other, "SELECT pg_advisory_lock(77)").await?;
    Ok(())
}

async fn session_locks_and_notifications_meet_over_all_routers() -> Outcome {
    let plan = Plan {
        shards: 3,
        routers: 2,
        ..Plan::default()
    };
    let cluster = Cluster::start(plan).await?;
    let mut one = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut other = Raw::connect(&cluster.router(1)?.address()).await?;
    same!(
        rows(&mut one, "SELECT pg_try_advisory_lock(5)").await?,
        ["t"]
    );
    same!(
        rows(&mut other, "SELECT pg_try_advisory_lock(5)").await?,
        ["f"]
    );
    rows(&mut one, "SELECT pg_advisory_unlock_all()").await?;
    same!(
        rows(&mut other, "SELECT pg_try_advisory_lock(5)").await?,
        ["t"]
    );
    // The routers' own locks are still there: one for each connection.
    for shard in &cluster.shards {
        let bare = "SELECT count(*) FROM pg_stat_activity a WHERE backend_type = 'client backend' \
                    AND pid <> pg_backend_pid() AND application_name = '' AND NOT EXISTS \
                    (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.classid = 7303 AND granted)";
        same!(shard.psql(bare).await?.trim(), "0");
    }
    rows(&mut one, "LISTEN news").await?;
    // Its own notification, of which it is told with the answer, has its own process id.
    let answer = one.query("NOTIFY news, 'own'").await?;
    let own = answer.iter().find(|message| message.tag == b'A');
    let own = own.with_context(|| format!("no notification: {answer:?}"))?;
    let process_id = |session: &Raw| session.cancel_key.get(..4).map(<[u8]>::to_vec);
    same!(own.body.get(..4).map(<[u8]>::to_vec), process_id(&one));
    // So has that of a session of the same router that keeps a connection.
    let mut beside = Raw::connect(&cluster.router(0)?.address()).await?;
    rows(&mut beside, "LISTEN something").await?;
    rows(&mut beside, "NOTIFY news, 'beside'").await?;
    let message = one.receive().await?.context("a notification")?;
    same!(
        message.body.get(..4).map(<[u8]>::to_vec),
        process_id(&beside)
    );
    rows(&mut other, "NOTIFY news, 'first'").await?;
    same!(
        notified(&mut one).await?,
        ("news".to_owned(), "first".to_owned())
    );
    rows(&mut other, "BEGIN").await?;
    rows(&mut other, "SELECT pg_notify('news', 'second')").await?;
    rows(&mut other, "COMMIT").await?;
    same!(
        notified(&mut one).await?,
        ("news".to_owned(), "second".to_owned())
    );
    rows(&mut one, "UNLISTEN *").await?;
    rows(&mut other, "NOTIFY news, 'third'").await?;
    let answer = one.query("SELECT 1").await?;
    anyhow::ensure!(
        answer.iter().all(|message| message.tag != b'A'),
        "{answer:?}"
    );
    Ok(())
}

/// The channel and the payload of the next notification, while nothing is asked.
async fn notified(session: &mut Raw) -> anyhow::Result<(String, String)> {
    let message = session.receive().await?.context("a notification")?;
    same!(message.tag, b'A', "{message:?}");
    let texts = message.body.get(4..).context("a process id")?;
    let mut texts = texts.split(|byte| *byte == 0);
    let mut text = || String::from_utf8(texts.next().unwrap_or_default().to_vec());
    Ok((text()?, text()?))
}

async fn the_end_of_the_connection_is_the_end_of_the_session() -> Outcome {
    let cluster = Cluster::start(Plan::default()).await?;
    let mut session = Raw::connect(&cluster.router(0)?.address()).await?;
    rows(&mut session, "CREATE TEMP TABLE own (k int)").await?;
    let pid = rows(&mut session, "SELECT pg_backend_pid()").await?;
    let pid = pid.first().context("a process id")?;
    for shard in &cluster.shards {
        let kill = format!("SELECT pg_terminate_backend({pid})");
        shard.psql(&kill).await?;
    }
    let last = session.receive().await?.context("a last message")?;
    same!(last.sqlstate().as_deref(), Some("08006"), "{last:?}");
    same!(session.receive().await?, None);
    Ok(())
}
