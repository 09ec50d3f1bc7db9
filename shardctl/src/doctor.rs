//! Pure: judges what was found in a check-up. `run/doctor.rs` asks, `report/doctor.rs` prints.
//!
//! A fault that keeps statements or changes from being done is a failure; what will become one, or
//! takes a safeguard away, is a warning. Each says what to do.

use proto::manager::v1 as pb;
use serde::Serialize;

use crate::metrics::Samples;

mod control;
mod programs;
mod shards;
mod work;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    Warn,
    Fail,
}

impl Level {
    /// As it is printed.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One line of the check-up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub level: Level,
    /// What was checked, e.g. `shard`.
    pub check: &'static str,
    /// Which one, e.g. `shard-1`.
    pub about: String,
    /// What was found.
    pub finding: String,
    /// What to do; nothing where all is well.
    pub advice: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, about: impl Into<String>, finding: impl Into<String>) -> Self {
        Self {
            level: Level::Ok,
            check,
            about: about.into(),
            finding: finding.into(),
            advice: None,
        }
    }

    fn bad(
        (level, check): (Level, &'static str),
        about: impl Into<String>,
        finding: impl Into<String>,
        advice: impl Into<String>,
    ) -> Self {
        Self {
            level,
            check,
            about: about.into(),
            finding: finding.into(),
            advice: Some(advice.into()),
        }
    }
}

/// An answer, or why there is none.
pub type Heard<T> = Result<T, String>;

/// What one manager said.
#[derive(Debug, Clone)]
pub struct Manager {
    pub address: String,
    pub status: Heard<pb::GetStatusResponse>,
    pub inspection: Heard<Inspection>,
}

/// A manager's look at etcd and the shards, between two readings of our own clock.
#[derive(Debug, Clone, Default)]
pub struct Inspection {
    pub found: pb::InspectResponse,
    pub asked_ms: u64,
    pub answered_ms: u64,
}

/// Everything that was found.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Our own clock, in seconds of Unix time.
    pub now: u64,
    /// etcd by its own addresses: milliseconds to an answer. Empty where none were given.
    pub etcd: Vec<(String, Heard<f64>)>,
    pub managers: Vec<Manager>,
    pub routers: Heard<pb::ListRoutersResponse>,
    /// Each with its servers.
    pub shards: Heard<Vec<pb::Shard>>,
    pub jobs: Heard<Vec<pb::Job>>,
    pub schema: Heard<pb::DiffResponse>,
    /// `/metrics` of programs by their addresses.
    pub metrics: Vec<(String, Heard<Samples>)>,
}

impl Facts {
    /// The leader's look, else that of the first manager that looked.
    fn inspection(&self) -> Option<&Inspection> {
        let leads = |manager: &&Manager| manager.status.as_ref().is_ok_and(|it| it.is_leader);
        let leader = self.managers.iter().find(leads);
        let leaders = leader.and_then(|leader| leader.inspection.as_ref().ok());
        let mut all = self.managers.iter();
        leaders.or_else(|| all.find_map(|manager| manager.inspection.as_ref().ok()))
    }
}

/// All findings, in the order in which a person would look.
#[must_use]
pub fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = control::etcd(facts);
    findings.extend(control::managers(facts));
    if facts.managers.iter().all(|manager| manager.status.is_err()) {
        // All else is heard from managers.
        return findings;
    }
    findings.extend(programs::routers(facts));
    findings.extend(shards::shards(facts));
    findings.extend(programs::clocks(facts));
    findings.extend(programs::metrics(facts));
    findings.extend(programs::certificates(facts));
    findings.extend(work::backup(facts));
    findings.extend(work::schema(facts));
    findings.extend(work::jobs(facts));
    findings
}

#[cfg(test)]
mod tests;
