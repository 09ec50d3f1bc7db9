//! Leadership: one leader, every replica takes writes, the other takes over when the leader dies.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::manager::v1::CreateTableRequest;
use proto::manager::v1::table_service_client::TableServiceClient;
use serde_json::json;
use tests::process::Signal;
use tests::{Cluster, http, wait};
use tokio::time::Instant;

use super::{epoch, leader, list, managers, shard, status};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite:
        the_other_manager_takes_over_within_the_lease,
        a_paused_leader_comes_back_as_a_follower,
        a_mutation_is_taken_by_any_manager,
        concurrent_writes_are_all_applied_one_epoch_each,
        a_leader_that_is_told_to_end_hands_over_at_once,
    )
    .into()
}

/// The harness gives the lease two seconds; an election and a reload come on top.
const TAKE_OVER: Duration = Duration::from_secs(8);

fn table(number: usize) -> serde_json::Value {
    json!({ "name": format!("t{number}"), "shard_key": "k", "key_type": "bigint" })
}

async fn exactly_one_leads(cluster: &Cluster) -> anyhow::Result<(usize, u64)> {
    let number = leader(cluster).await?;
    let first = status(&cluster.managers[number]).await?;
    for manager in &cluster.managers {
        let seen = wait::until("the leader is known", wait::SETTLE, async || {
            let seen = status(manager).await?;
            anyhow::ensure!(!seen.leader_id.is_empty(), "{seen:?}");
            Ok(seen)
        });
        let seen = seen.await?;
        same!(seen.leader_id, first.manager_id);
        same!(seen.is_leader, seen.manager_id == first.manager_id);
        same!(seen.term, first.term);
        same!(
            seen.leader_address,
            cluster.managers[number].0.grpc().replace("http://", "")
        );
    }
    Ok((number, first.term))
}

async fn the_other_manager_takes_over_within_the_lease() -> Outcome {
    let mut cluster = managers(2, 1).await?;
    let (first, term) = exactly_one_leads(&cluster).await?;
    let other = 1 - first;
    cluster
        .post_when_led("/shards", &shard("a", &cluster.spares[0].endpoint()))
        .await?;
    let before = epoch(&cluster.managers[first]).await?;
    cluster.managers[first].0.kill().await?;
    let begin = Instant::now();
    let url = cluster.managers[other].api("/tables");
    wait::until("a write", TAKE_OVER, async || {
        http::post(&url, &table(1)).await?.expect(201)
    })
    .await?;
    let took = begin.elapsed();
    anyhow::ensure!(took < TAKE_OVER, "the write waited {took:?}");
    let now = status(&cluster.managers[other]).await?;
    anyhow::ensure!(
        now.is_leader && now.term > term,
        "term {term}, then {now:?}"
    );
    anyhow::ensure!(
        epoch(&cluster.managers[other]).await? > before,
        "the epoch did not rise"
    );
    // The one that was killed comes back and follows.
    cluster.managers[first].0.start().await?;
    let (leads, same_term) = exactly_one_leads(&cluster).await?;
    same!((leads, same_term), (other, now.term));
    http::post(&cluster.managers[first].api("/tables"), &table(2))
        .await?
        .expect(201)?;
    Ok(())
}

async fn a_paused_leader_comes_back_as_a_follower() -> Outcome {
    let cluster = managers(2, 1).await?;
    let (first, term) = exactly_one_leads(&cluster).await?;
    let other = &cluster.managers[1 - first];
    let body = shard("a", &cluster.spares[0].endpoint());
    cluster.post_when_led("/shards", &body).await?;
    cluster.managers[first].0.signal(Signal::Stop)?;
    wait::until("the other leads", TAKE_OVER * 2, async || {
        let now = status(other).await?;
        anyhow::ensure!(now.is_leader && now.term > term, "{now:?}");
        Ok(())
    })
    .await?;
    http::post(&other.api("/tables"), &table(1))
        .await?
        .expect(201)?;
    cluster.managers[first].0.signal(Signal::Continue)?;
    // It believes that it leads for a moment; its term fences what it would write.
    for number in 2..6 {
        let url = cluster.managers[first].api("/tables");
        wait::until("a write", TAKE_OVER, async || {
            http::post(&url, &table(number)).await?.expect(201)
        })
        .await?;
    }
    let now = cluster.snapshot().await?;
    same!(now.tables().count(), 5);
    exactly_one_leads(&cluster).await?;
    Ok(())
}

async fn a_mutation_is_taken_by_any_manager() -> Outcome {
    let cluster = managers(3, 1).await?;
    cluster
        .post_when_led("/shards", &shard("a", &cluster.spares[0].endpoint()))
        .await?;
    exactly_one_leads(&cluster).await?;
    for (number, manager) in cluster.managers.iter().enumerate() {
        let made = http::post(&manager.api("/tables"), &table(number))
            .await?
            .expect(201)?;
        same!(made["name"], json!(format!("public.t{number}")));
        // A refusal travels as it is, too.
        let again = http::post(&manager.api("/tables"), &table(number)).await?;
        super::is_error(&again, 409, "already_exists")?;
        let mut client = TableServiceClient::connect(manager.0.grpc()).await?;
        let request = CreateTableRequest {
            name: format!("g{number}"),
            shard_key: "k".to_owned(),
            key_type: "bigint".to_owned(),
            ..CreateTableRequest::default()
        };
        let made = client.create_table(request.clone()).await?.into_inner();
        same!(
            made.table.context("a table")?.name,
            format!("public.g{number}")
        );
        let again = client
            .create_table(request)
            .await
            .err()
            .context("a second time")?;
        anyhow::ensure!(
            [tonic::Code::AlreadyExists, tonic::Code::FailedPrecondition].contains(&again.code()),
            "{again:?}"
        );
    }
    same!(cluster.snapshot().await?.tables().count(), 6);
    Ok(())
}

async fn concurrent_writes_are_all_applied_one_epoch_each() -> Outcome {
    let cluster = managers(2, 1).await?;
    cluster
        .post_when_led("/shards", &shard("a", &cluster.spares[0].endpoint()))
        .await?;
    let before = cluster.snapshot().await?.epoch().0;
    let urls = [
        cluster.managers[0].api("/tables"),
        cluster.managers[1].api("/tables"),
    ];
    let write = async |number: usize| {
        http::post(&urls[number % 2], &table(number))
            .await?
            .expect(201)
            .map(drop)
    };
    for first in (0..24).step_by(4) {
        tokio::try_join!(
            write(first),
            write(first + 1),
            write(first + 2),
            write(first + 3)
        )?;
    }
    let snapshot = cluster.snapshot().await?;
    same!(snapshot.tables().count(), 24);
    same!(snapshot.epoch().0, before + 24);
    let audit = http::get(&cluster.managers[0].api("/audit?limit=100"))
        .await?
        .expect(200)?;
    let epochs: BTreeSet<u64> = list(&audit, "entries")?
        .iter()
        .filter_map(|entry| entry["epoch"].as_u64())
        .filter(|&epoch| epoch > before)
        .collect();
    same!(
        epochs,
        (before + 1..=before + 24).collect(),
        "epochs in {audit}"
    );
    Ok(())
}

async fn a_leader_that_is_told_to_end_hands_over_at_once() -> Outcome {
    let mut cluster = managers(2, 1).await?;
    let (first, term) = exactly_one_leads(&cluster).await?;
    let ended = cluster.managers[first].0.terminate().await?;
    same!(ended.code(), Some(0));
    let other = &cluster.managers[1 - first];
    // It gave its lease back: nobody waits for that to run out.
    wait::until(
        "the other leads",
        Duration::from_millis(1_500),
        async || {
            let now = status(other).await?;
            anyhow::ensure!(now.is_leader && now.term > term, "{now:?}");
            Ok(())
        },
    )
    .await
}
