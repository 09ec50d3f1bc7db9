//! What writers were told, and whether the shards agree: what was acknowledged must be there
//! exactly once, what was not answered may be there once, and nothing else may be there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::time::Duration;

use anyhow::Context as _;
use tests::Cluster;
use tests::cluster::owner;
use tokio::time::Instant;
use topology::{Key, KeyType, Snapshot};

use super::load::KEYS;

/// The tables with events, each row of which is one, and the types of their keys.
const EVENTS: [(&str, KeyType); 3] = [
    ("events", KeyType::Bigint),
    ("notes", KeyType::Text),
    ("things", KeyType::Uuid),
];

/// What the writers found out.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Events that were acknowledged.
    acked: BTreeSet<i64>,
    /// Events of which nobody said what became of them.
    unknown: BTreeSet<i64>,
    /// Increments by key: acknowledged, and not answered.
    counts: HashMap<i64, (i64, i64)>,
    /// Errors by SQLSTATE; none of the answered ones has had an effect.
    pub(crate) errors: BTreeMap<String, u64>,
    /// When each acknowledged statement began, and how long it took.
    pub(crate) latencies: Vec<(Instant, Duration, i64)>,
}

impl Ledger {
    pub(super) fn merge(&mut self, other: Self) {
        self.acked.extend(other.acked);
        self.unknown.extend(other.unknown);
        for (key, (acked, unknown)) in other.counts {
            let sum = self.counts.entry(key).or_default();
            sum.0 += acked;
            sum.1 += unknown;
        }
        for (code, count) in other.errors {
            *self.errors.entry(code).or_default() += count;
        }
        self.latencies.extend(other.latencies);
    }

    /// Acknowledged writes.
    pub(crate) fn writes(&self) -> usize {
        self.acked.len()
    }

    /// The longest that a writer waited for an acknowledgement.
    pub(crate) fn longest(&self) -> Duration {
        let longest = self.latencies.iter().map(|(_, took, _)| *took).max();
        longest.unwrap_or_default()
    }

    /// As [`Self::longest`], without the writers of one key.
    pub(crate) fn longest_but_of(&self, key: i64) -> Duration {
        let others = self.latencies.iter().filter(|(_, _, of)| *of != key);
        others.map(|(_, took, _)| *took).max().unwrap_or_default()
    }

    /// Events that somebody else has written.
    pub(crate) fn acknowledge(&mut self, events: impl IntoIterator<Item = i64>) {
        self.acked.extend(events);
    }

    /// Errors other than those that say: nothing was written, try again.
    pub(crate) fn other_errors(&self) -> Vec<(&String, &u64)> {
        let errors = self.errors.iter();
        errors
            .filter(|(code, _)| code.as_str() != "40001")
            .collect()
    }

    /// An answer: what it says of an event, if the statement was to write one, and of the counter
    /// of a key, if it was to count.
    pub(super) fn note(&mut self, effect: &Effect, answer: &Answer) {
        let count = effect.count.map(|key| self.counts.entry(key).or_default());
        match answer {
            Answer::Done => {
                self.acked.extend(effect.events.clone());
                if let Some(erased) = effect.erased {
                    self.acked.remove(&erased);
                }
                count.into_iter().for_each(|count| count.0 += 1);
            }
            Answer::Unknown => {
                if let Some(erased) = effect.erased {
                    self.acked.remove(&erased);
                }
                self.unknown.extend(effect.events.clone());
                self.unknown.extend(effect.erased);
                count.into_iter().for_each(|count| count.1 += 1);
            }
            Answer::Refused => {}
        }
    }

    /// Holds the ledger against the shards: all of them are read directly.
    pub(crate) async fn check(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let found = Found::read(cluster).await?;
        let seen = &found.events;
        let lost: Vec<_> = self
            .acked
            .iter()
            .filter(|id| !seen.contains_key(id))
            .collect();
        anyhow::ensure!(
            lost.is_empty(),
            "{} acknowledged events lost: {lost:?}\n{}",
            lost.len(),
            whereabouts(cluster, &lost).await?
        );
        let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
        anyhow::ensure!(twice.is_empty(), "events more than once: {twice:?}");
        let known = |id: &&i64| !self.acked.contains(id) && !self.unknown.contains(id);
        let phantoms: Vec<_> = seen.keys().filter(known).collect();
        anyhow::ensure!(
            phantoms.is_empty(),
            "events that nobody wrote: {phantoms:?}"
        );
        for key in 1..=KEYS {
            let value = found
                .counts
                .get(&key)
                .with_context(|| format!("counter {key} is gone"))?;
            let (acked, unknown) = self.counts.get(&key).copied().unwrap_or_default();
            anyhow::ensure!(
                (acked..=acked + unknown).contains(value),
                "counter {key} is {value}, of {acked} increments acknowledged and {unknown} unknown"
            );
        }
        Ok(())
    }
}

/// What a statement is to do.
#[derive(Debug, Clone, Default)]
pub(super) struct Effect {
    /// The events that it inserts, all or none.
    pub(super) events: Range<i64>,
    /// An event that it deletes.
    pub(super) erased: Option<i64>,
    /// A key whose counter it increments.
    pub(super) count: Option<i64>,
}

impl Effect {
    /// Of a statement that inserts, and counts.
    pub(super) fn of(events: Range<i64>, count: Option<i64>) -> Self {
        Self {
            events,
            count,
            erased: None,
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Done,
    /// Nothing was written.
    Refused,
    /// Nobody said.
    Unknown,
}

/// What the shards have of the keys that they own.
#[derive(Debug, Default)]
struct Found {
    events: BTreeMap<i64, u32>,
    counts: HashMap<i64, i64>,
}

impl Found {
    async fn read(cluster: &Cluster) -> anyhow::Result<Self> {
        let snapshot = cluster.snapshot().await?;
        let mut found = Self::default();
        let servers = cluster.shards.iter().chain(&cluster.spares);
        for (number, server) in (1..).zip(servers) {
            let id = format!("shard-{number}");
            let exists = server
                .psql("SELECT to_regclass('events') IS NOT NULL")
                .await?;
            if exists.trim() != "t" {
                continue;
            }
            for (table, key_type) in EVENTS {
                let rows = server.psql(&format!("SELECT k, id FROM {table}")).await?;
                for line in rows.lines() {
                    let (key, event) = line.split_once('|').context("two columns")?;
                    if is_owned(&snapshot, &id, (key_type, key))? {
                        *found.events.entry(event.parse()?).or_default() += 1;
                    }
                }
            }
            for line in server.psql("SELECT k, v FROM counters").await?.lines() {
                let (key, value) = line.split_once('|').context("two columns")?;
                if is_owned(&snapshot, &id, (KeyType::Bigint, key))? {
                    let before = found.counts.insert(key.parse()?, value.parse()?);
                    anyhow::ensure!(before.is_none(), "counter {key} twice");
                }
            }
        }
        Ok(found)
    }
}

/// What there is of events that are missing: rows on servers that do not own them, and what is
/// prepared and waits.
async fn whereabouts(cluster: &Cluster, events: &[&i64]) -> anyhow::Result<String> {
    let ids: Vec<String> = events.iter().map(ToString::to_string).collect();
    let ids = ids.join(", ");
    let mut found = String::new();
    for (number, server) in (1..).zip(cluster.shards.iter().chain(&cluster.spares)) {
        let mut questions = vec![
            "SELECT 'prepared', gid, prepared FROM pg_prepared_xacts".to_owned(),
            "SELECT 'now', now()".to_owned(),
        ];
        questions.extend(EVENTS.iter().map(|(table, _)| {
            format!("SELECT '{table}', k, id, pad, xmin FROM {table} WHERE id IN ({ids})")
        }));
        for question in questions {
            let rows = server.psql(&question).await?;
            found.extend(rows.lines().map(|row| format!("shard-{number}: {row}\n")));
        }
    }
    Ok(found)
}

/// Whether a key, as text, is a shard's.
pub(super) fn is_owned(
    snapshot: &Snapshot,
    shard: &str,
    (key_type, key): (KeyType, &str),
) -> anyhow::Result<bool> {
    let key = Key::from_text(key_type, key.as_bytes())?;
    Ok(owner(snapshot, &key).is_some_and(|owner| owner == shard))
}
