//! Pure: whether entries are those that were written, in the order in which they were.
//!
//! Each entry holds the digest of the stored bytes of the one before it, and the head that of the
//! newest one, so that who changes, removes or moves an entry has to write all later ones anew.
//! Entries from before the chain hold none; none of them may come after one that does.

use serde_json::json;
use topology::keys;
use topology::records::{AuditAnchor, AuditHead, Digest, decode};

use super::Entry;

/// What is done when the log is cut off, as entries say it.
pub const CUT: &str = "cut_audit";

/// Most faults that are told; a log with more of them needs no list.
const MAX_FAULTS: usize = 100;

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Entries that must be there are not.
    #[error("entries {first} to {last} are missing")]
    Missing {
        /// The first of them.
        first: u64,
        /// The last of them.
        last: u64,
    },
    /// An entry lies where another one was written.
    #[error("in the place of entry {sequence} lies entry {holds}")]
    Misplaced {
        /// The place.
        sequence: u64,
        /// What lies there.
        holds: u64,
    },
    /// An entry has another digest than what follows it says.
    #[error(
        "entry {sequence} is not what was written, or {holder}, which holds its digest, is not"
    )]
    Changed {
        /// The entry.
        sequence: u64,
        /// What holds its digest.
        holder: String,
    },
    /// An entry without a digest, behind others with one.
    #[error("entry {sequence} holds no digest of the one before it")]
    Unchained {
        /// The entry.
        sequence: u64,
    },
    /// An entry that is none.
    #[error("entry {sequence} is not readable")]
    Unreadable {
        /// The entry.
        sequence: u64,
    },
    /// An entry that no write has added.
    #[error("entry {sequence} lies beyond the newest one that was written")]
    Beyond {
        /// The entry.
        sequence: u64,
    },
    /// An entry that was cut off, and is there.
    #[error("entry {sequence} was cut off and lies there again")]
    Returned {
        /// The entry.
        sequence: u64,
    },
    /// The record of where the log was cut off is not what the log itself says of it.
    #[error("the log begins after entry {sequence}, which no entry says")]
    Anchor {
        /// Where the record says that it was.
        sequence: u64,
    },
}

impl Fault {
    /// The entry that it is about.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match self {
            Self::Missing { first, .. } => *first,
            Self::Misplaced { sequence, .. }
            | Self::Changed { sequence, .. }
            | Self::Unchained { sequence }
            | Self::Unreadable { sequence }
            | Self::Beyond { sequence }
            | Self::Returned { sequence }
            | Self::Anchor { sequence } => *sequence,
        }
    }

    /// Its word.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "missing",
            Self::Misplaced { .. } => "misplaced",
            Self::Changed { .. } => "changed",
            Self::Unchained { .. } => "unchained",
            Self::Unreadable { .. } => "unreadable",
            Self::Beyond { .. } => "beyond",
            Self::Returned { .. } => "returned",
            Self::Anchor { .. } => "anchor",
        }
    }
}

/// What came of looking at a whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Entries that were looked at.
    pub entries: u64,
    /// Those of them that are in the chain.
    pub chained: u64,
    /// The number of the newest entry, and its digest as the head has it.
    pub head: AuditHead,
    /// Up to where the log was cut off.
    pub anchor: Option<AuditAnchor>,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

/// Takes entries in the order of their keys.
#[derive(Debug)]
pub struct Checker {
    anchor: Option<AuditAnchor>,
    expected: u64,
    /// The digest of the entry before, where that was there.
    before: Option<Digest>,
    is_chained: bool,
    entries: u64,
    chained: u64,
    /// What the newest entry about a cut says of it.
    cut: Option<serde_json::Value>,
    faults: Vec<Fault>,
}

impl Checker {
    /// For the entries that follow an anchor, or for all.
    #[must_use]
    pub fn new(anchor: Option<AuditAnchor>) -> Self {
        Self {
            expected: anchor.map_or(1, |anchor| anchor.sequence + 1),
            before: Some(anchor.map_or(Digest::NONE, |anchor| anchor.hash)),
            is_chained: anchor.is_some_and(|anchor| anchor.chained),
            anchor,
            entries: 0,
            chained: 0,
            cut: None,
            faults: Vec::new(),
        }
    }

    /// Looks at what is stored as entry `sequence`.
    pub fn entry(&mut self, sequence: u64, stored: &[u8]) {
        if sequence < self.expected {
            return self.fault(Fault::Returned { sequence });
        }
        if sequence > self.expected {
            self.missing(sequence - 1);
        }
        self.entries += 1;
        self.expected = sequence + 1;
        let before = self.before.replace(Digest::of(stored));
        let Ok(entry) = decode::<Entry>(&keys::audit(sequence), stored) else {
            return self.fault(Fault::Unreadable { sequence });
        };
        if entry.sequence != sequence {
            // Neither it nor the one after it can be held against its neighbour.
            self.before = None;
            let holds = entry.sequence;
            return self.fault(Fault::Misplaced { sequence, holds });
        }
        match entry.previous {
            None if self.is_chained => self.fault(Fault::Unchained { sequence }),
            None => {}
            Some(previous) => {
                self.is_chained = true;
                self.chained += 1;
                if before.is_some_and(|before| before != previous) {
                    let holder = format!("entry {sequence}");
                    let sequence = sequence - 1;
                    self.fault(Fault::Changed { sequence, holder });
                }
            }
        }
        if entry.action == CUT {
            self.cut = Some(entry.detail);
        }
    }

    /// Whether the last entry that was looked at is in the chain.
    #[must_use]
    pub fn is_chained(&self) -> bool {
        self.is_chained
    }

    /// The first fault so far.
    #[must_use]
    pub fn first_fault(&self) -> Option<&Fault> {
        self.faults.first()
    }

    /// Compares the end of the log with its head.
    #[must_use]
    pub fn finish(mut self, head: AuditHead) -> Findings {
        if self.expected <= head.sequence {
            self.missing(head.sequence);
        } else if self
            .before
            .is_some_and(|newest| self.is_chained && head.hash != Some(newest))
        {
            let (sequence, holder) = (head.sequence, "the head".to_owned());
            self.fault(Fault::Changed { sequence, holder });
        }
        if let Some(anchor) = self.anchor
            && self.cut != Some(cut_detail(&anchor))
        {
            let sequence = anchor.sequence;
            self.fault(Fault::Anchor { sequence });
        }
        Findings {
            entries: self.entries,
            chained: self.chained,
            head,
            anchor: self.anchor,
            faults: self.faults,
        }
    }

    fn missing(&mut self, last: u64) {
        let first = self.expected;
        self.before = None;
        self.fault(Fault::Missing { first, last });
    }

    fn fault(&mut self, fault: Fault) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }
}

/// What the entry about a cut says, so that the anchor can be held against it.
#[must_use]
pub fn cut_detail(anchor: &AuditAnchor) -> serde_json::Value {
    json!({ "through": anchor.sequence, "sha256": anchor.hash, "chained": anchor.chained })
}
