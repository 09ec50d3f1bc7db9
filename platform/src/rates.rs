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

use crate::access::Identity;
use crate::access::gate::API_KEY;
use crate::access::refused::{Call, Observer};
use crate::config::Section;
use crate::serve::PeerAddr;
use crate::serve::places::Places;
use crate::{Kind, http_error};

/// Buckets that are remembered; clients beyond that share one.
const MAX_BUCKETS: usize = 50_000;

/// How often buckets that are full again are forgotten to make room.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Credentials that are remembered, and for how long after they were accepted.
const MAX_KNOWN: usize = 50_000;
const KNOWN_FOR: Duration = Duration::from_mins(15);

/// What is said of calls that wait for no other reason.
const TOO_MANY_REJECTIONS: &str = "too many calls without a valid credential";

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
    /// Requests of an address that are answered with 401; once they are used up it waits with all,
    /// but for credentials that were accepted a while ago: behind a load balancer many have one
    /// address.
    pub rejections: Rate,
    /// Requests of an address at the door: logins and the like, right or wrong.
    pub door: Rate,
    /// Requests that are worked on at a time, of all clients; further ones are refused. Of one
    /// address half of them, so that none can keep all others out.
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
pub struct Limiter {
    counts: Arc<Inner>,
    observer: Option<Arc<dyn Observer>>,
}

#[derive(Debug)]
struct Inner {
    requests: Buckets,
    rejections: Buckets,
    door: Buckets,
    slots: Semaphore,
    shares: Arc<Places>,
    known: Mutex<HashMap<u64, Instant>>,
    /// Keyed at random, so that nobody can aim for another one's bucket.
    hasher: RandomState,
}

impl Limiter {
    /// A limiter that has seen nobody yet.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let counts = Inner {
            requests: Buckets::new(limits.requests),
            rejections: Buckets::new(limits.rejections),
            door: Buckets::new(limits.door),
            slots: Semaphore::new(limits.at_a_time.min(Semaphore::MAX_PERMITS)),
            shares: Places::new(limits.at_a_time.div_ceil(2)),
            known: Mutex::default(),
            hasher: RandomState::new(),
        };
        Self {
            counts: Arc::new(counts),
            observer: None,
        }
    }

    /// The same for one front, of whose callers that are refused somebody hears.
    #[must_use]
    pub fn observed(&self, observer: Arc<dyn Observer>) -> Self {
        Self {
            counts: Arc::clone(&self.counts),
            observer: Some(observer),
        }
    }

    /// Whether a credential was accepted a while ago.
    fn knows(&self, credential: u64) -> bool {
        let known = self
            .counts
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let accepted = known.get(&credential);
        accepted.is_some_and(|at| at.elapsed() < KNOWN_FOR)
    }

    fn note(&self, credential: u64, is_accepted: bool) {
        let mut known = self
            .counts
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if !is_accepted {
            known.remove(&credential);
            return;
        }
        if known.len() >= MAX_KNOWN && !known.contains_key(&credential) {
            known.clear();
        }
        known.insert(credential, Instant::now());
    }

    fn key(&self, of: impl Hash) -> u64 {
        self.counts.hasher.hash_one(of)
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
    } = &*limiter.counts;
    let address = limiter.key(network(peer.ip()));
    let credential = request.headers().get(AUTHORIZATION);
    let credential = credential.or_else(|| request.headers().get(API_KEY));
    let credential = credential.map(|value| limiter.key(value.as_bytes()));
    let is_known = credential.is_some_and(|credential| limiter.knows(credential));
    let observer = limiter.observer.as_deref();
    let call = observer.map(|_| Call::of(&request, peer.ip()));
    if let Some(wait) = rejections.wait(address).filter(|_| !is_known) {
        if let (Some(observer), Some(call)) = (observer, &call) {
            call.tell(observer, None, TOO_MANY_REJECTIONS);
        }
        return refused(http_error::is_grpc(request.headers()), wait);
    }
    let wait = requests.spend(address);
    if let Some(wait) = wait.or_else(|| requests.spend(credential?)) {
        return refused(http_error::is_grpc(request.headers()), wait);
    }
    // Held until the answer's head: how long its body takes is the client's business.
    let share = limiter.counts.shares.take(peer.ip());
    let (Some(_share), Ok(_slot)) = (share, limiter.counts.slots.try_acquire()) else {
        return refused(http_error::is_grpc(request.headers()), Duration::ZERO);
    };
    let response = next.run(request).await;
    let is_rejected = is_rejection(&response);
    if is_rejected {
        rejections.spend(address);
    }
    if let (Some(observer), Some(call)) = (observer, &call) {
        call.answered(&response, observer);
    }
    // Where no credential is looked at, none is accepted.
    let is_accepted = response.extensions().get::<Identity>().is_some();
    if let Some(credential) = credential.filter(|_| is_rejected || is_accepted) {
        limiter.note(credential, is_accepted);
    }
    response
}

/// Middleware (`from_fn_with_state(limiter, rates::at_the_door)`) of routes by which callers get
/// credentials: they cost us much, and a guess costs the caller little.
pub async fn at_the_door(State(limiter): State<Limiter>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<PeerAddr>().copied();
    let wait = peer.and_then(|PeerAddr(peer)| {
        let address = limiter.key(network(peer.ip()));
        limiter.counts.door.spend(address)
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

/// How often somebody may try in vain, told apart by whatever they are known by; clones count
/// together.
#[derive(Debug, Clone)]
pub struct Tries(Arc<(Buckets, RandomState)>);

impl Tries {
    /// Nobody has tried yet.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self(Arc::new((Buckets::new(rate), RandomState::new())))
    }

    /// How long somebody has to wait until their next try, where they have to.
    #[must_use]
    pub fn wait(&self, who: impl Hash) -> Option<Duration> {
        let (buckets, hasher) = &*self.0;
        buckets.wait(hasher.hash_one(who))
    }

    /// Notes that somebody tried in vain.
    pub fn failed(&self, who: impl Hash) {
        let (buckets, hasher) = &*self.0;
        buckets.spend(hasher.hash_one(who));
    }
}

/// Whom an address stands for: whoever has one IPv6 address has all of its /64.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
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
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use axum::{Extension, Router};
    use futures_util::FutureExt as _;
    use tower::ServiceExt as _;

    use super::*;
    use crate::bearer::Claims;

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
                Ok(Extension(Identity::of_claims(Claims::default())))
            } else {
                Err(StatusCode::UNAUTHORIZED)
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
    async fn who_tries_in_vain_too_often_waits_and_nobody_else_does() {
        let tries = Tries::new(RATE);
        for _ in 0..3 {
            assert_eq!(tries.wait(("10.0.0.1", "ann")), None);
            tries.failed(("10.0.0.1", "ann"));
        }
        let wait = tries.wait(("10.0.0.1", "ann"));
        assert_eq!(wait, Some(Duration::from_millis(500)));
        assert_eq!(tries.wait(("10.0.0.1", "bob")), None);
        assert_eq!(tries.wait(("10.0.0.2", "ann")), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(tries.wait(("10.0.0.1", "ann")), None);
    }

    #[tokio::test]
    async fn one_address_cannot_have_all_requests_at_a_time() {
        let limits = Limits {
            at_a_time: 4,
            ..Limits::NONE
        };
        let app = Router::new()
            .route("/", get(std::future::pending::<StatusCode>))
            .route("/quick", get(async || StatusCode::OK))
            .layer(from_fn_with_state(Limiter::new(limits), limit));
        let request = |path: &str, peer: &str| {
            let mut request = Request::builder().uri(path).body(Body::empty()).unwrap();
            let peer = PeerAddr(peer.parse().unwrap());
            request.extensions_mut().insert(peer);
            app.clone().oneshot(request)
        };
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut slow = Box::pin(request("/", "10.0.0.1:1"));
            assert!((&mut slow).now_or_never().is_none());
            held.push(slow);
        }
        let of = async |peer: &str| request("/quick", peer).await.unwrap().status().as_u16();
        assert_eq!(of("10.0.0.1:9").await, 429);
        assert_eq!(of("10.0.0.2:1").await, 200);
        held.clear();
        assert_eq!(of("10.0.0.1:9").await, 200);
    }

    #[tokio::test(start_paused = true)]
    async fn wrong_credentials_are_limited_more() {
        let app = app(Rate {
            per_second: 1,
            burst: 1,
        });
        assert_eq!(status(&app, "10.0.0.1:1", "wrong").await.0, 401);
        assert_eq!(status(&app, "10.0.0.1:1", "right").await, (429, true));
        assert_eq!(status(&app, "10.0.0.1:1", "wrong").await.0, 429);
        assert_eq!(status(&app, "10.0.0.2:1", "right").await.0, 200);
        // Who was let in before is let in on, and nobody else of this address.
        assert_eq!(status(&app, "10.0.0.1:1", "right").await.0, 200);
        assert_eq!(status(&app, "10.0.0.1:1", "new").await.0, 429);
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(status(&app, "10.0.0.1:1", "new").await.0, 200);
    }
}
