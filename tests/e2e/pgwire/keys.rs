//! Keys of every type, in every place and format, end on the shard that they hash to.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use tests::Cluster;
use tests::cluster::owner;
use tests::raw::{self, Raw, bind, describe, execute, parse, sync};
use topology::{Key, KeyType, Snapshot};
use uuid::Uuid;

use super::{column, error_of, sqlstate, status};
use crate::suite::{Outcome, Suite, same, shared};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    shared!(suite:
        bigint_keys_are_found_in_literals_and_parameters,
        text_keys_are_found_in_literals_and_parameters,
        uuid_keys_are_found_in_literals_and_parameters,
        integers_of_every_width_are_one_key,
        a_key_may_stand_on_either_side_in_any_disguise,
        values_that_are_no_key_are_refused_as_postgresql_refuses_them,
        null_is_no_key,
        new_rows_of_arrays_go_to_the_shard_of_their_keys,
    )
    .into()
}

/// A value of a key type: as a literal, in binary format, as text.
struct Sample {
    literal: String,
    binary: Vec<u8>,
    text: String,
}

fn samples(key_type: KeyType) -> Vec<Sample> {
    let values = 1..=12_u8;
    match key_type {
        KeyType::Bigint => [i64::MIN, i64::MAX, -1, 0, 1, 1 << 40]
            .into_iter()
            .chain(values.map(|n| i64::from(n) * 1009))
            .map(|value| Sample {
                literal: if value == i64::MIN {
                    format!("'{value}'")
                } else {
                    value.to_string()
                },
                binary: value.to_be_bytes().to_vec(),
                text: value.to_string(),
            })
            .collect(),
        KeyType::Text => [
            "",
            "a",
            "it's",
            "back\\slash",
            "M\u{fc}nchen",
            "\u{1f40e}",
            " padded ",
        ]
        .into_iter()
        .map(str::to_owned)
        .chain(values.map(|n| format!("customer-{n}")))
        .map(|value| Sample {
            literal: format!("'{}'", value.replace('\'', "''")),
            binary: value.clone().into_bytes(),
            text: value,
        })
        .collect(),
        KeyType::Uuid => values
            .map(|n| Uuid::from_bytes([n.wrapping_mul(37); 16]))
            .map(|value| Sample {
                literal: format!("'{value}'"),
                binary: value.as_bytes().to_vec(),
                text: value.to_string(),
            })
            .collect(),
    }
}

fn home<'a>(snapshot: &'a Snapshot, key_type: KeyType, text: &str) -> anyhow::Result<&'a str> {
    let key = Key::from_text(key_type, text.as_bytes())?;
    owner(snapshot, &key).context("the ring is empty")
}

/// Every sample is inserted and read in each of three ways, and lies where it should.
async fn every_way_leads_home(cluster: &Cluster, table: &str, key_type: KeyType) -> Outcome {
    let word = key_type.as_str();
    let columns = format!("k {word} NOT NULL, way text, PRIMARY KEY (k, way)");
    cluster.create(table, &columns, ("k", word)).await?;
    let snapshot = cluster.snapshot().await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let insert = format!("INSERT INTO {table} (k, way) VALUES ($1, $2)");
    let select = format!("SELECT way FROM {table} WHERE k = $1 ORDER BY way");
    for sample in samples(key_type) {
        let Sample {
            literal,
            binary,
            text,
        } = &sample;
        let done = router
            .query(&format!(
                "INSERT INTO {table} (k, way) VALUES ({literal}, 'literal')"
            ))
            .await?;
        same!(sqlstate(&done), None, "insert {literal}: {done:?}");
        for (is_binary, way, value) in [
            (true, "binary", &binary[..]),
            (false, "text", text.as_bytes()),
        ] {
            let messages = [
                parse("", &insert, &[]),
                bind("", "", is_binary, &[Some(value), Some(way.as_bytes())]),
                execute("", 0),
                sync(),
            ];
            let done = router.exchange(&messages.concat()).await?;
            same!(raw::tags(&done), "12CZ", "insert {text} as {way}: {done:?}");
        }
        let ways = ["binary", "literal", "text"];
        let by_literal = format!("SELECT way FROM {table} WHERE k = {literal} ORDER BY way");
        same!(
            column(&router.query(&by_literal).await?)?,
            ways,
            "select {literal}"
        );
        for (is_binary, value) in [(true, &binary[..]), (false, text.as_bytes())] {
            let messages = [
                parse("", &select, &[]),
                bind("", "", is_binary, &[Some(value)]),
                execute("", 0),
                sync(),
            ];
            same!(
                column(&router.exchange(&messages.concat()).await?)?,
                ways,
                "select {text}"
            );
        }
        let shard = cluster.shard(home(&snapshot, key_type, text)?)?;
        let there = shard
            .psql(&format!("SELECT count(*) FROM {table} WHERE k = {literal}"))
            .await?;
        same!(there, "3", "rows of {literal} on its shard");
    }
    Ok(())
}

async fn bigint_keys_are_found_in_literals_and_parameters(cluster: &Cluster) -> Outcome {
    every_way_leads_home(cluster, "keys_bigint", KeyType::Bigint).await
}

async fn text_keys_are_found_in_literals_and_parameters(cluster: &Cluster) -> Outcome {
    every_way_leads_home(cluster, "keys_text", KeyType::Text).await
}

async fn uuid_keys_are_found_in_literals_and_parameters(cluster: &Cluster) -> Outcome {
    every_way_leads_home(cluster, "keys_uuid", KeyType::Uuid).await
}

async fn integers_of_every_width_are_one_key(cluster: &Cluster) -> Outcome {
    cluster
        .create("keys_width", "k bigint PRIMARY KEY, v int", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let (int2, int4, int8) = (21_u32, 23, 20);
    for key in [-7_i16, 7, 300, 12_345] {
        let inserted = router
            .query(&format!("INSERT INTO keys_width (k, v) VALUES ({key}, 1)"))
            .await?;
        same!(sqlstate(&inserted), None, "{inserted:?}");
        let forms = [
            (int2, key.to_be_bytes().to_vec()),
            (int4, i32::from(key).to_be_bytes().to_vec()),
            (int8, i64::from(key).to_be_bytes().to_vec()),
        ];
        for (oid, value) in forms {
            let messages = [
                parse("", "SELECT k FROM keys_width WHERE k = $1", &[oid]),
                bind("", "", true, &[Some(&value)]),
                describe(b'P', ""),
                execute("", 0),
                sync(),
            ];
            let rows = column(&router.exchange(&messages.concat()).await?)?;
            same!(rows, [key.to_string()], "type {oid}");
        }
    }
    Ok(())
}

async fn a_key_may_stand_on_either_side_in_any_disguise(cluster: &Cluster) -> Outcome {
    cluster
        .create(
            "keys_disguise",
            "k bigint PRIMARY KEY, v int",
            ("k", "bigint"),
        )
        .await?;
    let router = cluster.router(0)?;
    let keys = [
        cluster.key_on("shard-1", 1).await?,
        cluster.key_on("shard-2", 1).await?,
    ];
    for key in keys {
        router
            .psql(&format!(
                "INSERT INTO keys_disguise (v, k) VALUES (1, {key})"
            ))
            .await?;
        for condition in [
            format!("{key} = k"),
            format!("k = {key}::bigint"),
            format!("(k) = ({key})"),
            format!("k = '{key}'"),
            format!("k IN ({key})"),
            format!("keys_disguise.k = {key} AND v > 0"),
            format!("v > 0 AND (k = {key} AND true)"),
        ] {
            let sql = format!("SELECT v FROM keys_disguise WHERE {condition}");
            same!(router.psql(&sql).await?, "1", "{condition}");
        }
        let sql = format!("SELECT t.v FROM public.keys_disguise AS t WHERE t.k = {key}");
        same!(router.psql(&sql).await?, "1");
        let sql =
            format!("WITH a AS (SELECT * FROM keys_disguise WHERE k = {key}) SELECT v FROM a");
        same!(router.psql(&sql).await?, "1");
        same!(
            router
                .psql(&format!(
                    "UPDATE keys_disguise SET v = 2 WHERE k = {key} RETURNING v"
                ))
                .await?,
            "2"
        );
        same!(
            router
                .psql(&format!(
                    "DELETE FROM keys_disguise WHERE k = {key} RETURNING v"
                ))
                .await?,
            "2"
        );
    }
    Ok(())
}

async fn values_that_are_no_key_are_refused_as_postgresql_refuses_them(
    cluster: &Cluster,
) -> Outcome {
    cluster
        .create("keys_bad", "k bigint PRIMARY KEY", ("k", "bigint"))
        .await?;
    cluster
        .create("keys_bad_uuid", "k uuid PRIMARY KEY", ("k", "uuid"))
        .await?;
    let mut routed = Raw::connect(&cluster.router(0)?.address()).await?;
    let mut direct = Raw::connect(&cluster.shard("shard-1")?.address()).await?;
    for (table, value) in [
        ("keys_bad", "abc"),
        ("keys_bad", ""),
        ("keys_bad", "1.5"),
        ("keys_bad", "9223372036854775808"),
        ("keys_bad_uuid", "abc"),
        ("keys_bad_uuid", "00000000-0000-0000-0000-00000000000"),
    ] {
        let by_literal = format!("SELECT * FROM {table} WHERE k = '{value}'");
        let (is, wanted) = (
            routed.query(&by_literal).await?,
            direct.query(&by_literal).await?,
        );
        same!(error_of(&is)?, error_of(&wanted)?, "{table}, {value:?}");
        same!(status(&is)?, 'I');
        let by_parameter = [
            parse("", &format!("SELECT * FROM {table} WHERE k = $1"), &[]),
            bind("", "", false, &[Some(value.as_bytes())]),
            execute("", 0),
            sync(),
        ];
        let by_parameter = by_parameter.concat();
        let is = routed.exchange(&by_parameter).await?;
        let wanted = direct.exchange(&by_parameter).await?;
        // The router's own words do not repeat a parameter.
        same!(
            sqlstate(&is),
            sqlstate(&wanted),
            "{table}, {value:?}: {is:?}"
        );
        same!(status(&is)?, 'I');
    }
    let short = [
        parse("", "SELECT * FROM keys_bad WHERE k = $1", &[20]),
        bind("", "", true, &[Some(&[1, 2, 3])]),
        execute("", 0),
        sync(),
    ];
    let answer = routed.exchange(&short.concat()).await?;
    let code = sqlstate(&answer).unwrap_or_default();
    anyhow::ensure!(
        ["08P01", "22P03"].contains(&code.as_str()),
        "3 bytes as int8: {answer:?}"
    );
    same!(column(&routed.query("SELECT 1").await?)?, ["1"]);
    Ok(())
}

async fn null_is_no_key(cluster: &Cluster) -> Outcome {
    cluster
        .create("keys_null", "k bigint, v int", ("k", "bigint"))
        .await?;
    let mut router = Raw::connect(&cluster.router(0)?.address()).await?;
    let by_parameter = [
        parse("", "INSERT INTO keys_null (k, v) VALUES ($1, 1)", &[]),
        bind("", "", false, &[None]),
        execute("", 0),
        sync(),
    ];
    for bytes in [
        raw::query("INSERT INTO keys_null (k, v) VALUES (NULL, 1)"),
        raw::query("INSERT INTO keys_null (v) VALUES (1)"),
        by_parameter.concat(),
    ] {
        let answer = router.exchange(&bytes).await?;
        let (code, text) = error_of(&answer)?;
        anyhow::ensure!(
            ["23502", "0A000", "22004"].contains(&code.as_str()),
            "{code}: {text}"
        );
        anyhow::ensure!(text.contains('k'), "the column is not named: {text}");
        same!(status(&answer)?, 'I');
    }
    for shard in &cluster.shards {
        same!(shard.psql("SELECT count(*) FROM keys_null").await?, "0");
    }
    // What is compared with NULL is no row; a refusal is right too, a wrong answer is not.
    let answer = router
        .query("SELECT v FROM keys_null WHERE k = NULL")
        .await?;
    same!(column(&answer)?, [""; 0]);
    same!(status(&answer)?, 'I');
    Ok(())
}

async fn new_rows_of_arrays_go_to_the_shard_of_their_keys(cluster: &Cluster) -> Outcome {
    cluster
        .create("unnested", "k bigint NOT NULL, v text", ("k", "bigint"))
        .await?;
    let client = cluster.router(0)?.client().await?;
    let arrays = "INSERT INTO unnested (k, v) SELECT * FROM unnest($1::bigint[], $2::text[])";
    let mut keys = Vec::new();
    for shard in ["shard-1", "shard-2"] {
        let key = cluster.key_on(shard, 1).await?;
        let all = [key, cluster.key_on(shard, key + 1).await?];
        let inserted = client
            .execute(arrays, &[&&all[..], &&["a", "b"][..]])
            .await?;
        same!(inserted, 2);
        let (first, second) = (all[0], all[1]);
        for select in [
            format!(
                "SELECT * FROM unnest('{{{first},{second}}}'::bigint[], '{{c,d}}'::varchar(9)[])"
            ),
            format!("SELECT * FROM unnest(ARRAY[{first},{second}], ARRAY['e', 'f'])"),
            format!("SELECT unnest(ARRAY[{first},{second}]), 'g'"),
            format!(
                "SELECT p0::BIGINT, p1::VARCHAR FROM (VALUES ({first}, 'h', 0), ({second}, 'i', 1)) \
                 AS imp_sen(p0, p1, sen_counter) ORDER BY sen_counter"
            ),
        ] {
            let insert = format!("INSERT INTO unnested (k, v) {select}");
            // The second time by the form of the text, which is known then.
            for _ in 0..2 {
                same!(client.execute(&insert, &[]).await?, 2, "{insert}");
                client.batch_execute(&insert).await?;
            }
        }
        keys.extend(all);
    }
    for (shard, own) in ["shard-1", "shard-2"].into_iter().zip(keys.chunks(2)) {
        let count = format!(
            "SELECT count(*), count(*) FILTER (WHERE k IN ({}, {})) FROM unnested",
            own[0], own[1]
        );
        same!(cluster.shard(shard)?.psql(&count).await?, "34|34");
    }
    // Of several shards, each to its own.
    let several = client.execute(arrays, &[&&keys[..], &&["a"; 4][..]]).await;
    same!(several?, 4);
    // The router refuses a row without a key, as the table would.
    let shorter = client
        .execute(arrays, &[&&keys[..1], &&["a", "b"][..]])
        .await;
    same!(super::refused(shorter)?.code().code(), "23502");
    Ok(())
}
