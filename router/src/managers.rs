//! Control writes that a session asks for, such as the registration of a table: sent to the
//! manager that leads, which is looked up in etcd each time. Nothing is written from here.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::access::Role;
use platform::telemetry::error_chain;
use platform::tls::peer::Connector;
use platform::{Kind, bearer};
use proto::manager::v1::table_service_client::TableServiceClient;
use proto::manager::v1::{CreateTableRequest, DeleteTableRequest};
use serde::Deserialize;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Request, Response, Status};
use topology::store::Store;
use topology::{Epoch, Table, keys, records};

/// Longer than a leader takes for a control write.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a token of ours is good for.
const TOKEN_TTL: Duration = Duration::from_secs(60);

/// The epoch that a control write made, in the metadata of its answer.
const EPOCH: &str = "x-sharding-epoch";

/// Why a control write is not done, or not surely.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Nobody leads at the moment.
    #[error("no manager leads at the moment")]
    NoLeader,
    /// etcd does not say who leads.
    #[error("it is not known which manager leads: {0}")]
    Store(String),
    /// The leader was not reached; nothing is written.
    #[error("manager {address} is not reachable: {reason}")]
    Unreachable {
        /// Where it is said to be.
        address: String,
        /// What the network says.
        reason: String,
    },
    /// The leader says no; nothing is written.
    #[error("{message}")]
    Refused {
        /// Its code.
        code: Code,
        /// Its words.
        message: String,
    },
    /// The leader was asked and gave no answer.
    #[error("manager {address} gave no answer: it is not known whether the table is registered")]
    Silent {
        /// Where it is.
        address: String,
    },
}

impl Error {
    /// The SQLSTATE.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::NoLeader | Self::Store(_) | Self::Unreachable { .. } => "57P03",
            Self::Silent { .. } => "08007",
            Self::Refused { code, .. } => match code {
                Code::InvalidArgument | Code::OutOfRange => "22023",
                Code::AlreadyExists => "42710",
                Code::NotFound => "42704",
                Code::FailedPrecondition | Code::Aborted => "55000",
                Code::ResourceExhausted => "54000",
                Code::PermissionDenied | Code::Unauthenticated => "42501",
                Code::Unknown => "08007",
                _ => "57P03",
            },
        }
    }

    /// The kind, which HTTP and gRPC answer by.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Silent { .. } => Kind::OutcomeUnknown,
            other => crate::error::kind_of_sqlstate(other.sqlstate()),
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoLeader | Self::Store(_) | Self::Unreachable { .. } => {
                Some("nothing was changed: send it again once a manager leads")
            }
            Self::Silent { .. } => {
                Some("look with \"shardctl tables list\" before sending it again")
            }
            Self::Refused {
                code: Code::Unauthenticated,
                ..
            } => Some("routers and managers must have the same security.jwt_secret"),
            Self::Refused { .. } => None,
        }
    }
}

/// What the leader's key says of it.
#[derive(Debug, Deserialize)]
struct Leader {
    grpc_address: String,
}

/// The way to the manager that leads.
pub struct Managers {
    store: Arc<dyn Store>,
    tls: Option<Connector>,
    tokens: Option<bearer::Settings>,
    /// The leader that was asked last.
    channel: Mutex<Option<(String, Channel)>>,
}

impl fmt::Debug for Managers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Managers")
    }
}

impl Managers {
    /// Speaks to managers under TLS where they serve it, with a token of our own where they want
    /// one.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        tls: Option<Connector>,
        tokens: Option<bearer::Settings>,
    ) -> Self {
        Self {
            store,
            tls,
            tokens,
            channel: Mutex::default(),
        }
    }

    /// Registers a table and gives the epoch in which it is.
    ///
    /// # Errors
    /// [`Error`]; nothing is written unless it is [`Error::Silent`].
    pub async fn create_table(&self, message: CreateTableRequest) -> Result<Epoch, Error> {
        self.send(message, async |channel, request| {
            let mut client = TableServiceClient::new(channel);
            client
                .create_table(request)
                .await
                .map(|response| epoch_of(&response))
        })
        .await
    }

    /// Forgets a table that is on no shard, and gives the epoch in which it is forgotten.
    ///
    /// # Errors
    /// As [`Self::create_table`].
    pub async fn delete_table(&self, message: DeleteTableRequest) -> Result<Epoch, Error> {
        self.send(message, async |channel, request| {
            let mut client = TableServiceClient::new(channel);
            client
                .delete_table(request)
                .await
                .map(|response| epoch_of(&response))
        })
        .await
    }

    /// The registered tables and views, as they are stored at this moment.
    ///
    /// # Errors
    /// [`Error::Store`] when etcd does not say so.
    pub async fn tables(&self) -> Result<Vec<Table>, Error> {
        let loaded = topology::watch::load(self.store.as_ref()).await;
        let loaded = loaded.map_err(|error| Error::Store(error_chain(&error)))?;
        Ok(loaded.parts.tables)
    }

    /// Whether every router begins statements by the topology of an epoch, or a newer one.
    ///
    /// # Errors
    /// [`Error::Store`] when etcd does not say so.
    pub async fn routers_have(&self, epoch: Epoch) -> Result<bool, Error> {
        let listed = topology::routers::list(self.store.as_ref()).await;
        let listed = listed.map_err(|error| Error::Store(error_chain(&error)))?;
        let mut routers = listed.all.iter();
        Ok(routers.all(|router| router.record.applied_epoch >= epoch))
    }

    async fn send<Q>(
        &self,
        message: Q,
        call: impl AsyncFnOnce(Channel, Request<Q>) -> Result<Epoch, Status>,
    ) -> Result<Epoch, Error> {
        let address = self.leader().await?;
        let channel = self.channel(&address)?;
        let mut request = Request::new(message);
        self.authorize(request.metadata_mut());
        if let Some(here) = platform::trace::present()
            && let Ok(value) = here.traceparent().parse()
        {
            request.metadata_mut().insert("traceparent", value);
        }
        match tokio::time::timeout(ANSWER_TIMEOUT, call(channel, request)).await {
            Ok(Ok(epoch)) => Ok(epoch),
            Ok(Err(status)) => Err(error_of(address, &status)),
            Err(_) => Err(Error::Silent { address }),
        }
    }

    async fn leader(&self) -> Result<String, Error> {
        let read = self.store.read(keys::LEADER).await;
        let entry = read.map_err(|error| Error::Store(error_chain(&error)))?;
        let entry = entry.ok_or(Error::NoLeader)?;
        let leader = records::decode::<Leader>(&entry.key, &entry.value);
        let leader = leader.map_err(|error| Error::Store(error.to_string()))?;
        Ok(leader.grpc_address)
    }

    fn authorize(&self, metadata: &mut MetadataMap) {
        let tokens = self.tokens.as_ref();
        let token = tokens.and_then(|tokens| tokens.sign("router", Role::Operator, TOKEN_TTL));
        let Some(token) = token else {
            return;
        };
        if let Ok(value) = MetadataValue::try_from(format!("Bearer {token}")) {
            metadata.insert("authorization", value);
        }
    }

    fn channel(&self, address: &str) -> Result<Channel, Error> {
        let mut known = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = &*known
            && known == address
        {
            return Ok(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        let endpoint = endpoint.map_err(|error| Error::Unreachable {
            address: address.to_owned(),
            reason: error_chain(&error),
        })?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5));
        let channel = match &self.tls {
            None => endpoint.connect_lazy(),
            Some(connector) => endpoint.connect_with_connector_lazy(connector.clone()),
        };
        *known = Some((address.to_owned(), channel.clone()));
        Ok(channel)
    }
}

fn epoch_of<T>(response: &Response<T>) -> Epoch {
    let text = response.metadata().get(EPOCH);
    let text = text.and_then(|value| value.to_str().ok());
    Epoch(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// A status with a source was made on this side: the leader's own come without one.
fn error_of(address: String, status: &Status) -> Error {
    let mut next = std::error::Error::source(status);
    if next.is_none() {
        return Error::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        };
    }
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return Error::Unreachable {
                address,
                reason: error_chain(error),
            };
        }
        next = error.source();
    }
    Error::Silent { address }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use topology::store::{MemoryStore, Op, Txn};

    async fn managers(leader: Option<&str>) -> Managers {
        let store = Arc::new(MemoryStore::new());
        if let Some(address) = leader {
            let value = records::encode(&serde_json::json!({"id": "m", "grpc_address": address}));
            let ops = vec![Op::put(keys::LEADER, Bytes::from(value))];
            let txn = Txn {
                compares: Vec::new(),
                ops,
            };
            store.commit(txn).await.unwrap();
        }
        Managers::new(store, None, None)
    }

    #[tokio::test]
    async fn without_a_leader_nothing_is_sent() {
        let managers = managers(None).await;
        let error = managers.create_table(CreateTableRequest::default()).await;
        assert!(matches!(error, Err(Error::NoLeader)), "{error:?}");
    }

    #[tokio::test]
    async fn a_leader_that_is_not_there_was_certainly_not_asked() {
        // A port that was just free has no listener.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        drop(socket);
        let managers = managers(Some(&address)).await;
        let error = managers.create_table(CreateTableRequest::default()).await;
        assert!(matches!(error, Err(Error::Unreachable { .. })), "{error:?}");
    }

    #[test]
    fn the_leaders_refusal_keeps_its_words() {
        let error = error_of("m:1".to_owned(), &Status::already_exists("table t exists"));
        assert_eq!(
            (error.sqlstate(), error.to_string()),
            ("42710", "table t exists".to_owned())
        );
        let lost = Status::from_error("connection reset".into());
        assert!(matches!(
            error_of("m:1".to_owned(), &lost),
            Error::Silent { .. }
        ));
    }
}
