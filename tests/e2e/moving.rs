//! Rows that are being moved between shards: what a shard refuses is run again where it can be, or
//! ends in an error that says so; and which topology routers say that they have applied.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::router::v1::ExecuteRequest;
use proto::router::v1::router_service_client::RouterServiceClient;
use serde_json::json;
use tests::raw::{Raw, bind, describe, execute, message, parse, query, sync, tags, unsynced};
use tests::wait;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::Endpoint;

use crate::suite::{Outcome, Suite, alone, long, same};

mod acks;
mod ground;

use ground::{Ground, Guard, impatient, sqlstates};

pub(crate) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials: Vec<Trial> = alone!(suite:
        what_was_refused_runs_once_and_where_the_rows_are,
        a_transaction_begins_anew_where_the_rows_are,
        a_row_that_is_free_again_is_written_where_it_is,
        what_cannot_be_taken_back_is_a_serialization_failure,
        whoever_has_waited_long_enough_is_told,
        what_a_job_does_not_allow_is_said_in_its_words,
        nobody_gets_around_a_guard,
        what_is_for_one_shard_after_the_wait_is_answered,
        a_string_that_has_lost_what_it_did_goes_no_further,
        a_batch_that_has_lost_what_it_did_goes_no_further,
    )
    .into();
    trials.extend(long!(suite: a_batch_is_done_anew_once_a_move_is_known_of));
    trials.extend(acks::trials(suite));
    trials
}

/// Long enough for a statement that is not refused to be answered.
const MOMENT: Duration = Duration::from_millis(300);

async fn silent(session: &mut Raw) -> Outcome {
    let early = timeout(MOMENT, session.receive()).await;
    anyhow::ensure!(early.is_err(), "answered: {early:?}");
    Ok(())
}

/// One more, by the extended protocol in one batch.
fn counting(key: i64) -> Vec<u8> {
    let sql = "UPDATE held SET v = v + 1 WHERE k = $1 RETURNING k";
    let key = key.to_string();
    let bound = bind("", "", false, &[Some(key.as_bytes())]);
    let described = describe(b'P', "");
    [
        parse("", sql, &[]),
        bound,
        described,
        execute("", 0),
        sync(),
    ]
    .concat()
}

async fn grpc(ground: &Ground, sql: &str) -> Result<(), tonic::Status> {
    let endpoint = ground.router().map(|router| router.program.grpc());
    let endpoint = endpoint.map_err(|error| tonic::Status::unknown(error.to_string()))?;
    let unknown = |error: tonic::transport::Error| tonic::Status::unknown(error.to_string());
    let endpoint = Endpoint::from_shared(endpoint).map_err(unknown)?;
    let channel = endpoint.connect().await.map_err(unknown)?;
    let request = ExecuteRequest {
        query: sql.to_owned(),
        ..ExecuteRequest::default()
    };
    RouterServiceClient::new(channel).execute(request).await?;
    Ok(())
}

async fn what_was_refused_runs_once_and_where_the_rows_are() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    // It is known to every session that something may be moved.
    ground.acknowledged(ground.hold(true).await?).await?;
    let count = Ground::count(ground.moved);
    let (mut simple, mut extended) = (ground.connect().await?, ground.connect().await?);
    let mut known = ground.connect().await?;
    let named = parse("s", "UPDATE held SET v = v + 1 WHERE k = $1", &[]);
    same!(
        tags(&known.exchange(&[named, sync()].concat()).await?),
        "1Z"
    );
    ground.guard(Guard::Closed).await?;
    simple.send(&query(&count)).await?;
    extended.send(&counting(ground.moved)).await?;
    let key = ground.moved.to_string();
    let bound = bind("", "s", false, &[Some(key.as_bytes())]);
    let batch = [bound, execute("", 0), sync()].concat();
    known.send(&batch).await?;
    let body = json!({ "query": count });
    let http = ground.router()?.execute(&body);
    let grpc = grpc(&ground, &count);
    tokio::pin!(http, grpc);
    anyhow::ensure!(timeout(MOMENT, &mut http).await.is_err(), "HTTP answered");
    anyhow::ensure!(timeout(MOMENT, &mut grpc).await.is_err(), "gRPC answered");
    for session in [&mut simple, &mut extended, &mut known] {
        silent(session).await?;
    }
    ground.flip().await?;
    same!(tags(&simple.until_ready().await?), "CZ");
    same!(tags(&extended.until_ready().await?), "12TDCZ");
    same!(tags(&known.until_ready().await?), "2CZ");
    same!(http.await?.status.as_u16(), 200);
    grpc.await?;
    same!(ground.value(2, ground.moved).await?, "5");
    same!(ground.value(1, ground.moved).await?, "0");
    nobody_was_told(&ground).await
}

async fn a_transaction_begins_anew_where_the_rows_are() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    ground.acknowledged(ground.hold(true).await?).await?;
    let (mut block, mut batch) = (ground.connect().await?, ground.connect().await?);
    ground.guard(Guard::Closed).await?;
    for statement in ["BEGIN", "SAVEPOINT a", "SET LOCAL work_mem = '5MB'"] {
        same!(sqlstates(&block.query(statement).await?).len(), 0);
    }
    block.send(&query(&Ground::count(ground.moved))).await?;
    // The way of JDBC: BEGIN is of the batch.
    let begin = [
        parse("", "BEGIN", &[]),
        bind("", "", false, &[]),
        execute("", 0),
        counting(ground.moved),
    ];
    batch.send(&begin.concat()).await?;
    silent(&mut block).await?;
    silent(&mut batch).await?;
    ground.flip().await?;
    // One of them waits for the other's row.
    let block = async {
        same!(tags(&block.until_ready().await?), "CZ");
        let shown = block.query("SHOW work_mem").await?;
        same!(shown[1].values()?[0].as_deref(), Some(&b"5MB"[..]));
        same!(tags(&block.query("ROLLBACK TO a").await?), "CZ");
        same!(
            tags(&block.query(&Ground::count(ground.moved)).await?),
            "CZ"
        );
        same!(tags(&block.query("COMMIT").await?), "CZ");
        Ok::<_, anyhow::Error>(())
    };
    let batch = async {
        same!(tags(&batch.until_ready().await?), "12C12TDCZ");
        same!(tags(&batch.query("COMMIT").await?), "CZ");
        Ok(())
    };
    tokio::try_join!(block, batch)?;
    same!(ground.value(2, ground.moved).await?, "2");
    same!(ground.value(1, ground.moved).await?, "0");
    nobody_was_told(&ground).await
}

async fn nobody_was_told(ground: &Ground) -> Outcome {
    same!(ground.counted("shard_move_given_up_total").await?, 0);
    let (refused, retried) = (
        ground.counted("shard_move_refusals_total").await?,
        ground.counted("shard_move_retries_total").await?,
    );
    anyhow::ensure!(refused >= 2 && retried >= refused, "{refused}, {retried}");
    Ok(())
}

async fn a_row_that_is_free_again_is_written_where_it_is() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    let mut session = ground.connect().await?;
    ground.guard(Guard::Closing).await?;
    session.send(&query(&Ground::count(ground.moved))).await?;
    silent(&mut session).await?;
    // No topology says so: it is found out by trying.
    ground.guard(Guard::Open).await?;
    same!(tags(&session.until_ready().await?), "CZ");
    same!(ground.value(1, ground.moved).await?, "1");
    let metrics = ground.router()?.program.metrics().await?;
    anyhow::ensure!(metrics.contains("shard_move_refusals_total{code=\"VG002\"}"));
    // A client that leaves while it waits has nothing done.
    ground.guard(Guard::Closing).await?;
    session.send(&query(&Ground::count(ground.moved))).await?;
    silent(&mut session).await?;
    drop(session);
    tokio::time::sleep(MOMENT).await;
    ground.guard(Guard::Open).await?;
    tokio::time::sleep(MOMENT).await;
    same!(ground.value(1, ground.moved).await?, "1");
    Ok(())
}

async fn what_cannot_be_taken_back_is_a_serialization_failure() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    let mut session = ground.connect().await?;
    let (count, other) = (Ground::count(ground.moved), Ground::count(ground.stays));
    ground.guard(Guard::Closed).await?;
    // Before any sign of a move, a batch is not kept.
    let refused = session.exchange(&counting(ground.moved)).await?;
    same!(tags(&refused), "12TEZ");
    let error = refused[3].fields();
    same!(error.get(&'C').map(String::as_str), Some("40001"));
    let text = error.get(&'M').map(String::as_str).unwrap_or_default();
    anyhow::ensure!(
        text.contains("being moved to another shard: nothing was written"),
        "{text}"
    );
    anyhow::ensure!(error.get(&'H').is_some_and(|hint| hint.contains("again")));
    // A transaction that has done something.
    session.query("BEGIN").await?;
    session.query(&other).await?;
    let refused = session.query(&count).await?;
    same!(sqlstates(&refused), ["40001"]);
    same!(
        refused.last().map(|it| it.body.clone()),
        Some(b"E".to_vec())
    );
    same!(sqlstates(&session.query(&other).await?), ["25P02"]);
    session.query("ROLLBACK").await?;
    // A query string whose first statement has been answered, and a pipeline likewise.
    let refused = session.query(&format!("{other}; {count}")).await?;
    same!(tags(&refused), "CEZ");
    same!(sqlstates(&refused), ["40001"]);
    let first = counting(ground.stays);
    let unsynced = first.get(..first.len() - sync().len()).context("no Sync")?;
    let refused = session
        .exchange(&[unsynced, &counting(ground.moved)].concat())
        .await?;
    same!(tags(&refused), "12TDC12TEZ");
    same!(sqlstates(&refused), ["40001"]);
    a_copy_is_refused(&ground, &mut session).await?;
    // Nothing of all that is there, and the session is as good as before.
    same!(ground.value(1, ground.stays).await?, "0");
    same!(tags(&session.query(&other).await?), "CZ");
    same!(ground.value(1, ground.stays).await?, "1");
    same!(ground.value(1, ground.moved).await?, "0");
    same!(ground.counted("shard_move_given_up_total").await?, 5);
    Ok(())
}

/// Of a table that routers copy into: it needs no key, and the guard reads what row it is all the
/// same.
async fn a_copy_is_refused(ground: &Ground, session: &mut Raw) -> Outcome {
    let home = json!({ "name": "plain", "kind": "unsharded", "shard_id": "shard-1" });
    ground.cluster.post_when_led("/tables", &home).await?;
    ground.cluster.settle().await?;
    ground
        .shard(1)?
        .psql("CREATE TABLE plain (k bigint, v bigint)")
        .await?;
    let trigger = "CREATE TRIGGER guard BEFORE INSERT ON plain FOR EACH ROW EXECUTE FUNCTION";
    ground
        .shard(1)?
        .psql(&format!("{trigger} vg.guard()"))
        .await?;
    session.send(&query("COPY plain FROM STDIN")).await?;
    same!(session.receive().await?.map(|it| it.tag), Some(b'G'));
    let row = format!("{}\t9\n", ground.moved);
    let copied = [message(b'd', row.as_bytes()), message(b'c', b"")].concat();
    session.send(&copied).await?;
    same!(sqlstates(&session.until_ready().await?), ["40001"]);
    Ok(())
}

async fn a_batch_is_done_anew_once_a_move_is_known_of() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    let mut session = ground.connect().await?;
    ground.guard(Guard::Closed).await?;
    same!(
        sqlstates(&session.exchange(&counting(ground.moved)).await?),
        ["40001"]
    );
    // What was prepared in a batch that is done anew is there afterwards, once.
    let sql = "UPDATE held SET v = v + 1 WHERE k = $1";
    let key = ground.moved.to_string();
    let bound = bind("", "named", false, &[Some(key.as_bytes())]);
    let batch = [
        parse("named", sql, &[]),
        describe(b'S', "named"),
        bound,
        execute("", 0),
        sync(),
    ];
    session.send(&batch.concat()).await?;
    silent(&mut session).await?;
    ground.flip().await?;
    same!(tags(&session.until_ready().await?), "1tn2CZ");
    let bound = bind("", "named", false, &[Some(key.as_bytes())]);
    let again = session
        .exchange(&[bound, execute("", 0), sync()].concat())
        .await?;
    same!(tags(&again), "2CZ");
    same!(ground.value(2, ground.moved).await?, "2");
    Ok(())
}

async fn whoever_has_waited_long_enough_is_told() -> Outcome {
    let ground = Ground::prepare(impatient(), 1).await?;
    ground.acknowledged(ground.hold(true).await?).await?;
    ground.guard(Guard::Closed).await?;
    let count = Ground::count(ground.moved);
    let mut session = ground.connect().await?;
    let begin = Instant::now();
    same!(sqlstates(&session.query(&count).await?), ["40001"]);
    let took = begin.elapsed();
    anyhow::ensure!(
        took >= MOMENT && took < Duration::from_secs(5),
        "took {took:?}"
    );
    same!(
        tags(&session.exchange(&counting(ground.moved)).await?),
        "EZ"
    );
    session.query("BEGIN").await?;
    let refused = session.query(&count).await?;
    same!(sqlstates(&refused), ["40001"]);
    same!(
        refused.last().map(|it| it.body.clone()),
        Some(b"E".to_vec())
    );
    session.query("ROLLBACK").await?;
    same!(
        tags(&session.query(&Ground::count(ground.stays)).await?),
        "CZ"
    );
    let body = json!({ "query": count });
    let answer = ground.router()?.execute(&body).await?.expect(409)?;
    same!(answer["error"]["code"], "aborted");
    same!(answer["error"]["sqlstate"], "40001");
    let status = grpc(&ground, &count).await.err().context("refused")?;
    same!(status.code(), Code::Aborted);
    same!(ground.counted("shard_move_given_up_total").await?, 5);
    Ok(())
}

async fn what_a_job_does_not_allow_is_said_in_its_words() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    let mut session = ground.connect().await?;
    let refused = session.query("TRUNCATE held").await?;
    same!(sqlstates(&refused), ["55006"]);
    let error = refused[0].fields();
    same!(
        error.get(&'M').map(String::as_str),
        Some("not while rows are being moved")
    );
    same!(
        error.get(&'H').map(String::as_str),
        Some("retry after the move")
    );
    let answer = ground
        .router()?
        .execute(&json!({ "query": "TRUNCATE held" }))
        .await?;
    let answer = answer.expect(409)?;
    same!(answer["error"]["code"], "conflict");
    same!(answer["error"]["sqlstate"], "55006");
    same!(ground.value(2, ground.moved).await?, "0");
    Ok(())
}

async fn nobody_gets_around_a_guard() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    let mut session = ground.connect().await?;
    for sql in [
        "SET session_replication_role = replica",
        "SET LOCAL session_replication_role TO 'replica'",
        "SET vg.apply = 'x'",
        "SELECT set_config('vg.apply', 'x', false)",
        "SELECT set_config('SESSION_replication_role', 'replica', false)",
    ] {
        same!(sqlstates(&session.query(sql).await?), ["42501"], "{sql}");
    }
    let address = ground.router()?.address();
    let options = [("options", "-c session_replication_role=replica")];
    let refused = Raw::connect_with(&address, &options).await;
    anyhow::ensure!(refused.is_err(), "a start-up option is let through");
    wait::until("the session goes on", wait::SETTLE, async || Ok(())).await?;
    same!(
        tags(&session.query(&Ground::count(ground.stays)).await?),
        "CZ"
    );
    Ok(())
}

async fn what_is_for_one_shard_after_the_wait_is_answered() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    ground.acknowledged(ground.hold(true).await?).await?;
    let there = ground.cluster.key_on("shard-2", 1).await?;
    let moved = ground.moved;
    for shard in [1, 2] {
        let delete = format!("DELETE FROM held WHERE k = {moved}");
        ground.shard(shard)?.psql(&delete).await?;
    }
    ground.guard(Guard::Closed).await?;
    let mut session = ground.connect().await?;
    let insert = format!("INSERT INTO held (k, v) VALUES ({moved}, 1), ({there}, 1)");
    session.send(&query(&insert)).await?;
    silent(&mut session).await?;
    ground.flip().await?;
    same!(tags(&session.until_ready().await?), "CZ");
    let count = ground.shard(2)?.psql("SELECT count(*) FROM held").await?;
    same!(count, "2");
    Ok(())
}

/// Both connections of the first shard are taken until the second statement of a string is sent
/// there by a topology that is not in force any more.
async fn a_string_that_has_lost_what_it_did_goes_no_further() -> Outcome {
    let config = json!({ "sharding": { "max_connections": 2 } });
    let ground = Ground::prepare(config, 1).await?;
    ground.acknowledged(ground.hold(true).await?).await?;
    let there = ground.cluster.key_on("shard-2", 1).await?;
    let mut session = ground.connect().await?;
    // What shards can do is known then.
    let (count, other) = (Ground::count(ground.stays), Ground::count(there));
    for sql in ["BEGIN", count.as_str(), other.as_str(), "ROLLBACK"] {
        same!(sqlstates(&session.query(sql).await?).len(), 0, "{sql}");
    }
    let mut blocks = [ground.connect().await?, ground.connect().await?];
    let read = format!("SELECT v FROM held WHERE k = {}", ground.stays);
    for block in &mut blocks {
        for sql in ["BEGIN", read.as_str()] {
            same!(sqlstates(&block.query(sql).await?).len(), 0, "{sql}");
        }
    }
    let first = format!("INSERT INTO held (k, v) VALUES ({there}, 1)");
    let string = format!("{first}; {}", Ground::count(ground.moved));
    session.send(&query(&string)).await?;
    silent(&mut session).await?;
    let epoch = ground.flip().await?;
    ground.router()?.program.has_seen(epoch.0).await?;
    for block in &mut blocks {
        same!(sqlstates(&block.query("COMMIT").await?).len(), 0);
    }
    let answer = session.until_ready().await?;
    same!(sqlstates(&answer), ["40001"], "{answer:?}");
    let kept = format!("SELECT count(*) FROM held WHERE k = {there}");
    same!(ground.shard(2)?.psql(&kept).await?, "0");
    same!(ground.value(2, ground.moved).await?, "0");
    // The session goes on, and so does the string.
    let answer = session.query(&string).await?;
    same!(tags(&answer), "CCZ", "{answer:?}");
    same!(ground.shard(2)?.psql(&kept).await?, "1");
    Ok(())
}

async fn a_batch_that_has_lost_what_it_did_goes_no_further() -> Outcome {
    let ground = Ground::prepare(json!({}), 1).await?;
    ground.acknowledged(ground.hold(true).await?).await?;
    let mut lock = Raw::connect(&ground.shard(1)?.address()).await?;
    lock.query("BEGIN").await?;
    let locks = format!("SELECT v FROM held WHERE k = {} FOR UPDATE", ground.stays);
    lock.query(&locks).await?;
    let mut session = ground.connect().await?;
    let batch = [
        unsynced(&Ground::count(ground.stays)),
        unsynced(&Ground::count(ground.moved)),
        unsynced("SELECT sum(v) FROM held"),
        sync(),
    ];
    session.send(&batch.concat()).await?;
    silent(&mut session).await?;
    let epoch = ground.flip().await?;
    ground.router()?.program.has_seen(epoch.0).await?;
    lock.query("COMMIT").await?;
    let answer = session.until_ready().await?;
    let done = if sqlstates(&answer).is_empty() {
        "1"
    } else {
        "0"
    };
    same!(ground.value(1, ground.stays).await?, done, "{answer:?}");
    same!(ground.value(1, ground.moved).await?, done, "{answer:?}");
    if done == "0" {
        same!(sqlstates(&answer), ["40001"], "{answer:?}");
    }
    Ok(())
}
