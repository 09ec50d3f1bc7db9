//! What is stored of a leg in etcd, and of how far it is.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use topology::Epoch;

use super::api::Certificate;
use super::flow::{Flow, MovedTable};
use super::ids::LegId;
use super::machine::{Phase, Side};
use super::progress::Reading;
use super::record::rfc3339;

/// Most attempts and certificates that are kept with a leg.
const MAX_KEPT: usize = 32;

/// A leg.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leg {
    /// Its id.
    pub id: LegId,
    /// Where it is.
    #[serde(flatten)]
    pub phase: Phase,
    /// What moves, from one shard to one or several.
    pub flows: Vec<Flow>,
    /// The tables whose rows move; fixed when the leg is prepared.
    #[serde(default)]
    pub tables: Vec<MovedTable>,
    /// The hash of their definition when they were prepared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_hash: Option<String>,
    /// The epoch of the last hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold_epoch: Option<Epoch>,
    /// The epoch of the last change of the owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flip_epoch: Option<Epoch>,
    /// Cutovers that were tried, ever.
    #[serde(default)]
    pub attempts: u32,
    /// The last of them.
    #[serde(default)]
    pub cutovers: Vec<Cutover>,
    /// What comparisons found.
    #[serde(default)]
    pub certificates: Vec<Certificate>,
    /// Why the leg gave up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// When the copy began.
    #[serde(default, with = "rfc3339::option")]
    pub started_at: Option<SystemTime>,
}

/// One cutover that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cutover {
    /// When routers were told to hold.
    #[serde(with = "rfc3339")]
    pub at: SystemTime,
    /// From then until the new owner was recorded, or until it was taken back, in microseconds.
    pub pause_us: u64,
    /// Who was to own the rows.
    pub to: Side,
    /// Why it was taken back; none for one that succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Cutover {
    /// How long clients of the moving keys waited at most.
    #[must_use]
    pub fn pause(&self) -> Duration {
        Duration::from_micros(self.pause_us)
    }
}

impl Leg {
    /// A leg of which nothing is done.
    #[must_use]
    pub fn new(id: LegId, flows: Vec<Flow>) -> Self {
        Self {
            id,
            phase: Phase::Planned,
            flows,
            tables: Vec::new(),
            schema_hash: None,
            hold_epoch: None,
            flip_epoch: None,
            attempts: 0,
            cutovers: Vec::new(),
            certificates: Vec::new(),
            failure: None,
            started_at: None,
        }
    }

    /// Keeps a cutover, and forgets the oldest one of many.
    pub fn keep_cutover(&mut self, cutover: Cutover) {
        self.cutovers.push(cutover);
        if self.cutovers.len() > MAX_KEPT {
            self.cutovers.remove(0);
        }
    }

    /// Keeps a certificate, and forgets the oldest one of many.
    pub fn keep_certificate(&mut self, certificate: Certificate) {
        self.certificates.push(certificate);
        if self.certificates.len() > MAX_KEPT {
            self.certificates.remove(0);
        }
    }

    /// The last comparison said that the sides differ.
    #[must_use]
    pub fn is_unequal(&self) -> bool {
        self.certificates.last().is_some_and(|last| !last.is_equal)
    }

    /// The pause of the last cutover that succeeded.
    #[must_use]
    pub fn pause(&self) -> Option<Duration> {
        let succeeded = self.cutovers.iter().rev().find(|one| one.error.is_none());
        succeeded.map(Cutover::pause)
    }
}

/// How far a leg is; written anew every second while it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LegProgress {
    /// The leg's place in its job.
    pub number: u16,
    /// What is being done.
    pub step: String,
    /// What went wrong last, and is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// The counters.
    pub reading: Reading,
}

/// How far a job is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobProgress {
    /// Its legs that run.
    pub legs: Vec<LegProgress>,
    /// Rows a second that were copied, applied, compared or removed, lately.
    pub rate: f64,
}

impl JobProgress {
    /// One leg's.
    #[must_use]
    pub fn of(&self, number: u16) -> Option<&LegProgress> {
        self.legs.iter().find(|leg| leg.number == number)
    }
}
