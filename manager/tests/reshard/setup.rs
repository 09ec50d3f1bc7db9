//! Shards with tables, and sessions on them.

use std::time::{Duration, SystemTime};

use manager::reshard::flow::{Bounds, MovedTable, Ranges};
use manager::reshard::guard::{Guarded, term};
use manager::reshard::ids::{JobId, LegId};
use manager::reshard::session::{Session, Sessions};
use manager::shards;
use platform::TaskGroup;
use tests::Postgres;
use tests::postgres::{Auth, Options};
use topology::records::TokenRange;
use topology::{Endpoint, Key, KeyType, Shard, ShardId, ShardState, TableName, Term, Token, hash};

/// The term of every test that does not change it.
pub(crate) const TERM: Term = Term(7);

/// A server, as the manager sees it.
pub(crate) struct Server {
    pub(crate) postgres: Postgres,
    pub(crate) shard: Shard,
    pub(crate) sessions: Sessions,
}

impl Server {
    pub(crate) async fn start(id: &str) -> Self {
        Self::start_with(id, Options::default()).await
    }

    pub(crate) async fn start_with(id: &str, options: Options) -> Self {
        let config = config(options.auth);
        let postgres = Postgres::start_with(options).await.unwrap();
        let shard = Shard {
            id: ShardId::try_new(id).unwrap(),
            name: id.to_owned(),
            primary_endpoint: Endpoint::try_new(&postgres.endpoint()).unwrap(),
            replicas: Vec::new(),
            state: ShardState::Active,
            weight: 1,
            vnode_count: 64,
            version: 1,
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            lineage: None,
            promotion: None,
        };
        let sessions = Sessions::new(config, TaskGroup::new());
        Self {
            postgres,
            shard,
            sessions,
        }
    }

    /// A session of a manager at [`TERM`].
    pub(crate) async fn leader(&self, leg: &LegId) -> Session {
        let mut session = self.session(leg).await;
        term::raise(&mut session, TERM).await.unwrap();
        session
    }

    pub(crate) async fn session(&self, leg: &LegId) -> Session {
        self.sessions.open(&self.shard, leg, "test").await.unwrap()
    }

    pub(crate) async fn writer(&self, leg: &LegId) -> Session {
        let session = self.sessions.open_writer(&self.shard, leg, "test-writer");
        session.await.unwrap()
    }

    pub(crate) async fn psql(&self, sql: &str) -> String {
        self.postgres.psql(sql).await.unwrap()
    }
}

/// How servers are reached.
pub(crate) fn config(auth: Auth) -> shards::Config {
    let password = match auth {
        Auth::Trust => None,
        Auth::Scram | Auth::ScramUnderTls => Some(platform::Secret::new(tests::postgres::PASSWORD)),
    };
    shards::Config {
        user: tests::postgres::USER.to_owned(),
        password,
        tls: shards::tls::Tls::default(),
        connect_timeout: Duration::from_secs(10),
        statement_timeout: Duration::from_secs(10),
    }
}

/// The tokens after one and up to another.
pub(crate) fn bounds(after: u32, last: u32) -> Bounds {
    let (after, last) = (Token(after), Token(last));
    Ranges::new(vec![TokenRange { after, last }]).bounds()
}

pub(crate) fn leg() -> LegId {
    LegId {
        job: JobId::new(),
        number: 0,
    }
}

pub(crate) fn table(name: &str) -> TableName {
    TableName::try_from_parts("public", name).unwrap()
}

pub(crate) fn moved(name: &str, key_column: &str, key_type: KeyType) -> MovedTable {
    MovedTable {
        name: table(name),
        key_column: key_column.to_owned(),
        key_type,
    }
}

/// The lower half of the ring.
pub(crate) fn half() -> Ranges {
    Ranges::new(vec![TokenRange {
        after: Token(u32::MAX),
        last: Token(u32::MAX / 2),
    }])
}

/// A guard of the lower half of table `t`, whose key is the bigint `k`.
pub(crate) fn guarded(leg: &LegId) -> Guarded {
    Guarded {
        leg: leg.clone(),
        tables: vec![moved("t", "k", KeyType::Bigint)],
        bounds: half().bounds(),
    }
}

/// Keys that move, and keys that stay.
pub(crate) fn keys() -> (Vec<i64>, Vec<i64>) {
    (0..1000).partition(|key| half().contains(hash::token_of(&Key::Bigint(*key))))
}

/// The code of the error that a client meets.
pub(crate) async fn refusal(client: &tokio_postgres::Client, sql: &str) -> Option<String> {
    let error = client.batch_execute(sql).await.err()?;
    let code = error.code().map(|code| code.code().to_owned());
    Some(code.unwrap_or_else(|| error.to_string()))
}
