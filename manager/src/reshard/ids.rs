//! The names of jobs and legs, and the names that they give to objects on shards.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use topology::ShardId;

/// Why a text is not a job's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the id of a job: 12 lower-case letters or digits")]
pub struct InvalidJobId(String);

/// A job's id: 12 lower-case hexadecimal digits, so that it can be part of any name on a shard.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JobId(String);

impl JobId {
    /// Bytes of an id.
    const LEN: usize = 12;

    /// A new id; ids of later milliseconds sort after earlier ones for some years.
    #[must_use]
    pub fn new() -> Self {
        let id = uuid::Uuid::now_v7().simple().to_string();
        // Nine digits of milliseconds and three random ones.
        let time = id.get(3..12).unwrap_or_default();
        let random = id.get(29..32).unwrap_or_default();
        Self(format!("{time}{random}"))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for JobId {
    fn default() -> Self {
        Self::new()
    }
}

impl TryFrom<String> for JobId {
    type Error = InvalidJobId;

    fn try_from(text: String) -> Result<Self, InvalidJobId> {
        let is_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if text.len() == Self::LEN && text.bytes().all(is_digit) {
            Ok(Self(text))
        } else {
            Err(InvalidJobId(text))
        }
    }
}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        Self::try_from(text.to_owned())
    }
}

impl From<JobId> for String {
    fn from(id: JobId) -> Self {
        id.0
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One leg of a job: what is cut over at once.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LegId {
    /// The job.
    pub job: JobId,
    /// Its place in the job, from 0.
    pub number: u16,
}

impl LegId {
    /// The part that all names of this leg on shards have: `<job>_<number>`, of `[a-z0-9_]`.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("{}_{}", self.job, self.number)
    }

    /// The leg whose tag this is.
    #[must_use]
    pub fn of_tag(tag: &str) -> Option<Self> {
        let (job, number) = tag.rsplit_once('_')?;
        let leg = Self {
            job: job.parse().ok()?,
            number: number.parse().ok()?,
        };
        // Not of a tag with a sign or with leading zeros.
        (leg.tag() == tag).then_some(leg)
    }

    /// The publication on a shard that rows leave.
    #[must_use]
    pub fn publication(&self) -> String {
        format!("vg_{}", self.tag())
    }

    /// The replication slot on the shard that a stream reads. A shard has at most one stream of a
    /// leg, so that the name needs no more.
    #[must_use]
    pub fn slot(&self) -> String {
        format!("vg_{}", self.tag())
    }

    /// The replication origin, on the shard that rows are applied to, of the stream from `from`.
    #[must_use]
    pub fn origin(&self, from: &ShardId) -> String {
        format!("vg_{}_{from}", self.tag())
    }

    /// The sequence that is this leg's fence on a shard, within schema `vg`.
    #[must_use]
    pub fn fence(&self) -> String {
        format!("fence_{}", self.tag())
    }
}

impl fmt::Display for LegId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.job, self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_id_is_one_that_can_be_read() {
        let id = JobId::new();
        assert_eq!(id.as_str().parse(), Ok(id.clone()));
    }

    #[test]
    fn a_leg_is_known_by_its_tag() {
        let job = JobId::new();
        let leg = LegId {
            job,
            number: 65_535,
        };
        assert_eq!(LegId::of_tag(&leg.tag()), Some(leg));
        for tag in [
            "",
            "0123456789ab",
            "0123456789ab_",
            "0123456789ab_01",
            "0123456789ab_+1",
        ] {
            assert_eq!(LegId::of_tag(tag), None, "{tag}");
        }
    }

    #[test]
    fn a_text_that_could_not_be_part_of_a_slots_name_is_refused() {
        for text in [
            "",
            "0123456789a",
            "0123456789AB",
            "0123456789-b",
            "0123456789abc",
        ] {
            assert!(text.parse::<JobId>().is_err(), "{text}");
        }
    }
}
