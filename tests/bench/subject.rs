//! What is compared: no proxy, PgBouncer, a router over one shard, a router over four.

use anyhow::Context as _;
use serde_json::json;
use tests::cluster::Plan;
use tests::pg::Address;
use tests::postgres::Options;
use tests::{Cluster, Router};

use crate::bouncer::Bouncer;
use crate::{Progress, load};

/// Backends of PgBouncer's pool, and of each pool of a router.
pub(crate) const BACKENDS: u32 = 20;

/// One way to the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Direct,
    Bouncer,
    OneShard,
    FourShards,
}

impl Subject {
    pub(crate) const ALL: [Self; 4] = [
        Self::Direct,
        Self::Bouncer,
        Self::OneShard,
        Self::FourShards,
    ];

    /// Its name in the report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Direct => "PostgreSQL",
            Self::Bouncer => "PgBouncer",
            Self::OneShard => "router, 1 shard",
            Self::FourShards => "router, 4 shards",
        }
    }
}

/// Everything that runs; PostgreSQL, PgBouncer and the first router share one server.
#[derive(Debug)]
pub(crate) struct Subjects {
    // Clients before servers.
    bouncer: Bouncer,
    one: Cluster,
    four: Cluster,
}

impl Subjects {
    pub(crate) async fn start(progress: &Progress) -> anyhow::Result<Self> {
        let one = Cluster::start(plan(1)).await?;
        load::fill(&one).await?;
        progress.done("a router with one shard is up and loaded");
        let four = Cluster::start(plan(4)).await?;
        load::fill(&four).await?;
        progress.done("a router with four shards is up and loaded");
        let server = one.shard("shard-1")?;
        let bouncer = Bouncer::start(server).await?;
        progress.done("PgBouncer is up");
        Ok(Self { bouncer, one, four })
    }

    /// Where a subject listens.
    pub(crate) fn address(&self, subject: Subject) -> anyhow::Result<Address> {
        Ok(match subject {
            Subject::Direct => self.one.shard("shard-1")?.address(),
            Subject::Bouncer => self.bouncer.address(),
            Subject::OneShard => self.one.router(0)?.address(),
            Subject::FourShards => self.four.router(0)?.address(),
        })
    }

    /// The process id of a proxy.
    pub(crate) fn proxy(&self, subject: Subject) -> anyhow::Result<Option<u32>> {
        let id = |router: &Router| router.program.id().context("the router runs");
        Ok(match subject {
            Subject::Direct => None,
            Subject::Bouncer => Some(self.bouncer.id()),
            Subject::OneShard => Some(id(self.one.router(0)?)?),
            Subject::FourShards => Some(id(self.four.router(0)?)?),
        })
    }
}

fn plan(shards: usize) -> Plan {
    Plan {
        shards,
        postgres: Options {
            settings: vec![
                ("max_connections", "500".to_owned()),
                ("shared_buffers", "128MB".to_owned()),
                ("autovacuum", "off".to_owned()),
            ],
            ..Options::default()
        },
        router_config: json!({ "sharding": { "max_connections": BACKENDS } }),
        ..Plan::default()
    }
}
