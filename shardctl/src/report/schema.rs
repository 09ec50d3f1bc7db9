//! How the shards' schemas differ, and what a repair does.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::{Report, present};
use crate::grid::printable;

/// The differences.
#[derive(Debug, Clone, Serialize)]
pub struct Diff {
    epoch: u64,
    shards: Vec<String>,
    objects: u64,
    is_equal: bool,
    differences: Vec<Difference>,
    notes: Vec<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Difference {
    kind: String,
    name: String,
    versions: Vec<Version>,
}

#[derive(Debug, Clone, Serialize)]
struct Version {
    shards: Vec<String>,
    definition: Option<String>,
}

impl Diff {
    /// How many there are.
    #[must_use]
    pub fn differences(&self) -> usize {
        self.differences.len()
    }
}

impl From<pb::DiffResponse> for Diff {
    fn from(answer: pb::DiffResponse) -> Self {
        let version = |version: pb::SchemaVersion| Version {
            shards: version.shard_ids,
            definition: version.definition,
        };
        let difference = |difference: pb::SchemaDifference| Difference {
            kind: difference.kind,
            name: difference.name,
            versions: difference.versions.into_iter().map(version).collect(),
        };
        Self {
            epoch: answer.epoch,
            shards: answer.shard_ids,
            objects: answer.objects,
            is_equal: answer.differences.is_empty(),
            differences: answer.differences.into_iter().map(difference).collect(),
            notes: answer.notes,
        }
    }
}

impl Report for Diff {
    fn table(&self) -> String {
        let mut out = String::new();
        for difference in &self.differences {
            let (kind, name) = (&difference.kind, printable(&difference.name));
            out.push_str(&format!("{kind} {name}\n"));
            for version in &difference.versions {
                let shards = version.shards.join(", ");
                match version.definition.as_deref() {
                    None => out.push_str(&format!("  {shards}: missing\n")),
                    Some("") => out.push_str(&format!("  {shards}: there\n")),
                    Some(text) => {
                        out.push_str(&format!("  {shards}:\n"));
                        for line in text.lines() {
                            out.push_str(&format!("    {}\n", printable(line)));
                        }
                    }
                }
            }
        }
        for note in &self.notes {
            out.push_str(&format!("note: {}\n", printable(note)));
        }
        if self.is_equal {
            let shards = self.shards.len();
            out.push_str(&format!(
                "{shards} shards, {} objects: all the same\n",
                self.objects
            ));
        }
        out
    }
}

/// What a repair does.
#[derive(Debug, Clone, Serialize)]
pub struct Repair {
    actions: Vec<Action>,
}

#[derive(Debug, Clone, Serialize)]
struct Action {
    kind: String,
    name: String,
    statement: Option<String>,
    outcome: String,
    reason: Option<String>,
}

impl Repair {
    /// How many objects are left to a person.
    #[must_use]
    pub fn left(&self) -> usize {
        let is_left = |action: &&Action| ["manual", "failed"].contains(&action.outcome.as_str());
        self.actions.iter().filter(is_left).count()
    }
}

impl From<pb::RepairResponse> for Repair {
    fn from(answer: pb::RepairResponse) -> Self {
        let action = |action: pb::SchemaAction| Action {
            kind: action.kind,
            name: action.name,
            statement: present(action.statement),
            outcome: action.outcome,
            reason: present(action.reason),
        };
        Self {
            actions: answer.actions.into_iter().map(action).collect(),
        }
    }
}

impl Report for Repair {
    fn table(&self) -> String {
        if self.actions.is_empty() {
            return "nothing is missing\n".to_owned();
        }
        let mut out = String::new();
        for action in &self.actions {
            let (kind, name) = (&action.kind, printable(&action.name));
            out.push_str(&format!("{}: {kind} {name}\n", action.outcome));
            if let Some(reason) = &action.reason {
                out.push_str(&format!("  -- {}\n", printable(reason)));
            }
            for line in action.statement.iter().flat_map(|text| text.lines()) {
                out.push_str(&format!("  {}\n", printable(line)));
            }
        }
        out
    }
}
