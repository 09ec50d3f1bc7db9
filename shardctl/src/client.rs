//! The connection to the managers: which one is asked, how long it may take, and what a lost
//! answer means. Knows no command.

use std::error::Error as _;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proto::manager::v1::audit_service_client::AuditServiceClient;
use proto::manager::v1::auth_service_client::AuthServiceClient;
use proto::manager::v1::reshard_service_client::ReshardServiceClient;
use proto::manager::v1::schema_service_client::SchemaServiceClient;
use proto::manager::v1::shard_service_client::ShardServiceClient;
use proto::manager::v1::table_service_client::TableServiceClient;
use proto::manager::v1::topology_service_client::TopologyServiceClient;
use proto::manager::v1::user_service_client::UserServiceClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Response, Status};

use crate::args::Global;
use crate::error::Error;
use crate::renewal::Renewal;
use crate::token;

/// Connecting takes a fraction of this where a manager runs; a longer wait only delays the next.
const MAX_CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A ring of 1,000 shards with 4,096 vnodes each stays below this.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// The managers that may be asked, in order.
#[derive(Debug, Clone)]
pub struct Managers {
    managers: Vec<Manager>,
    bearer: Bearer,
    /// Keeps a token in force, in place of `bearer`.
    renewal: Option<Arc<Renewal>>,
    timeout: Duration,
}

#[derive(Debug, Clone)]
struct Manager {
    address: String,
    endpoint: Endpoint,
}

/// What is asked, for messages and for what a lost answer means.
#[derive(Debug, Clone)]
pub struct Ask {
    /// Completes `cannot ...`, e.g. `add shard "a"`.
    pub action: String,
    /// Whether it changes anything: then it is sent once only.
    pub changes: bool,
    /// The command that shows the present state, e.g. `shards list`.
    pub see: &'static str,
}

impl Ask {
    /// A question that may be asked of one manager after another.
    #[must_use]
    pub fn read(action: impl Into<String>, see: &'static str) -> Self {
        Self {
            action: action.into(),
            changes: false,
            see,
        }
    }

    /// A change.
    #[must_use]
    pub fn change(action: impl Into<String>, see: &'static str) -> Self {
        Self {
            action: action.into(),
            changes: true,
            see,
        }
    }
}

type Secured = InterceptedService<Channel, Bearer>;

/// The services of one manager.
#[derive(Debug, Clone)]
pub struct Services {
    pub shards: ShardServiceClient<Secured>,
    pub tables: TableServiceClient<Secured>,
    pub topology: TopologyServiceClient<Secured>,
    pub reshard: ReshardServiceClient<Secured>,
    pub users: UserServiceClient<Secured>,
    pub schema: SchemaServiceClient<Secured>,
    pub audit: AuditServiceClient<Secured>,
    pub auth: AuthServiceClient<Secured>,
}

/// Puts the token into each request.
#[derive(Debug, Clone)]
pub struct Bearer {
    header: Option<MetadataValue<Ascii>>,
}

impl Bearer {
    /// Shows nothing.
    pub(crate) fn nobody() -> Self {
        Self { header: None }
    }

    fn of(token: &str) -> Result<Self, Error> {
        let header = format!("Bearer {}", token.trim()).parse();
        Ok(Self {
            header: Some(header.map_err(|_| Error::BadToken)?),
        })
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(header) = &self.header {
            request
                .metadata_mut()
                .insert("authorization", header.clone());
        }
        Ok(request)
    }
}

/// Why one manager gave no answer.
enum Lost {
    /// The request did not leave.
    NotSent(String),
    /// It may have arrived.
    MaybeSent(String),
    /// The manager answered with an error.
    Refused(Status),
}

/// What managers are held against and are shown; none in clear.
fn tls(global: &Global) -> Result<Option<ClientTlsConfig>, Error> {
    let read = |path: &Path| {
        std::fs::read(path).map_err(|error| Error::BadCa {
            path: path.display().to_string(),
            reason: error.to_string(),
        })
    };
    let Some(ca) = &global.ca else {
        return Ok(None);
    };
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
    let Some((cert, key)) = global.cert.as_deref().zip(global.key.as_deref()) else {
        return Ok(Some(tls));
    };
    Ok(Some(
        tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
    ))
}

impl Managers {
    /// Checks the arguments; connects to nobody. `default_timeout` holds where none was given.
    ///
    /// # Errors
    /// A bad address, token or certificate authority.
    pub fn try_new(global: &Global, default_timeout: Duration) -> Result<Self, Error> {
        let timeout = global.timeout.unwrap_or(default_timeout);
        let tls = tls(global)?;
        let addresses = global.manager.iter().map(|address| address.trim());
        let managers: Result<Vec<_>, _> = addresses
            .filter(|address| !address.is_empty())
            .map(|address| Manager::try_new(address, tls.as_ref(), timeout))
            .collect();
        let managers = managers?;
        if managers.is_empty() {
            return Err(Error::NoAddress);
        }
        let given = global.token.clone().filter(|token| !token.is_empty());
        let kept = || match &global.token_file {
            Some(path) => token::read(path),
            None => Ok(None),
        };
        let token = match given {
            Some(token) => Some(token),
            None => kept()?.filter(|token| !token.is_empty()),
        };
        let bearer = token.map_or_else(|| Ok(Bearer::nobody()), |token| Bearer::of(&token))?;
        Ok(Self {
            managers,
            bearer,
            renewal: None,
            timeout,
        })
    }

    /// The same, with a token that is kept in force.
    #[must_use]
    pub fn renewing(self, renewal: Option<Renewal>) -> Self {
        Self {
            renewal: renewal.map(Arc::new),
            ..self
        }
    }

    /// The same, asked by nobody in particular: for who is about to prove who they are.
    #[must_use]
    pub fn without_token(&self) -> Self {
        Self {
            bearer: Bearer::nobody(),
            renewal: None,
            ..self.clone()
        }
    }

    /// Each manager alone.
    pub fn each(&self) -> impl Iterator<Item = (String, Self)> + '_ {
        self.managers.iter().map(|manager| {
            let alone = Self {
                managers: vec![manager.clone()],
                ..self.clone()
            };
            (manager.address.clone(), alone)
        })
    }

    /// Sends a request to the first manager that takes it.
    ///
    /// The next one is asked only when the first certainly did nothing: it could not be reached,
    /// it said that it is unavailable, or the request changes nothing.
    ///
    /// # Errors
    /// The manager's refusal, that none could be asked, or that the token could not be renewed.
    pub async fn ask<T, F, Fut>(&self, ask: &Ask, send: F) -> Result<T, Error>
    where
        F: Fn(Services) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let bearer = match &self.renewal {
            Some(renewal) => Bearer::of(&renewal.token(self).await?)?,
            None => self.bearer.clone(),
        };
        self.ask_as(&bearer, ask, send).await
    }

    /// The same with this token.
    pub(crate) async fn ask_as<T, F, Fut>(
        &self,
        bearer: &Bearer,
        ask: &Ask,
        send: F,
    ) -> Result<T, Error>
    where
        F: Fn(Services) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let mut tried = Vec::new();
        for manager in &self.managers {
            let reason = match self.attempt(manager, bearer, &send).await {
                Ok(answer) => return Ok(answer),
                Err(Lost::NotSent(reason)) => reason,
                Err(Lost::MaybeSent(reason)) if ask.changes => {
                    return Err(outcome_unknown(ask, reason));
                }
                Err(Lost::MaybeSent(reason)) => reason,
                Err(Lost::Refused(status)) if status.code() == Code::Unavailable => {
                    status.message().to_owned()
                }
                Err(Lost::Refused(status)) => return Err(refused(ask, &status)),
            };
            tried.push((manager.address.clone(), reason));
        }
        Err(Error::Unavailable { tried })
    }

    async fn attempt<T, F, Fut>(
        &self,
        manager: &Manager,
        bearer: &Bearer,
        send: &F,
    ) -> Result<T, Lost>
    where
        F: Fn(Services) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let connecting = tokio::time::timeout(self.timeout, manager.endpoint.connect());
        let channel = match connecting.await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Lost::NotSent(root_cause(&error))),
            Err(_) => return Err(Lost::NotSent(no_answer(self.timeout))),
        };
        let sending = send(Services::new(&channel, bearer));
        match tokio::time::timeout(self.timeout, sending).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            // tonic makes a status of its own when the connection breaks, and gives it a source.
            Ok(Err(status)) if status.source().is_some() => {
                Err(Lost::MaybeSent(root_cause(&status)))
            }
            Ok(Err(status)) => Err(Lost::Refused(status)),
            Err(_) => Err(Lost::MaybeSent(no_answer(self.timeout))),
        }
    }
}

impl Manager {
    fn try_new(
        address: &str,
        tls: Option<&ClientTlsConfig>,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = if address.contains("://") {
            address.to_owned()
        } else {
            format!("{scheme}://{address}")
        };
        let bad = || Error::BadAddress {
            address: address.to_owned(),
        };
        let mut endpoint = Endpoint::from_shared(url.clone()).map_err(|_| bad())?;
        let scheme = endpoint.uri().scheme_str();
        if endpoint.uri().host().is_none() || !matches!(scheme, Some("http" | "https")) {
            return Err(bad());
        }
        if scheme == Some("https") {
            let tls = tls.ok_or_else(|| Error::NoCa {
                address: url.clone(),
            })?;
            endpoint = endpoint
                .tls_config(tls.clone())
                .map_err(|error| Error::BadCa {
                    path: "of --ca".to_owned(),
                    reason: root_cause(&error),
                })?;
        }
        let endpoint = endpoint.connect_timeout(timeout.min(MAX_CONNECT_TIMEOUT));
        Ok(Self {
            address: url,
            endpoint,
        })
    }
}

impl Services {
    fn new(channel: &Channel, bearer: &Bearer) -> Self {
        let channel = || channel.clone();
        Self {
            shards: ShardServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            tables: TableServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            topology: TopologyServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            reshard: ReshardServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            users: UserServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            schema: SchemaServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            auth: AuthServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
            audit: AuditServiceClient::with_interceptor(channel(), bearer.clone())
                .max_decoding_message_size(MAX_ANSWER_BYTES),
        }
    }
}

fn refused(ask: &Ask, status: &Status) -> Error {
    let message = match status.message() {
        "" => status.code().description().to_owned(),
        message => message.to_owned(),
    };
    match status.code() {
        // A manager says so when it lost the answer of etcd or of the leader.
        Code::Unknown | Code::DeadlineExceeded | Code::Cancelled if ask.changes => {
            outcome_unknown(ask, message)
        }
        code => Error::Refused {
            action: ask.action.clone(),
            message,
            code,
            see: ask.see,
            meant: None,
        },
    }
}

fn outcome_unknown(ask: &Ask, reason: String) -> Error {
    Error::OutcomeUnknown {
        action: ask.action.clone(),
        reason,
        see: ask.see,
    }
}

fn no_answer(timeout: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(timeout))
}

/// The innermost error's text: the outer ones only say `transport error`.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
