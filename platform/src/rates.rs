//! How many requests a client may send: a bucket of tokens for each address and for each
//! credential, and a smaller one for calls that are not let in. Answers 429 with `Retry-After`, or
//! gRPC's RESOURCE_EXHAUSTED.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::access::gate::API_KEY;
use crate::config::Section;
use crate::serve::PeerAddr;
use crate::{Kind, http_error};

/// Buckets that are remembered; clients beyond that share one.
const MAX_BUCKETS: usize = 50_000;

/// How often buckets that are full again are forgotten to make room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// The bucket of all clients for which there is no room.
const SHARED: u64 = 0;

/// The size of a bucket, and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Tokens a second; 0 is without limit.
    pub per_second: u32,
    /// Tokens of a full bucket.
    pub burst: u32,
}

/// What a client may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Requests of an address, and of a credential.
    pub requests: Rate,
    /// Requests of an address that are answered with 401; once they are used up it waits with all.
    pub rejections: Rate,
    /// Requests of an address at the door: logins and the like, right or wrong.
    pub door: Rate,
    /// Requests that are worked on at a time, of all clients; further ones are refused.
    pub at_a_time: usize,
}

/// Most requests a second and most of a burst that can be configured.
const MAX_CONFIGURED: u32 = 1_000_000;

impl Limits {
    /// Reads section `limits`; what it does not say is as in `defaults`.
    pub fn read(root: &mut Section, defaults: Self) -> Self {
        let mut section = root.section("limits");
        let mut rate = |per_second: &str, burst: &str, default: Rate| Rate {
            per_second: section.count(per_second, default.per_second, 0, MAX_CONFIGURED),
            burst: section.count(burst, default.burst, 1, MAX_CONFIGURED),
        };
        let requests = rate("requests_per_second", "request_burst", defaults.requests);
        let rejections = rate(
            "rejections_per_second",
            "rejection_burst",
            defaults.rejections,
        );
        let door = rate("logins_per_second", "login_burst", defaults.door);
        let most = u32::try_from(defaults.at_a_time).unwrap_or(MAX_CONFIGURED);
        let at_a_time = section.count("max_concurrent_requests", most, 1, MAX_CONFIGURED);
        section.finish();
        Self {
            requests,
            rejections,
            door,
            at_a_time: usize::try_from(at_a_time).unwrap_or(usize::MAX),
        }
    }

    /// No limits.
    pub const NONE: Self = {
        let rate = Rate {
            per_second: 0,
            burst: 1,
        };
        Self {
            requests: rate,
            rejections: rate,
            door: rate,
            at_a_time: Semaphore::MAX_PERMITS,
        }
    };
}

/// Counts requests; clones count together.
#[derive(Debug, Clone)]
pub struct Limiter(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    requests: Buckets,
    rejections: Buckets,
    door: Buckets,
    slots: Semaphore,
    /// Keyed at random, so that nobody can aim for another one's bucket.
    hasher: RandomState,
}

impl Limiter {
    /// A limiter that has seen nobody yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self(Arc::new(Inner {
            requests: Buckets::new(limits.requests),
            rejections: Buckets::new(limits.rejections),
            door: Buckets::new(limits.door),
            slots: Semaphore::new(limits.at_a_time.min(Semaphore::MAX_PERMITS)),
            hasher: RandomState::new(),
        }))
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.0.hasher.hash_one(of)
    }
}

/// Middleware (`from_fn_with_state(limiter, rates::limit)`). Requests without a
/// [`PeerAddr`] pass: they came by no network.
pub async fn limit(State(limiter): State<Limiter>, request: Request, next: Next) -> Response {
    let Some(PeerAddr(peer)) = request.extensions().get::<PeerAddr>().copied() else {
        return next.run(request).await;
    };
    let Inner {
        requests,
        rejections,
        ..
    } = &*limiter.0;
    let address = limiter.key(network(peer.ip()));
    let credential = request.headers().get(AUTHORIZATION);
    let credential = credential.or_else(|| request.headers().get(API_KEY));
    let credential = credential.map(|value| limiter.key(value.as_bytes()));
    let wait = rejections
        .wait(address)
        .or_else(|| requests.spend(address))
        .or_else(|| requests.spend(credential?));
    if let Some(wait) = wait {
        return refused(http_error::is_grpc(request.headers()), wait);
    }
    // Held until the answer's head: how long its body takes is the client's business.
    let Ok(_slot) = limiter.0.slots.try_acquire() else {
        return refused(http_error::is_grpc(request.headers()), Duration::ZERO);
    };
    let response = next.run(request).await;
    if is_rejection(&response) {
        rejections.spend(address);
    }
    response
}

/// Middleware (`from_fn_with_state(limiter, rates::at_the_door)`) of routes by which callers get
/// credentials: they cost us much, and a guess costs the caller little.
pub async fn at_the_door(State(limiter): State<Limiter>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddr>().copied();
    let wait = peer.and_then(|PeerAddr(peer)| {
        let address = limiter.key(network(peer.ip()));
        limiter.0.door.spend(address)
    });
    match wait {
        Some(wait) => refused(http_error::is_grpc(request.headers()), wait),
        None => next.run(request).await,
    }
}

fn refused(grpc: bool, wait: Duration) -> Response {
    let seconds = wait.as_secs() + 1;
    let text = format!("too many requests: try again in {seconds} s");
    let mut response = http_error::refuse(grpc, Kind::Exhausted, &text);
    let seconds = HeaderValue::from(seconds);
    response.headers_mut().insert(RETRY_AFTER, seconds);
    response
}

fn is_rejection(response: &Response) -> bool {
    let status = response.headers().get("grpc-status");
    response.status() == StatusCode::UNAUTHORIZED || status.is_some_and(|status| status == "16")
}

/// Whoever has one IPv6 address has all of its /64.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address @ IpAddr::V4(_) => address,
    }
}

/// Buckets of one rate. Of each it is only kept when it will be full again.
#[derive(Debug)]
struct Buckets {
    /// The time that a token takes; none without a limit.
    interval: Option<Duration>,
    burst: u32,
    full_at: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    of: HashMap<u64, Instant>,
    swept_at: Instant,
}

impl Buckets {
    fn new(rate: Rate) -> Self {
        let times = Times {
            of: HashMap::new(),
            swept_at: Instant::now(),
        };
        Self {
            interval: (rate.per_second > 0).then(|| Duration::from_secs(1) / rate.per_second),
            burst: rate.burst.max(1),
            full_at: Mutex::new(times),
        }
    }

    /// How long it takes until there is a token, where there is none.
    fn wait(&self, key: u64) -> Option<Duration> {
        let interval = self.interval?;
        let times = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let full_in = times.of.get(&key)?.checked_duration_since(Instant::now())?;
        full_in
            .checked_sub(interval * (self.burst - 1))
            .filter(|wait| !wait.is_zero())
    }

    /// Takes a token, or tells how long it takes until there is one.
    fn spend(&self, key: u64) -> Option<Duration> {
        let interval = self.interval?;
        let now = Instant::now();
        let mut times = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let key = times.place_of(key, now);
        let full_at = times.of.entry(key).or_insert(now);
        let from = (*full_at).max(now);
        let wait = (from - now).checked_sub(interval * (self.burst - 1));
        if let Some(wait) = wait.filter(|wait| !wait.is_zero()) {
            return Some(wait);
        }
        *full_at = from + interval;
        None
    }
}

impl Times {
    fn place_of(&mut self, key: u64, now: Instant) -> u64 {
        if self.of.len() < MAX_BUCKETS || self.of.contains_key(&key) {
            return key;
        }
        if now - self.swept_at >= SWEEP_INTERVAL {
            self.swept_at = now;
            self.of.retain(|_, full_at| *full_at > now);
        }
        if self.of.len() < MAX_BUCKETS {
            key
        } else {
            SHARED
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tower::ServiceExt as _;

    use super::*;

    const RATE: Rate = Rate {
        per_second: 2,
        burst: 3,
    };

    #[tokio::test(start_paused = true)]
    async fn a_bucket_empties_at_once_and_fills_at_its_rate() {
        let buckets = Buckets::new(RATE);
        let taken = (0..10).filter(|_| buckets.spend(7).is_none()).count();
        assert_eq!(taken, 3);
        assert_eq!(buckets.spend(7), Some(Duration::from_millis(500)));
        assert_eq!(buckets.spend(8), None, "another client's");
        tokio::time::advance(Duration::from_secs(1)).await;
        let taken = (0..10).filter(|_| buckets.spend(7).is_none()).count();
        assert_eq!(taken, 2);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!((0..10).filter(|_| buckets.spend(7).is_none()).count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn buckets_do_not_grow_without_bound() {
        let buckets = Buckets::new(RATE);
        for client in 1..=60_000 {
            buckets.spend(client);
        }
        let len = || buckets.full_at.lock().unwrap().of.len();
        assert!(len() <= MAX_BUCKETS + 1, "{}", len());
        assert!(
            buckets.spend(70_000).is_some(),
            "it shares a bucket that is empty"
        );
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(buckets.spend(70_000), None);
        assert_eq!(len(), 1);
    }

    async fn status(app: &Router, peer: &str, token: &str) -> (u16, bool) {
        let mut request = Request::builder().uri("/").body(Body::empty()).unwrap();
        let peer = PeerAddr(peer.parse().unwrap());
        request.extensions_mut().insert(peer);
        let token = HeaderValue::from_str(token).unwrap();
        request.headers_mut().insert(AUTHORIZATION, token);
        let response = app.clone().oneshot(request).await.unwrap();
        let waits = response.headers().contains_key(RETRY_AFTER);
        (response.status().as_u16(), waits)
    }

    fn app(rejections: Rate) -> Router {
        let answer = async |headers: http::HeaderMap| {
            let is_known = headers
                .get(AUTHORIZATION)
                .is_some_and(|token| token != "wrong");
            if is_known {
                StatusCode::OK
            } else {
                StatusCode::UNAUTHORIZED
            }
        };
        let limiter = Limiter::new(Limits {
            requests: RATE,
            rejections,
            ..Limits::NONE
        });
        let app = Router::new().route("/", get(answer));
        app.layer(from_fn_with_state(limiter, limit))
    }

    #[tokio::test(start_paused = true)]
    async fn an_address_and_a_credential_each_have_their_limit() {
        let app = app(RATE);
        for _ in 0..3 {
            assert_eq!(status(&app, "[2001:db8::1]:1", "a").await.0, 200);
        }
        assert_eq!(
            status(&app, "[2001:db8::2]:9", "b").await,
            (429, true),
            "the same network"
        );
        assert_eq!(
            status(&app, "10.0.0.1:1", "a").await,
            (429, true),
            "the same credential"
        );
        assert_eq!(status(&app, "10.0.0.1:2", "b").await.0, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_credentials_are_limited_more() {
        let app = app(Rate {
            per_second: 1,
            burst: 1,
        });
        assert_eq!(status(&app, "10.0.0.1:1", "wrong").await.0, 401);
        assert_eq!(status(&app, "10.0.0.1:1", "right").await, (429, true));
        assert_eq!(status(&app, "10.0.0.2:1", "right").await.0, 200);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(status(&app, "10.0.0.1:1", "right").await.0, 200);
    }
}
