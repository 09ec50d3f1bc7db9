//! The same operations over gRPC, with health and reflection.

use std::sync::Arc;

use anyhow::Context as _;
use libtest_mimic::Trial;
use proto::manager::v1::shard_service_client::ShardServiceClient;
use proto::manager::v1::table_service_client::TableServiceClient;
use proto::manager::v1::topology_service_client::TopologyServiceClient;
use proto::manager::v1::{
    CountRowsRequest, CreateShardRequest, CreateTableRequest, DeleteShardRequest, GetRingRequest,
    GetShardRequest, GetTopologyRequest, ListShardsRequest, ListTablesRequest, ShardForKeyRequest,
};
use tests::Cluster;
use tests::postgres::Postgres;
use tonic::Code;
use tonic::transport::Channel;

use super::{managers, status};
use crate::grpc::{check_health, reflected_services};
use crate::suite::{Outcome, Suite, alone, same};

pub(super) fn trials(suite: &Arc<Suite>) -> Vec<Trial> {
    alone!(suite: shards_and_tables_over_grpc, counts_are_read_from_the_shards).into()
}

fn shard(name: &str, server: &Postgres) -> CreateShardRequest {
    CreateShardRequest {
        name: name.to_owned(),
        primary_endpoint: server.endpoint(),
        vnode_count: 64,
        ..CreateShardRequest::default()
    }
}

fn table(name: &str) -> CreateTableRequest {
    CreateTableRequest {
        name: name.to_owned(),
        shard_key: "k".to_owned(),
        key_type: "bigint".to_owned(),
        ..CreateTableRequest::default()
    }
}

async fn connect(cluster: &Cluster) -> anyhow::Result<Channel> {
    super::leader(cluster).await?;
    let address = tonic::transport::Endpoint::from_shared(cluster.manager(0)?.0.grpc())?;
    Ok(address.connect().await?)
}

async fn shards_and_tables_over_grpc() -> Outcome {
    let cluster = managers(1, 2).await?;
    let channel = connect(&cluster).await?;
    let mut shards = ShardServiceClient::new(channel.clone());
    let first = CreateShardRequest {
        idempotency_key: "one".to_owned(),
        ..shard("a", &cluster.spares[0])
    };
    let made = shards
        .create_shard(first.clone())
        .await?
        .into_inner()
        .shard
        .context("a shard")?;
    same!(
        (made.id.as_str(), made.status.as_str(), made.owned_vnodes),
        ("a", "active", 64)
    );
    let again = shards
        .create_shard(first)
        .await?
        .into_inner()
        .shard
        .context("a shard")?;
    same!(again.id, made.id, "a repeated request with the same key");
    let twice = shards
        .create_shard(shard("a", &cluster.spares[1]))
        .await
        .err();
    let twice = twice.context("a duplicate is refused")?;
    anyhow::ensure!(
        [Code::AlreadyExists, Code::FailedPrecondition].contains(&twice.code()),
        "{twice:?}"
    );
    let nobody = GetShardRequest {
        id: "nowhere".to_owned(),
    };
    same!(
        shards.get_shard(nobody).await.err().map(|e| e.code()),
        Some(Code::NotFound)
    );
    let wrong = CreateShardRequest {
        primary_endpoint: "x".to_owned(),
        ..shard("b", &cluster.spares[1])
    };
    same!(
        shards.create_shard(wrong).await.err().map(|e| e.code()),
        Some(Code::InvalidArgument)
    );
    let owner = DeleteShardRequest { id: "a".to_owned() };
    same!(
        shards.delete_shard(owner).await.err().map(|e| e.code()),
        Some(Code::FailedPrecondition)
    );
    same!(
        shards
            .list_shards(ListShardsRequest {})
            .await?
            .into_inner()
            .shards,
        [made]
    );
    reads(&cluster, channel).await
}

async fn reads(cluster: &Cluster, channel: Channel) -> Outcome {
    let mut tables = TableServiceClient::new(channel.clone());
    tables.create_table(table("orders")).await?;
    let all = tables
        .list_tables(ListTablesRequest {})
        .await?
        .into_inner()
        .tables;
    same!(
        all.iter()
            .map(|table| table.name.as_str())
            .collect::<Vec<_>>(),
        ["public.orders"]
    );
    let mut topology = TopologyServiceClient::new(channel.clone());
    let ring = topology.get_ring(GetRingRequest {}).await?.into_inner();
    same!(ring.shares.len(), 1);
    same!(ring.shares[0].tokens.len(), 64);
    anyhow::ensure!(
        (ring.shares[0].share - 1.0).abs() < 1e-9,
        "{}",
        ring.shares[0].share
    );
    let whole = topology
        .get_topology(GetTopologyRequest {})
        .await?
        .into_inner();
    same!(
        (whole.epoch, whole.shards.len(), whole.tables.len()),
        (ring.epoch, 1, 1)
    );
    let key = ShardForKeyRequest {
        key: "7".to_owned(),
        group: String::new(),
    };
    same!(
        topology.shard_for_key(key).await?.into_inner().shard_id,
        "a"
    );
    let bad = ShardForKeyRequest {
        key: "seven".to_owned(),
        group: String::new(),
    };
    same!(
        topology.shard_for_key(bad).await.err().map(|e| e.code()),
        Some(Code::InvalidArgument)
    );
    let status = status(cluster.manager(0)?).await?;
    same!(status.epoch, whole.epoch);
    check_health(channel.clone()).await?;
    let services = reflected_services(channel).await?;
    for service in ["ShardService", "TableService", "TopologyService"] {
        let full = format!("sharding.manager.v1.{service}");
        anyhow::ensure!(services.contains(&full), "{full} is not among {services:?}");
    }
    Ok(())
}

async fn counts_are_read_from_the_shards() -> Outcome {
    let cluster = managers(1, 2).await?;
    let channel = connect(&cluster).await?;
    let mut shards = ShardServiceClient::new(channel.clone());
    let mut tables = TableServiceClient::new(channel);
    for (name, server) in ["a", "b"].into_iter().zip(&cluster.spares) {
        server.psql("CREATE TABLE orders (k bigint)").await?;
        shards.create_shard(shard(name, server)).await?;
    }
    tables.create_table(table("orders")).await?;
    cluster.spares[0]
        .psql("INSERT INTO orders SELECT generate_series(1, 10)")
        .await?;
    cluster.spares[1]
        .psql("INSERT INTO orders SELECT generate_series(1, 7)")
        .await?;
    let request = CountRowsRequest {
        table: "orders".to_owned(),
    };
    let counts = tables.count_rows(request).await?.into_inner().counts;
    let counts: Vec<(&str, u64)> = counts
        .iter()
        .map(|count| (count.shard_id.as_str(), count.rows))
        .collect();
    same!(counts, [("a", 10), ("b", 7)]);
    Ok(())
}
