//! A store under test, and short ways to say what is done to it.

use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use tests::Etcd;
use tokio::time::timeout;
use topology::store::{
    Batch, Committed, Compare, Entry, Error, EtcdStore, LeaseId, MemoryStore, Op, Revision, Store,
    Txn, Watch, etcd,
};

/// How long anything that must happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A store, with the server behind it if there is one.
pub(crate) enum Subject {
    Memory(MemoryStore),
    Etcd {
        store: EtcdStore,
        _server: Box<Etcd>,
    },
}

impl Subject {
    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryStore::new())
    }

    pub(crate) async fn etcd() -> Self {
        let server = Etcd::start().await.unwrap();
        let store = connect(&server);
        Self::Etcd {
            store,
            _server: Box::new(server),
        }
    }

    /// Forgets the history before a revision.
    pub(crate) async fn compact(&self, revision: Revision) {
        match self {
            Self::Memory(store) => store.compact(revision),
            Self::Etcd { store, .. } => store.compact(revision).await.unwrap(),
        }
    }

    pub(crate) async fn apply(&self, ops: impl Into<Vec<Op>>) -> Revision {
        let ops = ops.into();
        let compares = Vec::new();
        applied(self.commit(Txn { compares, ops }).await)
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Revision {
        self.apply([put(key, value)]).await
    }

    pub(crate) async fn put_leased(&self, key: &str, lease: LeaseId) -> Revision {
        self.apply([Op::put_leased(key, "leased", lease)]).await
    }

    pub(crate) async fn value(&self, key: &str) -> Option<Bytes> {
        self.read(key).await.unwrap().map(|entry| entry.value)
    }

    pub(crate) async fn entry(&self, key: &str) -> Entry {
        self.read(key).await.unwrap().unwrap()
    }

    /// The newest revision.
    pub(crate) async fn revision(&self) -> Revision {
        self.list("/").await.unwrap().revision
    }

    pub(crate) async fn watch_from(&self, prefix: &str, from: Revision) -> Box<dyn Watch> {
        self.watch(prefix, from).await.unwrap()
    }
}

impl Deref for Subject {
    type Target = dyn Store;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Memory(store) => store,
            Self::Etcd { store, .. } => store,
        }
    }
}

pub(crate) fn connect(server: &Etcd) -> EtcdStore {
    let config = etcd::Config {
        endpoints: vec![server.endpoint()],
        timeout: Duration::from_secs(5),
        credentials: None,
        tls: None,
    };
    EtcdStore::connect(config).unwrap()
}

pub(crate) fn put(key: &str, value: &str) -> Op {
    Op::put(key, value.to_owned())
}

pub(crate) fn applied(answer: Result<Committed, Error>) -> Revision {
    match answer.unwrap() {
        Committed::Applied(revision) => revision,
        Committed::Refused => panic!("the transaction was refused"),
    }
}

pub(crate) fn created(key: &str, revision: Revision) -> Compare {
    Compare::CreateRevision(key.to_owned(), revision)
}

pub(crate) fn modified(key: &str, revision: Revision) -> Compare {
    Compare::ModRevision(key.to_owned(), revision)
}

pub(crate) fn after(revision: Revision) -> Revision {
    Revision(revision.0 + 1)
}

/// The next batch that is more than a progress report.
pub(crate) async fn changes(watch: &mut dyn Watch) -> Result<Batch, Error> {
    let search = async {
        loop {
            let batch = watch.next().await?;
            if !batch.events.is_empty() {
                return Ok(batch);
            }
        }
    };
    let found = timeout(PATIENCE, search).await;
    found.expect("the watch brings no change")
}
