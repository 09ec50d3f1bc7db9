//! Entries of the audit log, and what is wrong with it.

use proto::manager::v1 as pb;
use serde::Serialize;
use serde_json::Value;

use super::Report;
use crate::grid::{Grid, printable};

/// A page of entries.
#[derive(Debug, Clone, Serialize)]
pub struct Entries {
    entries: Vec<Entry>,
    next: Option<u64>,
}

#[derive(Debug, Clone, Serialize)]
struct Entry {
    sequence: u64,
    epoch: u64,
    term: u64,
    at: String,
    actor: String,
    request_id: Option<String>,
    from: Option<String>,
    action: String,
    target: String,
    result: String,
    detail: Value,
    changes: Vec<Change>,
    previous: Option<String>,
    hash: String,
}

#[derive(Debug, Clone, Serialize)]
struct Change {
    key: String,
    before: Value,
    after: Value,
}

/// What came of checking the log.
#[derive(Debug, Clone, Serialize)]
pub struct Findings {
    is_intact: bool,
    entries: u64,
    chained: u64,
    head: Head,
    cut_through: Option<u64>,
    faults: Vec<Fault>,
}

#[derive(Debug, Clone, Serialize)]
struct Head {
    sequence: u64,
    hash: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
struct Fault {
    sequence: u64,
    kind: String,
    message: String,
}

impl Findings {
    /// How many faults there are.
    #[must_use]
    pub fn faults(&self) -> usize {
        self.faults.len()
    }
}

/// What there is to be said of an entry in a few words: why it was refused, how often it happened,
/// at which router.
fn note(detail: &Value) -> String {
    let mut words = Vec::new();
    if let Some(reason) = detail["reason"].as_str() {
        words.push(reason.to_owned());
    }
    if let Some(count) = detail["count"].as_u64().filter(|count| *count > 1) {
        words.push(format!("{count} times"));
    }
    if let Some(router) = detail["router"].as_str() {
        words.push(format!("at {router}"));
    }
    words.join(", ")
}

/// What is no JSON is shown as the text that it is.
fn json(text: String) -> Value {
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

impl From<pb::ListEntriesResponse> for Entries {
    fn from(answer: pb::ListEntriesResponse) -> Self {
        let change = |change: pb::AuditChange| Change {
            key: change.key,
            before: json(change.before),
            after: json(change.after),
        };
        let entry = |entry: pb::AuditEntry| Entry {
            sequence: entry.sequence,
            epoch: entry.epoch,
            term: entry.term,
            at: entry.at,
            actor: entry.actor,
            request_id: entry.request_id,
            from: entry.from,
            action: entry.action,
            target: entry.target,
            result: entry.result,
            detail: json(entry.detail),
            changes: entry.changes.into_iter().map(change).collect(),
            previous: entry.previous,
            hash: entry.hash,
        };
        Self {
            entries: answer.entries.into_iter().map(entry).collect(),
            next: answer.next,
        }
    }
}

impl From<pb::VerifyResponse> for Findings {
    fn from(answer: pb::VerifyResponse) -> Self {
        let fault = |fault: pb::AuditFault| Fault {
            sequence: fault.sequence,
            kind: fault.kind,
            message: fault.message,
        };
        Self {
            is_intact: answer.faults.is_empty(),
            entries: answer.entries,
            chained: answer.chained,
            head: Head {
                sequence: answer.head_sequence,
                hash: answer.head_hash,
            },
            cut_through: answer.cut_through,
            faults: answer.faults.into_iter().map(fault).collect(),
        }
    }
}

impl Report for Entries {
    fn table(&self) -> String {
        let columns = [
            "NUMBER", "AT", "ACTOR", "FROM", "ACTION", "TARGET", "RESULT", "NOTE",
        ];
        let mut grid = Grid::new(&columns);
        for entry in &self.entries {
            grid.row([
                entry.sequence.to_string(),
                entry.at.clone(),
                entry.actor.clone(),
                entry.from.clone().unwrap_or_default(),
                entry.action.clone(),
                entry.target.clone(),
                entry.result.clone(),
                note(&entry.detail),
            ]);
        }
        let mut text = grid.render();
        if let Some(next) = self.next {
            text.push_str(&format!("older ones: --before {next}\n"));
        }
        text
    }
}

impl Report for Findings {
    fn table(&self) -> String {
        let Self {
            entries, chained, ..
        } = self;
        let mut text = format!("{entries} entries, {chained} of them in the chain\n");
        if let Some(cut) = self.cut_through {
            text.push_str(&format!("cut off by retention: up to entry {cut}\n"));
        }
        let Head { sequence, hash } = &self.head;
        let hash = hash.as_deref().unwrap_or("none");
        text.push_str(&format!("newest: entry {sequence}, sha256 {hash}\n"));
        for fault in &self.faults {
            text.push_str(&format!("{}: {}\n", fault.kind, printable(&fault.message)));
        }
        if self.is_intact {
            text.push_str("the log is what was written\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Output;
    use crate::report::render;

    #[test]
    fn a_broken_log_is_told_fault_by_fault() {
        let fault = pb::AuditFault {
            sequence: 3,
            kind: "missing".to_owned(),
            message: "entries 3 to 4 are missing".to_owned(),
        };
        let answer = pb::VerifyResponse {
            entries: 8,
            chained: 8,
            head_sequence: 10,
            head_hash: Some("ab".to_owned()),
            cut_through: None,
            faults: vec![fault],
        };
        let findings = Findings::from(answer);
        assert_eq!(findings.faults(), 1);
        let table = render(&findings, Output::Table);
        assert!(
            table.contains("missing: entries 3 to 4 are missing\n"),
            "{table}"
        );
        assert!(!table.contains("is what was written"), "{table}");
        let json: Value = serde_json::from_str(&render(&findings, Output::Json)).unwrap();
        assert_eq!(json["is_intact"], false);
        assert_eq!(json["head"]["sequence"], 10);
    }

    #[test]
    fn what_routers_refuse_is_told_with_how_often_and_where() {
        let detail = r#"{"reason":"wrong password","count":7,"router":"router-a:6432"}"#;
        let entry = pb::AuditEntry {
            action: "pg_login".to_owned(),
            detail: detail.to_owned(),
            ..pb::AuditEntry::default()
        };
        let (entries, next) = (vec![entry], None);
        let entries = Entries::from(pb::ListEntriesResponse { entries, next });
        let table = render(&entries, Output::Table);
        let note = "wrong password, 7 times, at router-a:6432\n";
        assert!(table.ends_with(note), "{table}");
    }

    #[test]
    fn an_entry_is_listed_with_what_changed() {
        let change = pb::AuditChange {
            key: "k".to_owned(),
            before: "null".to_owned(),
            after: r#"{"name":"a"}"#.to_owned(),
        };
        let entry = pb::AuditEntry {
            sequence: 7,
            action: "create_shard".to_owned(),
            detail: "{}".to_owned(),
            changes: vec![change],
            ..pb::AuditEntry::default()
        };
        let (entries, next) = (vec![entry], Some(7));
        let entries = Entries::from(pb::ListEntriesResponse { entries, next });
        let table = render(&entries, Output::Table);
        assert!(
            table.contains("create_shard") && table.ends_with("--before 7\n"),
            "{table}"
        );
        let json: Value = serde_json::from_str(&render(&entries, Output::Json)).unwrap();
        assert_eq!(json["entries"][0]["changes"][0]["after"]["name"], "a");
    }
}
