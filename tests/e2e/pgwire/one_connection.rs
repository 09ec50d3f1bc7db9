//! What PostgreSQL ties to one connection: refused with a reason and a way out wherever it is
//! hidden, or answered where there is nothing to do.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::json;
use tests::cluster::Plan;
use tests::raw::{Raw, bind, describe, execute, parse, query, sync, tags};
use tests::{Cluster, http};

use super::fidelity::comparable;
use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, alone, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    let mut trials = Vec::from(alone!(suite:
        a_shard_that_reads_strings_otherwise_is_not_used,
    ));
    trials.extend(shared!(suite:
        what_belongs_to_one_connection_is_refused_on_every_front,
        what_a_driver_sends_on_reset_is_answered,
        role_and_user_follow_their_session,
        tables_are_locked_where_all_ask_the_same_server,
        strings_are_always_read_as_the_standard_says,
    ));
    trials
}

async fn what_belongs_to_one_connection_is_refused_on_every_front(cluster: &Cluster) -> Outcome {
    cluster
        .create("bound", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?;
    let mut raw = Raw::connect(&router.address()).await?;
    for sql in [
        "SELECT v FROM bound WHERE k = 1 AND pg_try_advisory_lock(v)",
        "WITH a AS (SELECT pg_advisory_lock_shared(1)) SELECT v FROM bound, a WHERE k = 1",
        "SELECT v, pg_notify('a', 'b') FROM bound WHERE k = 1",
        "CREATE TEMP TABLE bound (a int)",
        "CREATE TEMP TABLE t AS SELECT * FROM bound",
        "CREATE TEMP VIEW t AS SELECT * FROM bound",
        "SELECT v INTO TEMP t FROM bound",
        "DECLARE c CURSOR WITH HOLD FOR SELECT v FROM bound WHERE k = 1",
        "SELECT lo_creat(-1) FROM bound WHERE k = 1",
        "SELECT lo_import('/etc/passwd')",
        "SELECT * FROM pg_prepared_statements",
        "SELECT currval('s')",
    ] {
        let answer = raw.query(sql).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{sql}: {text}");
        anyhow::ensure!(text.len() > 30, "{sql}: no reason in {text:?}");
        let error = answer.iter().find(|message| message.tag == b'E');
        let hint = error.and_then(|error| error.fields().remove(&'H'));
        anyhow::ensure!(hint.is_some(), "{sql}: no way out beside {text:?}");
        let batch = [
            parse("", sql, &[]),
            bind("", "", false, &[]),
            execute("", 0),
            sync(),
        ];
        let answer = raw.exchange(&batch.concat()).await?;
        same!(sqlstate(&answer).as_deref(), Some("0A000"), "{sql}");
        same!(status(&answer)?, 'I');
        let answer = router.execute(&json!({ "query": sql })).await?;
        anyhow::ensure!(answer.status.as_u16() >= 400, "{sql}: {answer:?}");
        let told = &answer.json()?["error"];
        same!(told["sqlstate"], json!("0A000"), "{sql}: {told}");
    }
    // A session may keep a connection; a request has none to keep.
    for sql in [
        "SELECT pg_advisory_lock(1)",
        "LISTEN a",
        "CREATE TEMP TABLE t (a int)",
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
    ] {
        let answer = router.execute(&json!({ "query": sql })).await?;
        let told = &answer.json()?["error"];
        same!(told["sqlstate"], json!("0A000"), "{sql}: {told}");
    }
    Ok(())
}

async fn what_a_driver_sends_on_reset_is_answered(cluster: &Cluster) -> Outcome {
    let mut routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut direct = Raw::connect(&cluster.shard("shard-1")?.address()).await?;
    for sql in [
        "UNLISTEN *",
        "UNLISTEN a",
        "DISCARD TEMP",
        "DISCARD PLANS",
        "DISCARD SEQUENCES",
        "CLOSE ALL",
        "SELECT pg_advisory_unlock_all()",
        "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;",
        "SET SESSION AUTHORIZATION DEFAULT",
        "BEGIN",
        "UNLISTEN *",
        "DISCARD PLANS",
        "SELECT 1/0",
        "UNLISTEN *",
        "ROLLBACK",
        "DISCARD ALL",
    ] {
        let batch = [
            parse("", sql, &[]),
            describe(b'S', ""),
            bind("", "", false, &[]),
            describe(b'P', ""),
            execute("", 0),
            sync(),
        ];
        for exchange in [query(sql), batch.concat()] {
            let (mut is, mut wanted) = (
                routed.exchange(&exchange).await?,
                direct.exchange(&exchange).await?,
            );
            for messages in [&mut is, &mut wanted] {
                // Where in PostgreSQL's source an error was raised is not the router's to tell.
                messages.retain(|message| message.tag != b'E' && message.tag != b'N');
            }
            same!(comparable(is), comparable(wanted), "{sql}");
        }
    }
    Ok(())
}

async fn role_and_user_follow_their_session(cluster: &Cluster) -> Outcome {
    for shard in &cluster.shards {
        shard
            .psql("CREATE ROLE bound_one; CREATE ROLE bound_two; GRANT bound_two TO bound_one")
            .await?;
    }
    let router = cluster.router(0)?.address();
    let (mut one, mut other) = (Raw::connect(&router).await?, Raw::connect(&router).await?);
    let who = "SELECT session_user || ' ' || current_user";
    let user = column(&other.query(who).await?)?.concat();
    let login = user.split(' ').next().unwrap_or_default().to_owned();
    for (sql, wanted) in [
        ("SET ROLE bound_one", format!("{login} bound_one")),
        ("RESET ALL", format!("{login} bound_one")),
        (
            "SET SESSION AUTHORIZATION bound_one",
            "bound_one bound_one".to_owned(),
        ),
        ("SET ROLE bound_two", "bound_one bound_two".to_owned()),
        (
            "BEGIN; RESET ROLE; ROLLBACK",
            "bound_one bound_two".to_owned(),
        ),
        ("SET ROLE NONE", "bound_one bound_one".to_owned()),
        ("RESET SESSION AUTHORIZATION", user.clone()),
        ("SET ROLE bound_two", format!("{login} bound_two")),
        ("SET SESSION AUTHORIZATION DEFAULT", user.clone()),
        ("SET ROLE bound_two", format!("{login} bound_two")),
        ("DISCARD ALL", user.clone()),
    ] {
        same!(sqlstate(&one.query(sql).await?), None, "{sql}");
        for _ in 0..3 {
            same!(
                column(&other.query(who).await?)?,
                vec![user.clone()],
                "other after {sql}"
            );
            same!(
                column(&one.query(who).await?)?,
                vec![wanted.clone()],
                "{sql}"
            );
        }
    }
    Ok(())
}

async fn tables_are_locked_where_all_ask_the_same_server(cluster: &Cluster) -> Outcome {
    let router = cluster.router(0)?;
    cluster
        .create("lock_wide", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    router
        .psql("CREATE TABLE lock_home (v int); CREATE TABLE lock_ref (v int)")
        .await?;
    for body in [
        json!({ "name": "lock_home", "kind": "unsharded", "shard_id": "shard-2" }),
        json!({ "name": "lock_ref", "kind": "reference" }),
    ] {
        let url = cluster.manager(0)?.api("/tables");
        http::post(&url, &body).await?.expect(201)?;
    }
    cluster.settle().await?;
    let mut raw = Raw::connect(&router.address()).await?;
    raw.query("BEGIN").await?;
    let locked = raw.query("LOCK TABLE lock_home IN EXCLUSIVE MODE").await?;
    same!(tags(&locked), "CZ", "{locked:?}");
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'ExclusiveLock' \
        AND relation = 'lock_home'::regclass";
    same!(cluster.shard("shard-2")?.psql(held).await?, "1");
    raw.query("COMMIT").await?;
    for table in ["lock_wide", "lock_ref", "lock_home, lock_ref", "pg_class"] {
        let answer = raw.query(&format!("LOCK TABLE {table}")).await?;
        let (code, text) = error_of(&answer)?;
        same!(code, "0A000", "{table}: {text}");
    }
    let outside = raw.query("LOCK TABLE lock_home").await?;
    same!(sqlstate(&outside).as_deref(), Some("25P01"));
    Ok(())
}

async fn strings_are_always_read_as_the_standard_says(cluster: &Cluster) -> Outcome {
    cluster
        .create("strings", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    let router = cluster.router(0)?.address();
    let mut raw = Raw::connect(&router).await?;
    for sql in [
        "SET standard_conforming_strings = off",
        "SET SESSION \"standard_conforming_strings\" TO 'off'",
        "SET standard_conforming_strings = 0",
        "SET Standard_Conforming_Strings = fal",
        "SET LOCAL standard_conforming_strings = off",
        "BEGIN; SET LOCAL standard_conforming_strings = off; COMMIT",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SELECT set_config('standard_conforming_strings', 'off', true)",
        "SELECT set_config('standard_' || 'conforming_strings', 'off', true)",
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'standard_conforming_strings'",
        "ALTER SYSTEM SET standard_conforming_strings = off",
        "ALTER DATABASE postgres SET standard_conforming_strings = off",
        "ALTER ROLE postgres SET standard_conforming_strings = off",
    ] {
        let answer = raw.query(sql).await?;
        same!(error_of(&answer)?.0, "0A000", "{sql}");
        let batch = [
            parse("", sql, &[]),
            bind("", "", false, &[]),
            execute("", 0),
            sync(),
        ];
        let answer = raw.exchange(&batch.concat()).await?;
        anyhow::ensure!(sqlstate(&answer).is_some(), "{sql}");
        same!(
            column(&raw.query("SHOW standard_conforming_strings").await?)?,
            ["on"]
        );
    }
    for parameter in [
        ("standard_conforming_strings", "off"),
        ("options", "-c standard_conforming_strings=off"),
        ("options", "-cstandard_conforming_strings=no"),
        ("options", "--standard-conforming-strings=off"),
    ] {
        let refused = Raw::connect_with(&router, &[parameter]).await.err();
        let text = refused
            .with_context(|| format!("{parameter:?} was taken"))?
            .to_string();
        anyhow::ensure!(text.contains("standard_conforming_strings"), "{text}");
    }
    // A function that does it behind the router's back loses its backend.
    let function = "CREATE FUNCTION strings_off() RETURNS text LANGUAGE sql AS \
        $$ SELECT set_config('standard_conforming_strings', 'off', false) $$";
    same!(sqlstate(&raw.query(function).await?), None);
    let key = cluster.key_on("shard-1", 1).await?;
    raw.query(&format!("INSERT INTO strings (k) VALUES ({key})"))
        .await?;
    let answer = raw
        .query(&format!(
            "SELECT strings_off() FROM strings WHERE k = {key}"
        ))
        .await?;
    anyhow::ensure!(sqlstate(&answer).is_some(), "{answer:?}");
    for _ in 0..5 {
        let sql = format!(
            "SELECT current_setting('standard_conforming_strings') FROM strings WHERE k = {key}"
        );
        same!(column(&raw.query(&sql).await?)?, ["on"]);
    }
    Ok(())
}

async fn a_shard_that_reads_strings_otherwise_is_not_used() -> Outcome {
    let mut cluster = Cluster::start(Plan {
        shards: 1,
        ..Plan::default()
    })
    .await?;
    let off = "ALTER ROLE CURRENT_USER SET standard_conforming_strings = off";
    for (change, works) in [(off, false), ("ALTER ROLE CURRENT_USER RESET ALL", true)] {
        cluster.shard("shard-1")?.psql(change).await?;
        let shard = cluster.shards.first_mut().context("there is a shard")?;
        shard.restart().await?;
        let output = cluster
            .router(0)?
            .address()
            .psql_output("SELECT 'a\\b'")
            .await?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        same!(output.status.success(), works, "{text}");
        anyhow::ensure!(
            works || text.contains("standard_conforming_strings"),
            "{text}"
        );
    }
    Ok(())
}
