//! Pure: a plan in words.

use topology::Snapshot;

use crate::route::{KeySource, Plan, Unnested};

/// The kind of a plan, the shard where it names one, and the reason where there is one.
pub(super) struct Words {
    pub(super) route: &'static str,
    pub(super) shard: Option<String>,
    pub(super) reason: Option<String>,
}

pub(super) fn words(plan: &Plan, snapshot: &Snapshot) -> Words {
    let (route, shard, reason) = match plan {
        Plan::Key { sources, .. } => ("key", None, Some(places(sources))),
        Plan::Any { .. } | Plan::Catalog => ("any", None, None),
        Plan::Home(index) => (
            "home",
            snapshot.shard(*index).map(|shard| shard.id.to_string()),
            None,
        ),
        Plan::Bound(index) => (
            "bound",
            snapshot.shard(*index).map(|shard| shard.id.to_string()),
            None,
        ),
        Plan::Everywhere => ("everywhere", None, None),
        Plan::NeedsHint { refusal, .. } => ("needs hint", None, Some(refusal.message.clone())),
        Plan::NeedsColumns { .. } => ("needs columns", None, None),
        Plan::NeedsViews { .. } => ("needs views", None, None),
        Plan::Refused(refusal) => ("refused", None, Some(refusal.message.clone())),
    };
    Words {
        route,
        shard,
        reason,
    }
}

/// Where keys stand; never the keys.
fn places(sources: &[KeySource]) -> String {
    let place = |source: &KeySource| match source {
        KeySource::Literal(_) => "in the text".to_owned(),
        KeySource::Parameter(index) => format!("${}", index + 1),
        KeySource::ArrayParameter(index)
        | KeySource::Unnested(Unnested {
            parameter: index, ..
        }) => format!("elements of ${}", index + 1),
    };
    let mut places: Vec<String> = sources.iter().map(place).collect();
    places.dedup();
    format!("key {}", places.join(", "))
}
