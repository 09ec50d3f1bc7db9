//! Requests to shards as spans.

use platform::trace::{self, Role, Span};
use topology::ShardId;

use super::metrics::{Outcome, Route};

/// The span of a request to a shard, within the present one; none where there is none.
#[must_use]
pub fn request(shard: &ShardId, route: Route) -> Option<Span> {
    let mut span = trace::child("shard request", Role::Client)?;
    span.set("db.system.name", "postgresql");
    span.set("sharding.shard_id", shard.to_string());
    span.set("sharding.route", route.as_str());
    Some(span)
}

/// The shard has answered, or will not.
pub fn answered(span: Option<Span>, outcome: Outcome) {
    if let Some(mut span) = span
        && outcome == Outcome::Error
    {
        span.fail("shard_error");
    }
}
