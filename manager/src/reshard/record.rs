//! What is stored of a job in etcd. The legs have records of their own.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use topology::records::ShardState;
use topology::{Placement, ShardId, Snapshot};

use super::api::Status;
use super::ids::JobId;
use super::machine::Goal;
use super::plan::{Intent, Plan};
use crate::control::NewShard;
use crate::control::moves::Effect;

/// How a job runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    /// The longest pause of a cutover: over it the attempt is given up.
    pub max_pause_ms: u32,
    /// How long the reverse streams are kept after the last cutover unless it is finished before.
    pub keep_reverse_secs: u64,
    /// What the copy may take.
    #[serde(default)]
    pub throttle: Throttle,
}

impl Options {
    /// The pause of a job that names none.
    pub const DEFAULT_MAX_PAUSE_MS: u32 = 100;
    /// A budget below this is over before routers have answered.
    pub const LEAST_MAX_PAUSE_MS: u32 = 10;
    /// Longer than a client would wait for a statement.
    pub const GREATEST_MAX_PAUSE_MS: u32 = 60_000;
    /// How long a job that says nothing else can be rolled back.
    pub const DEFAULT_KEEP_REVERSE_SECS: u64 = 24 * 60 * 60;
    /// The WAL that a reverse slot holds back bounds it earlier.
    pub const GREATEST_KEEP_REVERSE_SECS: u64 = 30 * 24 * 60 * 60;

    /// The longest pause of a cutover.
    #[must_use]
    pub fn max_pause(&self) -> Duration {
        Duration::from_millis(self.max_pause_ms.into())
    }

    /// How long the reverse streams are kept.
    #[must_use]
    pub fn keep_reverse(&self) -> Duration {
        Duration::from_secs(self.keep_reverse_secs)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_pause_ms: Self::DEFAULT_MAX_PAUSE_MS,
            keep_reverse_secs: Self::DEFAULT_KEEP_REVERSE_SECS,
            throttle: Throttle::default(),
        }
    }
}

/// Bounds of the copy; none where absent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Rows a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<u64>,
    /// Bytes a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
}

/// A job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What moves; its legs are numbered from 0.
    pub plan: Plan,
    /// Where it is to end.
    pub goal: Goal,
    /// The public word that it ended in, or came to rest in; none while it is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Status>,
    /// What it will have come to once it is back: cancelled, or rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undo: Option<Status>,
    /// Whether an operator stopped it for now.
    #[serde(default)]
    pub is_paused: bool,
    /// How it runs.
    pub options: Options,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub created_at: SystemTime,
    /// When its first leg began.
    #[serde(default, with = "rfc3339::option")]
    pub started_at: Option<SystemTime>,
    /// When it reached its final status.
    #[serde(default, with = "rfc3339::option")]
    pub completed_at: Option<SystemTime>,
    /// Why it stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Who asked for it.
    pub requested_by: String,
    /// The request's id, as in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl Job {
    /// What its being as it is means for the topology: a shard is given nothing while it is being
    /// drained and once it is, unless that is taken back.
    #[must_use]
    pub fn effect(&self, snapshot: &Snapshot) -> Effect {
        let Some(drained) = self.plan.drains() else {
            return Effect::None;
        };
        let state = match (self.goal, self.outcome) {
            (Goal::Back, _) | (_, Some(Status::Failed)) => ShardState::Active,
            (Goal::Move | Goal::Finish, Some(Status::Completed)) if !is_home(snapshot, drained) => {
                ShardState::Inactive
            }
            (Goal::Move | Goal::Finish, _) => ShardState::Draining,
        };
        let index = snapshot.index_of(drained);
        match index.and_then(|index| snapshot.shard(index)) {
            Some(shard) if shard.state != state => Effect::State {
                shard: drained.clone(),
                state,
            },
            Some(_) | None => Effect::None,
        }
    }
}

/// Whether tables that are not sharded are on a shard: no plan moves them.
fn is_home(snapshot: &Snapshot, shard: &ShardId) -> bool {
    snapshot.tables().any(|table| match &table.placement {
        Placement::Unsharded { shard_id } => shard_id == shard,
        Placement::Sharded { .. } | Placement::Reference | Placement::View { .. } => false,
    })
}

/// What a plan was made from, kept for a while so that it can be run by its id: made again from
/// this, it has the same id as long as the ring is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// What was asked for.
    pub intent: Intent,
    /// Shards that it names and that were not registered then.
    pub new_shards: Vec<NewShard>,
}

impl StoredPlan {
    /// The new shards that a topology does not have.
    pub fn missing<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a NewShard> {
        let is_there = |id: &ShardId| snapshot.index_of(id).is_some();
        let shards = self.new_shards.iter();
        shards.filter(move |new| crate::control::slug(&new.name).is_some_and(|id| !is_there(&id)))
    }
}

/// Times as text.
pub mod rfc3339 {
    use std::time::SystemTime;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    /// Writes a time.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_millis(*time))
    }

    /// Reads a time.
    ///
    /// # Errors
    /// For a text that is none.
    pub fn deserialize<'a, D: Deserializer<'a>>(deserializer: D) -> Result<SystemTime, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_rfc3339(&text).map_err(de::Error::custom)
    }

    /// Times that may be absent.
    pub mod option {
        use std::time::SystemTime;

        use serde::{Deserialize as _, Deserializer, Serializer, de};

        /// Writes a time or null.
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(
            time: &Option<SystemTime>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            match time {
                None => serializer.serialize_none(),
                Some(time) => super::serialize(time, serializer),
            }
        }

        /// Reads a time or null.
        ///
        /// # Errors
        /// For a text that is none.
        pub fn deserialize<'a, D: Deserializer<'a>>(
            deserializer: D,
        ) -> Result<Option<SystemTime>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            let time = text.map(|text| humantime::parse_rfc3339(&text));
            time.transpose().map_err(de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_an_older_record_have_no_throttle() {
        let read: Options =
            serde_json::from_str(r#"{"max_pause_ms":50,"keep_reverse_secs":60}"#).unwrap();
        assert_eq!(read.throttle, Throttle::default());
        assert_eq!(read.max_pause(), Duration::from_millis(50));
    }
}
