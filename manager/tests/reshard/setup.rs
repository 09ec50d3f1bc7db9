//! Servers as the manager knows them.

use std::time::{Duration, SystemTime};

use manager::reshard::flow::{Bounds, MovedTable, Ranges};
use manager::reshard::ids::LegId;
use manager::shards::Config;
use manager::shards::tls::Tls;
use platform::Secret;
use tests::Postgres;
use topology::records::TokenRange;
use topology::{Endpoint, KeyType, Shard, ShardId, ShardState, TableName, Term, Token};

/// The term of whoever calls.
pub(crate) const TERM: Term = Term(7);

/// A server as a shard of this id.
pub(crate) fn shard(id: &str, server: &Postgres) -> Shard {
    Shard {
        id: ShardId::try_new(id).unwrap(),
        name: id.to_owned(),
        primary_endpoint: Endpoint::try_new(&server.endpoint()).unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 8,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
    }
}

/// How servers are reached.
pub(crate) fn config() -> Config {
    Config {
        user: tests::postgres::USER.to_owned(),
        password: Some(Secret::new(tests::postgres::PASSWORD.to_owned())),
        tls: Tls::default(),
        connect_timeout: Duration::from_secs(20),
        statement_timeout: Duration::from_secs(20),
    }
}

/// A leg of a job.
pub(crate) fn leg() -> LegId {
    LegId {
        job: "0123456789ab".parse().unwrap(),
        number: 0,
    }
}

/// A table of schema `public`.
pub(crate) fn table(name: &str, key_column: &str, key_type: KeyType) -> MovedTable {
    MovedTable {
        name: TableName::try_from_parts("public", name).unwrap(),
        key_column: key_column.to_owned(),
        key_type,
    }
}

/// The tokens after one and up to another.
pub(crate) fn bounds(after: u32, last: u32) -> Bounds {
    let (after, last) = (Token(after), Token(last));
    Ranges::new(vec![TokenRange { after, last }]).bounds()
}

/// What a mirror has to have for those who write on it.
pub(crate) const BOOKS: &str = "
    CREATE SCHEMA vg;
    CREATE SEQUENCE vg.term;
    SELECT setval('vg.term', 7);
    CREATE FUNCTION vg.enter(wanted bigint) RETURNS void LANGUAGE plpgsql AS $vg$
    BEGIN
      PERFORM pg_advisory_xact_lock_shared(7301, 0);
      IF pg_sequence_last_value('vg.term'::regclass) IS DISTINCT FROM wanted THEN
        RAISE EXCEPTION USING ERRCODE = 'VG004', MESSAGE = 'stale term';
      END IF;
    END $vg$;
";
