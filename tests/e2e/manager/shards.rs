//! Shards over REST: the shapes that clients rely on, and everything that is refused.

use std::sync::Arc;

use ::http::Method;
use libtest_mimic::Trial;
use serde_json::json;
use tests::{Cluster, http};

use super::{epoch, is_error, list, managers, shard};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        shards_are_created_listed_shown_and_deleted,
        a_shard_with_vnodes_or_rows_is_not_deleted,
        the_first_shards_form_the_ring_and_later_ones_wait,
    )
    .into()
}

async fn shards_are_created_listed_shown_and_deleted() -> Outcome {
    let cluster = managers(2, 2).await?;
    let manager = cluster.manager(0)?;
    let url = manager.api("/shards");
    let body = json!({
        "name": "Shard One",
        "primary_endpoint": cluster.spares[0].endpoint(),
        "replicas": [cluster.spares[1].endpoint()],
        "vnode_count": 64,
    });
    let made = cluster.post_when_led("/shards", &body).await?;
    let expected = json!({
        "id": "shard-one",
        "name": "Shard One",
        "primary_endpoint": cluster.spares[0].endpoint(),
        "replicas": [cluster.spares[1].endpoint()],
        "status": "active",
        "vnode_count": 64,
    });
    for (field, value) in expected.as_object().into_iter().flatten() {
        same!(made[field], *value, "{field}");
    }
    anyhow::ensure!(made["version"].is_u64(), "version: {made}");
    for field in ["created_at", "updated_at"] {
        let time = made[field].as_str().unwrap_or_default();
        anyhow::ensure!(time.contains('T') && time.ends_with('Z'), "{field}: {made}");
    }
    let one = format!("{url}/shard-one");
    for manager in &cluster.managers {
        // Every replica serves reads, as soon as it has seen the change.
        let url = manager.api("/shards/shard-one");
        let shown = tests::wait::until("the shard", tests::wait::SETTLE, async || {
            http::get(&url).await?.expect(200)
        });
        let mut shown = shown.await?;
        // What its probes found is each manager's own.
        if let Some(shown) = shown.as_object_mut() {
            shown.remove("servers");
        }
        same!(shown, made);
        let all = http::get(&manager.api("/shards")).await?.expect(200)?;
        same!(
            list(&all, "shards")?.as_slice(),
            std::slice::from_ref(&made)
        );
    }
    refusals(&cluster, &url).await?;
    // It was the only one and no table is registered, so its vnodes hold nothing, yet they are its.
    is_error(&http::delete(&one).await?, 409, "conflict")?;
    Ok(())
}

async fn refusals(cluster: &Cluster, url: &str) -> Outcome {
    let before = epoch(cluster.manager(0)?).await?;
    let endpoint = cluster.spares[1].endpoint();
    let again = http::post(url, &shard("Shard One", &endpoint)).await?;
    is_error(&again, 409, "already_exists")?;
    for body in [
        json!({}),
        json!({ "name": "b" }),
        json!({ "primary_endpoint": endpoint }),
        json!({ "name": "", "primary_endpoint": endpoint }),
        json!({ "name": "b", "primary_endpoint": "mysql://127.0.0.1/app" }),
        json!({ "name": "b", "primary_endpoint": "postgres://127.0.0.1:5432" }),
        json!({ "name": "b", "primary_endpoint": "nonsense" }),
        json!({ "name": "b", "primary_endpoint": 7 }),
        json!({ "name": "b", "primary_endpoint": endpoint, "vnode_count": 0 }),
        json!({ "name": "b", "primary_endpoint": endpoint, "vnode_count": 1_000_000 }),
        json!({ "name": "b", "primary_endpoint": endpoint, "vnode_count": -1 }),
        json!({ "name": "b", "primary_endpoint": endpoint, "replicas": ["nonsense"] }),
        json!({ "name": "b", "primary_endpoint": endpoint, "colour": "red" }),
        json!([]),
    ] {
        let answer = http::post(url, &body).await?;
        anyhow::ensure!(answer.status == 400, "{body} answered by {answer:?}");
        is_error(&answer, 400, "invalid_argument")?;
    }
    let broken = http::send(Method::POST, url, Some("{".to_owned())).await?;
    is_error(&broken, 400, "invalid_argument")?;
    is_error(
        &http::get(&format!("{url}/nowhere")).await?,
        404,
        "not_found",
    )?;
    is_error(
        &http::delete(&format!("{url}/nowhere")).await?,
        404,
        "not_found",
    )?;
    is_error(
        &http::get(&format!("{url}/nowhere/else")).await?,
        404,
        "not_found",
    )?;
    is_error(
        &http::send(Method::PATCH, url, None).await?,
        405,
        "method_not_allowed",
    )?;
    same!(
        epoch(cluster.manager(0)?).await?,
        before,
        "a refused write changed the topology"
    );
    Ok(())
}

async fn a_shard_with_vnodes_or_rows_is_not_deleted() -> Outcome {
    let cluster = managers(1, 3).await?;
    let url = cluster.manager(0)?.api("/shards");
    cluster
        .post_when_led("/shards", &shard("a", &cluster.spares[0].endpoint()))
        .await?;
    let table = json!({ "name": "orders", "shard_key": "k", "key_type": "bigint" });
    http::post(&cluster.manager(0)?.api("/tables"), &table)
        .await?
        .expect(201)?;
    for (name, server) in [("b", 1), ("c", 2)] {
        let server = &cluster.spares[server];
        server
            .psql("CREATE TABLE orders (k bigint PRIMARY KEY)")
            .await?;
        http::post(&url, &shard(name, &server.endpoint()))
            .await?
            .expect(201)?;
    }
    let owns = is_error(&http::delete(&format!("{url}/a")).await?, 409, "conflict")?;
    anyhow::ensure!(owns.contains("vnode"), "{owns}");
    cluster.spares[1]
        .psql("INSERT INTO orders (k) VALUES (7)")
        .await?;
    let holds = is_error(&http::delete(&format!("{url}/b")).await?, 409, "conflict")?;
    anyhow::ensure!(holds.contains("row") && holds.contains("orders"), "{holds}");
    // Empty of vnodes and of rows.
    same!(
        http::delete(&format!("{url}/c")).await?.status.as_u16(),
        204
    );
    is_error(&http::get(&format!("{url}/c")).await?, 404, "not_found")?;
    // Whether a shard that does not answer holds rows is not known.
    let mut cluster = cluster;
    cluster.spares[1].kill().await?;
    let answer = http::delete(&format!("{url}/b")).await?;
    anyhow::ensure!([409, 503].contains(&answer.status.as_u16()), "{answer:?}");
    http::get(&format!("{url}/b")).await?.expect(200)?;
    Ok(())
}

async fn the_first_shards_form_the_ring_and_later_ones_wait() -> Outcome {
    let cluster = managers(1, 3).await?;
    let manager = cluster.manager(0)?;
    for (name, server) in [("a", 0), ("b", 1)] {
        cluster
            .post_when_led("/shards", &shard(name, &cluster.spares[server].endpoint()))
            .await?;
    }
    let snapshot = cluster.snapshot().await?;
    same!(snapshot.ring().vnodes().len(), 128);
    let table = json!({ "name": "orders", "shard_key": "k", "key_type": "bigint" });
    http::post(&manager.api("/tables"), &table)
        .await?
        .expect(201)?;
    http::post(
        &manager.api("/shards"),
        &shard("c", &cluster.spares[2].endpoint()),
    )
    .await?
    .expect(201)?;
    let later = cluster.snapshot().await?;
    same!(later.shards().len(), 3);
    same!(
        later.ring().vnodes().len(),
        128,
        "the third shard took vnodes that hold data"
    );
    for key in 0..200 {
        let key = topology::Key::Bigint(key);
        let owners = [&snapshot, &later].map(|snapshot| tests::cluster::owner(snapshot, &key));
        same!(owners[0], owners[1], "the owner of {key:?} changed");
    }
    Ok(())
}
