//! Which etcd member a request goes to, and for how long it is waited.
//!
//! One connection a member, and one member that is used until it fails: so it is known of each
//! failed request whether it was sent, which a balancer over all members would hide, and a dead
//! member costs its connect time-out once and not at every second request.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{Channel, Client, ConnectOptions};
use platform::tls::client::http2::Connector;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Endpoint;

use super::failure::{Failure, is_of_stale_login};
use super::{Config, InvalidConfig};
use crate::store::Error;

/// HTTP/2 pings while a request or a watch is open find a peer that vanished without a word. etcd
/// takes pings more often than every 5 s for an attack.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// When a request may be sent to another member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Retry {
    /// It is the same done once or twice.
    Always,
    /// Only while it certainly was not sent.
    IfUnsent,
}

#[derive(Debug)]
pub(super) struct Endpoints {
    members: Vec<Member>,
    current: AtomicUsize,
    timeout: Duration,
}

struct Member {
    address: String,
    options: ConnectOptions,
    /// Connects under TLS; none where it is spoken in clear.
    secured: Option<Secured>,
    /// None until first use, and again after a request that got no answer.
    client: Mutex<Option<Client>>,
}

/// A member that is connected to under TLS. Each connection is made by the files as they are then.
struct Secured {
    endpoint: Endpoint,
    connector: Connector,
}

impl std::fmt::Debug for Member {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The options hold the password.
        f.debug_struct("Member")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Endpoints {
    pub(super) fn try_new(config: Config) -> Result<Self, InvalidConfig> {
        if config.endpoints.is_empty() {
            return Err(InvalidConfig::NoEndpoints);
        }
        let count = u32::try_from(config.endpoints.len()).unwrap_or(u32::MAX);
        // Even if all members but one are dead, the last one gets its turn in time.
        let connect_timeout = config.timeout / count.saturating_add(1);
        let mut options = ConnectOptions::new()
            .with_connect_timeout(connect_timeout)
            .with_keep_alive(PING_INTERVAL, config.timeout)
            .with_require_leader(true)
            .with_auto_token_refresh(true);
        if let Some(who) = config.credentials {
            options = options.with_user(who.user, who.password.expose());
        }
        let mut members = Vec::with_capacity(config.endpoints.len());
        for address in config.endpoints {
            if !is_address(&address, config.tls.is_some()) {
                return Err(InvalidConfig::Endpoint { endpoint: address });
            }
            let secured = config.tls.clone().and_then(|connector| {
                let endpoint = endpoint(&address)?
                    .connect_timeout(connect_timeout)
                    .http2_keep_alive_interval(PING_INTERVAL)
                    .keep_alive_timeout(config.timeout);
                Some(Secured {
                    endpoint,
                    connector,
                })
            });
            members.push(Member {
                address,
                options: options.clone(),
                secured,
                client: Mutex::default(),
            });
        }
        // Many routers start with the same list; each begins somewhere else.
        let start = usize::try_from(RandomState::new().hash_one(0) % u64::from(count));
        let current = AtomicUsize::new(start.unwrap_or(0));
        Ok(Self {
            members,
            current,
            timeout: config.timeout,
        })
    }

    /// Does a request within the time-out, at as many members as that and `retry` allow.
    pub(super) async fn call<T, F>(
        &self,
        retry: Retry,
        request: impl Fn(Client) -> F + Send + Sync,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, etcd_client::Error>> + Send,
    {
        let deadline = Instant::now() + self.timeout;
        let mut failure = Failure::Unsent("no etcd endpoint is given".into());
        for members_left in (1..=self.members.len()).rev() {
            let at = self.current.load(Ordering::Relaxed);
            let Some(member) = self.members.get(at) else {
                break;
            };
            let attempt_deadline = match retry {
                Retry::Always => share_of(deadline, members_left),
                Retry::IfUnsent => deadline,
            };
            failure = match member.attempt(attempt_deadline, &request).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let may_retry = match (&failure, retry) {
                (Failure::Answered(_), _) => false,
                (Failure::Unsent(_), _) | (Failure::Unknown(_), Retry::Always) => true,
                (Failure::Unknown(_), Retry::IfUnsent) => false,
            };
            if !matches!(failure, Failure::Answered(_)) {
                self.leave(at);
            }
            if !may_retry || Instant::now() >= deadline {
                break;
            }
        }
        Err(match failure {
            Failure::Answered(error) => error,
            Failure::Unsent(source) => Error::Unreachable(source),
            Failure::Unknown(source) if retry == Retry::Always => Error::Unreachable(source),
            Failure::Unknown(source) => Error::OutcomeUnknown(source),
        })
    }

    /// Goes on to the next member, unless somebody else has already.
    fn leave(&self, at: usize) {
        let next = (at + 1) % self.members.len();
        let _already_left =
            self.current
                .compare_exchange(at, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Member {
    async fn attempt<T, F>(
        &self,
        deadline: Instant,
        request: impl Fn(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let mut answer = self.ask(deadline, &request).await?;
        if answer.as_ref().is_err_and(is_of_stale_login) {
            self.forget().await;
            answer = self.ask(deadline, &request).await?;
        }
        answer.map_err(Failure::of)
    }

    async fn ask<T, F>(
        &self,
        deadline: Instant,
        request: impl FnOnce(Client) -> F,
    ) -> Result<Result<T, etcd_client::Error>, Failure>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let client = match timeout_at(deadline, self.client()).await {
            Ok(Ok(client)) => client,
            Ok(Err(error)) => return Err(Failure::before_sending(error)),
            Err(_) => return Err(Failure::Unsent(self.silent())),
        };
        match timeout_at(deadline, request(client)).await {
            Ok(answer) => Ok(answer),
            Err(_) => {
                // The connection may be dead without anybody having said so: begin a new one.
                self.forget().await;
                Err(Failure::Unknown(self.silent()))
            }
        }
    }

    async fn forget(&self) {
        *self.client.lock().await = None;
    }

    /// The client, made at first use: connecting is lazy, but with credentials it logs in.
    async fn client(&self) -> Result<Client, etcd_client::Error> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref() {
            return Ok(client.clone());
        }
        let options = Some(self.options.clone());
        let client = match &self.secured {
            None => Client::connect([&self.address], options).await?,
            Some(Secured {
                endpoint,
                connector,
            }) => {
                let channel = endpoint.connect_with_connector_lazy(connector.clone());
                Client::from_channel(Channel::Tonic(channel), options).await?
            }
        };
        Ok(slot.insert(client).clone())
    }

    fn silent(&self) -> Box<dyn std::error::Error + Send + Sync> {
        format!("etcd member {} gave no answer in time", self.address).into()
    }
}

/// The deadline of the next attempt, if `attempts` of them share the time that is left.
fn share_of(deadline: Instant, attempts: usize) -> Instant {
    let now = Instant::now();
    let attempts = u32::try_from(attempts).unwrap_or(u32::MAX).max(1);
    now + deadline.saturating_duration_since(now) / attempts
}

/// What tonic calls such a member. TLS is the connector's, so that the scheme says nothing of it.
fn endpoint(address: &str) -> Option<Endpoint> {
    let bare = address.rsplit_once("://").map_or(address, |(_, rest)| rest);
    Endpoint::from_shared(format!("http://{bare}")).ok()
}

fn is_address(text: &str, is_secured: bool) -> bool {
    let scheme = if is_secured { "https" } else { "http" };
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("{scheme}://{text}")
    };
    url::Url::parse(&with_scheme).is_ok_and(|url| {
        url.scheme() == scheme
            && url.host_str().is_some_and(|host| !host.is_empty())
            && url.username().is_empty()
            && url.password().is_none()
            && (!is_secured || (url.port().is_some() && endpoint(text).is_some()))
    })
}
