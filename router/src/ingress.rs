//! The fronts: each turns what its clients send into statements and the answers into its own form.
//! Routing and execution are the same behind all of them.

use std::time::Duration;

use platform::access::gate::Gate;
use platform::access::{Identity, Role};
use platform::cors::Origins;
use platform::metrics::requests::Requests;
use platform::rates::{self, Limiter};
use prometheus::Registry;
use topology::records::Surface;

use crate::audit::Inbox;
use crate::route::Rights;

pub mod grpc;
pub mod http;
pub mod pg;

/// What one request of the HTTP and gRPC fronts may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest body of a request.
    pub max_body_bytes: usize,
    /// Longest result of a call that returns it in one message.
    pub max_result_bytes: usize,
    /// How long a body may take to come.
    pub body_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 10 << 20,
            // gRPC's clients take messages of up to 4 MiB unless told otherwise.
            max_result_bytes: 4 << 20,
            body_timeout: Duration::from_secs(30),
        }
    }
}

/// What stands before the HTTP and gRPC fronts.
#[derive(Debug, Clone)]
pub struct Doors {
    /// Who is let in.
    pub gate: Gate,
    /// How often.
    pub limiter: Limiter,
    /// From which web pages.
    pub cors: Origins,
    /// With how much.
    pub limits: Limits,
    /// What counts them.
    pub requests: Requests,
    /// Where it goes on record who is not let in.
    pub audit: Option<Inbox>,
}

impl Doors {
    /// Lets everybody in, as often as they like.
    ///
    /// # Panics
    /// Never: its registry is its own.
    #[must_use]
    pub fn open() -> Self {
        let requests = Requests::register(&Registry::new(), "router");
        Self {
            gate: Gate::open(),
            limiter: Limiter::new(rates::Limits::NONE),
            cors: Origins::default(),
            limits: Limits::default(),
            requests: requests.expect("a new registry holds no such name"),
            audit: None,
        }
    }

    /// The limiter of one front, whose refusals are heard of.
    fn limiter_of(&self, surface: Surface) -> Limiter {
        match &self.audit {
            Some(audit) => self.limiter.observed(audit.ear(surface)),
            None => self.limiter.clone(),
        }
    }
}

/// What a caller may do; everything where nobody asks who it is.
fn rights_of(identity: Option<&Identity>) -> Rights {
    identity.map_or_else(Rights::default, |identity| Rights {
        may_write: identity.has(Role::Writer),
        scope: identity.scope.clone(),
    })
}
