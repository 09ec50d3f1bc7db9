//! Tables, groups, ring, topology and the way of a key, over REST.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use serde_json::{Value, json};
use tests::{Cluster, Manager, http};
use topology::{Key, KeyType};

use super::{epoch, is_error, list, managers, shard};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: tables_and_ring_over_rest).into()
}

async fn tables_and_ring_over_rest() -> Outcome {
    let cluster = managers(1, 2).await?;
    let manager = cluster.manager(0)?;
    for (name, server) in [("a", 0), ("b", 1)] {
        cluster
            .post_when_led("/shards", &shard(name, &cluster.spares[server].endpoint()))
            .await?;
    }
    tables_of_every_kind(manager).await?;
    refusals(manager).await?;
    ring_and_keys(&cluster, manager).await
}

async fn tables_of_every_kind(manager: &Manager) -> Outcome {
    let url = manager.api("/tables");
    for (body, expected) in [
        (
            json!({ "name": "public.orders", "shard_key": "customer_id", "key_type": "bigint", "group": "default" }),
            json!({ "name": "public.orders", "kind": "sharded", "shard_key": "customer_id", "key_type": "bigint", "group": "default" }),
        ),
        (
            json!({ "name": "customers", "shard_key": "id", "key_type": "int8" }),
            json!({ "name": "public.customers", "kind": "sharded", "key_type": "bigint", "group": "default" }),
        ),
        (
            json!({ "name": "shop.\"Visits\"", "shard_key": "visitor", "key_type": "uuid", "group": "visits" }),
            json!({ "kind": "sharded", "key_type": "uuid", "group": "visits" }),
        ),
        (
            json!({ "name": "countries", "kind": "reference" }),
            json!({ "name": "public.countries", "kind": "reference" }),
        ),
        (
            json!({ "name": "settings", "kind": "unsharded", "shard_id": "b" }),
            json!({ "name": "public.settings", "kind": "unsharded", "shard_id": "b" }),
        ),
    ] {
        let made = http::post(&url, &body).await?.expect(201)?;
        for (field, value) in expected.as_object().into_iter().flatten() {
            same!(made[field], *value, "{field} of {made}");
        }
    }
    let all = http::get(&url).await?.expect(200)?;
    same!(list(&all, "tables")?.len(), 5);
    Ok(())
}

async fn refusals(manager: &Manager) -> Outcome {
    let url = manager.api("/tables");
    let before = epoch(manager).await?;
    let again = json!({ "name": "orders", "shard_key": "customer_id", "key_type": "bigint" });
    is_error(&http::post(&url, &again).await?, 409, "already_exists")?;
    // A group has one key type.
    let other = json!({ "name": "x", "shard_key": "k", "key_type": "uuid", "group": "default" });
    let answer = http::post(&url, &other).await?;
    anyhow::ensure!([400, 409].contains(&answer.status.as_u16()), "{answer:?}");
    let unknown = json!({ "name": "x", "shard_key": "k", "group": "unknown" });
    is_error(&http::post(&url, &unknown).await?, 404, "not_found")?;
    let unknown = json!({ "name": "x", "kind": "unsharded", "shard_id": "nowhere" });
    let answer = http::post(&url, &unknown).await?;
    anyhow::ensure!([400, 404].contains(&answer.status.as_u16()), "{answer:?}");
    for body in [
        json!({}),
        json!({ "name": "x" }),
        json!({ "name": "", "shard_key": "k", "key_type": "bigint" }),
        json!({ "name": "x", "shard_key": "k", "key_type": "float8" }),
        json!({ "name": "x", "shard_key": "", "key_type": "bigint" }),
        json!({ "name": "a.b.c", "shard_key": "k", "key_type": "bigint" }),
        json!({ "name": "\"x", "shard_key": "k", "key_type": "bigint" }),
        json!({ "name": "x", "kind": "round" }),
        json!({ "name": "x", "kind": "unsharded" }),
        json!({ "name": "x", "kind": "reference", "shard_key": "k" }),
        json!({ "name": "x", "shard_key": "k", "key_type": "bigint", "group": "No Group" }),
    ] {
        let answer = http::post(&url, &body).await?;
        anyhow::ensure!(answer.status == 400, "{body} answered by {answer:?}");
        is_error(&answer, 400, "invalid_argument")?;
    }
    same!(
        epoch(manager).await?,
        before,
        "a refused write changed the topology"
    );
    Ok(())
}

async fn ring_and_keys(cluster: &Cluster, manager: &Manager) -> Outcome {
    let topology = http::get(&manager.api("/topology")).await?.expect(200)?;
    same!(list(&topology["shards"], "shards")?.len(), 2);
    same!(list(&topology["tables"], "tables")?.len(), 5);
    let ring = http::get(&manager.api("/ring")).await?.expect(200)?;
    same!(ring["epoch"], topology["epoch"]);
    let shares = list(&ring, "shares")?;
    let sum: f64 = shares
        .iter()
        .filter_map(|share| share["share"].as_f64())
        .sum();
    anyhow::ensure!(
        (sum - 1.0).abs() < 1e-6,
        "the shares of {ring} come to {sum}"
    );
    let snapshot = cluster.snapshot().await?;
    let uuid = "0f8fad5b-d9cb-469f-a165-70867728950e";
    for (group, key_type, key) in [
        ("default", KeyType::Bigint, "42"),
        ("default", KeyType::Bigint, "-1"),
        ("visits", KeyType::Uuid, uuid),
    ] {
        let url = manager.api(&format!("/shard-for-key?key={key}&group={group}"));
        let answer = http::get(&url).await?.expect(200)?;
        let key = Key::from_text(key_type, key.as_bytes())?;
        let owner = tests::cluster::owner(&snapshot, &key).context("the ring has vnodes")?;
        same!(answer["shard_id"], Value::from(owner), "{key:?}");
        same!(
            answer["token"].as_u64(),
            Some(topology::hash::token_of(&key).0.into()),
            "{key:?}"
        );
    }
    for (query, status, code) in [
        ("key=abc&group=default", 400, "invalid_argument"),
        ("group=default", 400, "invalid_argument"),
        ("key=1&group=nowhere", 404, "not_found"),
    ] {
        let answer = http::get(&manager.api(&format!("/shard-for-key?{query}"))).await?;
        is_error(&answer, status, code)?;
    }
    let groups = http::get(&manager.api("/groups")).await?.expect(200)?;
    same!(list(&groups, "groups")?.len(), 2);
    for path in ["/health", "/version"] {
        http::get(&manager.api(path)).await?.expect(200)?;
    }
    Ok(())
}
