//! How keys are hashed and how backends are pooled: section `sharding` of the file.

use std::time::Duration;

use platform::config::Section;

use crate::query::NewTables;
use crate::{hold, replica};

/// Whether eventual reads may go to replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplicaPolicy {
    /// They may.
    ReplicaOk,
    /// Every read goes to the primary.
    PrimaryOnly,
}

/// Section `sharding`.
#[derive(Debug, Clone, Copy)]
pub struct Sharding {
    pub replicas: replica::Config,
    /// Backends of one pool: one shard's primary, or one replica.
    pub max_connections: u32,
    /// A backend is closed once it is this old and idle.
    pub connection_ttl: Duration,
    /// Connecting to a shard, login included.
    pub connect_timeout: Duration,
    /// Waiting for a free backend.
    pub checkout_timeout: Duration,
    /// Waiting for another primary where one with replicas cannot be reached.
    pub failover_wait: Duration,
    /// Sessions that may wait for a backend of one pool; the next one is refused with 53400.
    pub max_waiting: u32,
    /// Statements whose plan is remembered.
    pub max_cached_statements: u32,
    /// Whether a transaction may write on several shards, unless its session says otherwise.
    pub cross_shard_writes: bool,
    /// What becomes of a new table that is not said to be anything, unless its session says it.
    pub new_tables: NewTables,
    /// What may wait while keys are being moved.
    pub hold: hold::Limits,
}

impl Sharding {
    pub(super) fn read(root: &mut Section) -> Self {
        let mut section = root.section("sharding");
        section.choice("strategy", &[("hash", ())], ());
        section.choice("hash_function", &[("murmur3", ())], ());
        // The managers give vnodes out; the key is in the router's file too, and checked there.
        section.count("vnode_count", 256, 1, 4096);
        let policies = [
            ("replica_ok", ReplicaPolicy::ReplicaOk),
            ("primary_only", ReplicaPolicy::PrimaryOnly),
        ];
        let config = Self {
            replicas: replica::Config {
                policy: section.choice("replica_policy", &policies, ReplicaPolicy::ReplicaOk),
                max_lag: section.duration("max_replica_lag", Duration::from_secs(10), false),
            },
            max_connections: section.count("max_connections", 100, 1, 10_000),
            connection_ttl: section.duration("connection_ttl", Duration::from_secs(300), false),
            connect_timeout: section.duration("connect_timeout", Duration::from_secs(5), false),
            checkout_timeout: section.duration("checkout_timeout", Duration::from_secs(10), false),
            failover_wait: section.duration("failover_wait", Duration::from_secs(15), true),
            max_waiting: section.count("max_waiting", 10_000, 1, 1_000_000),
            max_cached_statements: section.count("max_cached_statements", 10_000, 1, 1_000_000),
            cross_shard_writes: section.boolean("cross_shard_writes", true),
            new_tables: section.choice("new_tables", &NewTables::WORDS, NewTables::default()),
            hold: hold(&mut section),
        };
        section.finish();
        config
    }
}

fn hold(sharding: &mut Section) -> hold::Limits {
    let mut section = sharding.section("hold");
    let bytes = section.size("max_bytes", 64 << 20);
    let waiting = section.count("max_waiting", 10_000, 1, 1_000_000);
    let limits = hold::Limits {
        max_bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
        max_waiting: usize::try_from(waiting).unwrap_or(usize::MAX),
        max_wait: section.duration("max_wait", Duration::from_secs(10), false),
    };
    section.finish();
    limits
}
