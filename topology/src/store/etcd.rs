//! The store on etcd 3.5 or newer: the trait's calls as etcd requests. Which member is asked and
//! for how long is in `endpoints`, what an error means in `failure`.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Client, Compare as EtcdCompare, CompareOp, KeyValue, PutOptions, ResponseHeader,
    Txn as EtcdTxn, TxnOp,
};
use platform::Secret;
use platform::tls::client::http2::Connector;

use super::{Committed, Compare, Entry, Error, LeaseId, Listing, Op, Revision, Store, Txn, Watch};
use endpoints::{Endpoints, Retry};

mod endpoints;
mod failure;
mod list;
pub mod settings;
mod snapshot;
mod watch;

/// Largest answer that is read, and largest listing that is put together from pages.
const MAX_ANSWER_BYTES: usize = 256 << 20;

/// Where etcd is and how long it may take.
#[derive(Debug, Clone)]
pub struct Config {
    /// The members' client addresses, e.g. `https://10.0.0.1:2379` or `10.0.0.1:2379`.
    pub endpoints: Vec<String>,
    /// How long one call may take, whichever members it asks.
    pub timeout: Duration,
    /// Who we are, where etcd has authentication switched on.
    pub credentials: Option<Credentials>,
    /// How connections are encrypted, for all members alike.
    pub tls: Option<Connector>,
}

/// An etcd user.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// The user's name.
    pub user: String,
    /// Its password.
    pub password: Secret,
}

/// Why a configuration cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidConfig {
    /// There is no member to ask.
    #[error("no etcd endpoint is given")]
    NoEndpoints,
    /// An endpoint is not an address that this release connects to.
    #[error("etcd endpoint {endpoint:?} is not host:port, nor a URL of http, or with TLS https")]
    Endpoint {
        /// The endpoint.
        endpoint: String,
    },
    /// No call could ever be answered in time.
    #[error("etcd time-out is zero")]
    ZeroTimeout,
}

/// The store on etcd.
#[derive(Debug)]
pub struct EtcdStore {
    endpoints: Endpoints,
    timeout: Duration,
}

impl EtcdStore {
    /// A store that connects when it is first used: this call does no IO, so a process starts
    /// while etcd is away.
    ///
    /// # Errors
    /// [`InvalidConfig`] when no call could ever be made.
    pub fn connect(config: Config) -> Result<Self, InvalidConfig> {
        if config.timeout.is_zero() {
            return Err(InvalidConfig::ZeroTimeout);
        }
        let timeout = config.timeout;
        Ok(Self {
            endpoints: Endpoints::try_new(config)?,
            timeout,
        })
    }

    /// Forgets the history before `revision`. For operators and tests: etcd compacts by itself
    /// where `--auto-compaction-retention` is set.
    ///
    /// # Errors
    /// [`Error::Unreachable`] without an answer, [`Error::Denied`] for a revision to come.
    pub async fn compact(&self, revision: Revision) -> Result<(), Error> {
        let revision = signed(revision);
        let request = move |client: Client| async move {
            client.kv_client().compact(revision, None).await.map(drop)
        };
        self.endpoints.call(Retry::Always, request).await
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn read(&self, key: &str) -> Result<Option<Entry>, Error> {
        let request = |client: Client| async move { client.kv_client().get(key, None).await };
        let mut answer = self.endpoints.call(Retry::Always, request).await?;
        answer.take_kvs().into_iter().next().map(entry).transpose()
    }

    async fn list(&self, prefix: &str) -> Result<Listing, Error> {
        list::list(&self.endpoints, prefix).await
    }

    async fn commit(&self, txn: Txn) -> Result<Committed, Error> {
        txn.check_limits()?;
        let txn = EtcdTxn::new()
            .when(txn.compares.into_iter().map(compare).collect::<Vec<_>>())
            .and_then(txn.ops.into_iter().map(operation).collect::<Vec<_>>());
        let request = |client: Client| {
            let txn = txn.clone();
            async move { client.kv_client().txn(txn).await }
        };
        let answer = self.endpoints.call(Retry::IfUnsent, request).await?;
        if answer.succeeded() {
            Ok(Committed::Applied(header_revision(answer.header())))
        } else {
            Ok(Committed::Refused)
        }
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<Box<dyn Watch>, Error> {
        let watch = watch::open(&self.endpoints, prefix, from, self.timeout).await?;
        Ok(Box::new(watch))
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, Error> {
        let seconds = i64::try_from(ttl.as_secs().max(1)).unwrap_or(i64::MAX);
        let request =
            move |client: Client| async move { client.lease_client().grant(seconds, None).await };
        // A lease that was granted twice costs nothing: the one without keys expires.
        let answer = self.endpoints.call(Retry::Always, request).await?;
        Ok(LeaseId(answer.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), Error> {
        let request = move |client: Client| async move {
            client.lease_client().keep_alive(lease.0).await.map(drop)
        };
        self.endpoints.call(Retry::Always, request).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), Error> {
        let request = move |client: Client| async move {
            client.lease_client().revoke(lease.0).await.map(drop)
        };
        match self.endpoints.call(Retry::IfUnsent, request).await {
            Err(Error::LeaseExpired) => Ok(()),
            answer => answer,
        }
    }
}

fn compare(compare: Compare) -> EtcdCompare {
    match compare {
        Compare::CreateRevision(key, revision) => {
            EtcdCompare::create_revision(key, CompareOp::Equal, signed(revision))
        }
        Compare::ModRevision(key, revision) => {
            EtcdCompare::mod_revision(key, CompareOp::Equal, signed(revision))
        }
    }
}

fn operation(op: Op) -> TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
            TxnOp::put(key, value, options)
        }
        Op::Delete { key } => TxnOp::delete(key, None),
    }
}

fn entry(found: KeyValue) -> Result<Entry, Error> {
    let create_revision = unsigned(found.create_revision());
    let mod_revision = unsigned(found.mod_revision());
    let (key, value) = found.into_key_value();
    let key = String::from_utf8(key).map_err(|_| {
        Error::Denied("a key under the prefix is not UTF-8 and not of this system".to_owned())
    })?;
    Ok(Entry {
        key,
        value: Bytes::from(value),
        create_revision,
        mod_revision,
    })
}

fn header_revision(header: Option<&ResponseHeader>) -> Revision {
    unsigned(header.map_or(0, ResponseHeader::revision))
}

/// etcd counts in i64 but never below zero.
fn unsigned(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

/// The first key that begins with `prefix`, in etcd's form, which has no empty key.
fn prefix_start(prefix: &str) -> Vec<u8> {
    if prefix.is_empty() {
        vec![0]
    } else {
        prefix.as_bytes().to_vec()
    }
}

/// The end of the range of all keys that begin with `prefix`, in etcd's form.
fn prefix_end(prefix: &str) -> Vec<u8> {
    // UTF-8 has no byte 0xff, so the last byte can always be raised; `\0` means "to the very end".
    let mut end = prefix.as_bytes().to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(0),
    }
    end
}
