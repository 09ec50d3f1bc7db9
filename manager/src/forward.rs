//! Sends a mutation that reached a follower to the leader, over gRPC, and gives the leader's
//! answer. Whether to forward is decided in `service`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use platform::telemetry::error_chain;
use platform::tls::peer::Connector;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, Request, Response, Status};
use topology::Epoch;

use crate::caller::Caller;
use crate::error::{Code, Error};
use crate::leader::Leader;

/// The epoch that a mutation made, in the metadata of its answer.
pub const EPOCH: &str = "x-sharding-epoch";

/// Longer than a leader takes for a control write, shorter than a client's request may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(25);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// What a mutation gives.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The answer.
    pub message: T,
    /// The epoch in which it is visible.
    pub epoch: Epoch,
}

/// The way to the leader.
#[derive(Debug, Clone)]
pub struct Forwarder {
    own_id: String,
    tls: Option<Connector>,
    /// The leader that was asked last.
    channel: Arc<Mutex<Option<(String, Channel)>>>,
}

impl Forwarder {
    /// A forwarder that names itself by `own_id`; with TLS where the managers serve it.
    #[must_use]
    pub fn new(own_id: String, tls: Option<Connector>) -> Self {
        let channel = Arc::default();
        Self {
            own_id,
            tls,
            channel,
        }
    }

    /// Sends a request of `caller` to the leader by `call`.
    ///
    /// # Errors
    /// The leader's own error, or whether it was asked at all.
    pub async fn send<Q, A, F>(
        &self,
        leader: &Leader,
        caller: &Caller,
        message: Q,
        call: impl FnOnce(Channel, Request<Q>) -> F,
    ) -> Result<Answer<A>, Error>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let channel = self.channel(leader)?;
        let mut request = Request::new(message);
        *request.metadata_mut() = MetadataMap::from_headers(caller.headers(&self.own_id));
        if let Some(here) = platform::trace::present()
            && let Ok(value) = here.traceparent().parse()
        {
            request.metadata_mut().insert("traceparent", value);
        }
        let called = tokio::time::timeout(ANSWER_TIMEOUT, call(channel, request)).await;
        let answer = called.unwrap_or_else(|_| {
            let text = "the leader did not answer in time";
            Err(Status::from_error(text.into()))
        });
        match answer {
            Ok(response) => Ok(Answer {
                epoch: epoch_of(response.metadata()),
                message: response.into_inner(),
            }),
            Err(status) => Err(error_of(leader, status)),
        }
    }

    fn channel(&self, leader: &Leader) -> Result<Channel, Error> {
        let address = &leader.identity.grpc_address;
        let mut known = self.channel.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, channel)) = &*known
            && known == address
        {
            return Ok(channel.clone());
        }
        let unusable = |error: tonic::transport::Error| Error::LeaderUnreachable {
            leader: leader.identity.id.clone(),
            address: address.clone(),
            source: Status::from_error(error.into()),
        };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(unusable)?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .http2_keep_alive_interval(Duration::from_secs(5))
            .keep_alive_timeout(Duration::from_secs(5));
        let channel = match &self.tls {
            None => endpoint.connect_lazy(),
            Some(connector) => endpoint.connect_with_connector_lazy(connector.clone()),
        };
        *known = Some((address.clone(), channel.clone()));
        Ok(channel)
    }
}

fn epoch_of(metadata: &MetadataMap) -> Epoch {
    let text = metadata.get(EPOCH).and_then(|value| value.to_str().ok());
    Epoch(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// A status with a source was made on this side: the leader's own come without one.
fn error_of(leader: &Leader, status: Status) -> Error {
    let id = leader.identity.id.clone();
    match std::error::Error::source(&status) {
        None => Error::FromLeader {
            code: Code::of_grpc(status.code()),
            message: status.message().to_owned(),
        },
        Some(source) if was_not_connected(source) => Error::LeaderUnreachable {
            leader: id,
            address: leader.identity.grpc_address.clone(),
            source: status,
        },
        Some(source) => {
            let error = error_chain(source);
            tracing::warn!(leader = id, error, "leader did not answer");
            Error::LeaderSilent {
                leader: id,
                source: status,
            }
        }
    }
}

fn was_not_connected(source: &(dyn std::error::Error + 'static)) -> bool {
    let mut next = Some(source);
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use topology::Term;

    use super::*;
    use crate::leader::Identity;

    fn leader(grpc_address: &str) -> Leader {
        let (id, grpc_address) = ("m1".to_owned(), grpc_address.to_owned());
        let identity = Identity { id, grpc_address };
        let term = Term(7);
        Leader { identity, term }
    }

    #[tokio::test]
    async fn a_leader_that_is_not_there_was_certainly_not_asked() {
        // A port that was just free has no listener.
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap().to_string();
        drop(socket);
        let forwarder = Forwarder::new("m2".to_owned(), None);
        let call = |channel, request| async move {
            let mut client =
                proto::manager::v1::table_service_client::TableServiceClient::new(channel);
            client.list_groups(request).await
        };
        let message = proto::manager::v1::ListGroupsRequest {};
        let (leader, caller) = (leader(&address), Caller::default());
        let sent = forwarder.send(&leader, &caller, message, call);
        let error = sent.await.map(|answer| answer.message).unwrap_err();
        assert!(
            matches!(error, Error::LeaderUnreachable { .. }),
            "{error:?}"
        );
    }

    #[test]
    fn the_leaders_own_refusal_keeps_its_code_and_text() {
        let status = Status::already_exists("shard a exists already");
        let error = error_of(&leader("a:1"), status);
        assert_eq!(error.code(), Code::AlreadyExists);
        assert_eq!(error.to_string(), "shard a exists already");
    }

    #[test]
    fn a_lost_answer_is_reported_as_unknown() {
        let status = Status::from_error("connection reset".into());
        let error = error_of(&leader("a:1"), status);
        assert_eq!(error.code(), Code::Kind(platform::Kind::OutcomeUnknown));
    }
}
