//! What etcd holds, as a backup keeps it.

use std::path::Path;
use std::time::Duration;

use platform::Secret;
use platform::tls::client::http2::Connector;
use platform::tls::client::{ClientConfig, Mode};
use serde_json::Value;
use topology::store::etcd::Credentials;
use topology::store::{Entry, EtcdStore, Revision, Store as _, etcd};
use topology::watch::load;
use topology::{Epoch, Shard, Snapshot, keys};

use super::Error;
use crate::args::backup::Place;

/// etcd's own snapshot, for `etcdutl snapshot restore`.
pub(super) const SNAPSHOT: &str = "etcd/snapshot.db";

/// Our keys, one line of JSON each, for `shardctl restore`.
pub(super) const RECORDS: &str = "etcd/records.jsonl";

/// Keys that belong to programs that run, or are of no use later: under a lease, most of them.
const OF_THE_MOMENT: [&str; 6] = [
    keys::LEADER,
    keys::ROUTERS,
    keys::HOLDS,
    keys::IDEMPOTENCY,
    keys::PLANS,
    keys::PROGRESS,
];

/// How long a call may take.
const TIMEOUT: Duration = Duration::from_secs(10);

/// etcd.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) store: EtcdStore,
}

/// What it held at a revision.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) entries: Vec<Entry>,
    pub(super) snapshot: Snapshot,
    pub(super) epoch: Epoch,
    pub(super) revision: Revision,
}

impl Seen {
    /// The shards and where they are.
    pub(super) fn shards(&self) -> &[Shard] {
        self.snapshot.shards()
    }
}

impl Stored {
    pub(super) fn connect(place: &Place) -> Result<Self, Error> {
        if place.etcd.is_empty() {
            return Err(Error::NoEtcd);
        }
        let files = place.etcd_ca.as_ref().map(|ca| ClientConfig {
            mode: Mode::VerifyFull,
            root_cert_path: Some(ca.clone()),
            identity: place.identity(),
        });
        let tls = files.as_ref().map(Connector::load).transpose()?;
        let variable = |name| std::env::var(name).ok().filter(|it| !it.is_empty());
        let who = variable("ETCD_USERNAME").zip(variable("ETCD_PASSWORD"));
        let store = EtcdStore::connect(etcd::Config {
            endpoints: place.etcd.clone(),
            timeout: TIMEOUT,
            credentials: who.map(|(user, password)| Credentials {
                user,
                password: Secret::new(password),
            }),
            tls: tls.flatten(),
        })?;
        Ok(Self { store })
    }

    /// All of our keys, provided that no job has rows on two shards.
    pub(super) async fn settled(&self) -> Result<Seen, Error> {
        let loaded = load(&self.store).await;
        let loaded = loaded.map_err(|error| Error::Topology {
            reason: error.to_string(),
        })?;
        let snapshot = loaded.snapshot().map_err(|error| Error::Topology {
            reason: error.to_string(),
        })?;
        let listing = self.store.list(keys::ALL).await;
        let listing = listing.map_err(Error::store("read etcd"))?;
        if let Some((id, state)) = unsettled(&listing.entries) {
            return Err(Error::Job { id, state });
        }
        if snapshot.shards().is_empty() {
            return Err(Error::NoShards);
        }
        let mut entries = listing.entries;
        entries.retain(|entry| !OF_THE_MOMENT.iter().any(|it| entry.key.starts_with(it)));
        Ok(Seen {
            entries,
            epoch: loaded.epoch(),
            snapshot,
            revision: listing.revision,
        })
    }

    /// Writes both forms of what is stored.
    pub(super) async fn save(&self, seen: &Seen, folder: &Path) -> Result<(), Error> {
        let path = folder.join(SNAPSHOT);
        let parent = folder.join("etcd");
        std::fs::create_dir_all(&parent).map_err(Error::file("create", &parent))?;
        let file = tokio::fs::File::create(&path).await;
        let mut file = file.map_err(Error::file("write", &path))?;
        let saved = self.store.save(&mut file).await;
        saved.map_err(Error::store("take a snapshot of etcd"))?;
        file.sync_all().await.map_err(Error::file("write", &path))?;
        let mut text = String::new();
        for entry in &seen.entries {
            // Every value of ours is JSON; one that is not text is not ours.
            let value = String::from_utf8_lossy(&entry.value);
            let line = serde_json::json!({ "key": entry.key, "value": value });
            text.push_str(&line.to_string());
            text.push('\n');
        }
        let path = folder.join(RECORDS);
        std::fs::write(&path, text).map_err(Error::file("write", &path))
    }
}

/// The first job that is not over: all its legs are done, or it failed before they began.
fn unsettled(entries: &[Entry]) -> Option<(String, String)> {
    let jobs = entries.iter().filter_map(|entry| {
        let id = entry.key.strip_prefix(keys::JOBS)?;
        Some((id, json(entry)))
    });
    for (id, job) in jobs {
        let outcome = job.get("outcome").and_then(Value::as_str);
        let prefix = keys::legs(id);
        let legs = entries.iter().filter(|leg| leg.key.starts_with(&prefix));
        let is_over = outcome.is_some()
            && legs.map(json).all(|leg| {
                let phase = leg.pointer("/phase/phase").or(leg.get("phase"));
                let phase = phase.and_then(Value::as_str).unwrap_or_default();
                phase == "done" || (phase == "planned" && outcome == Some("failed"))
            });
        if !is_over {
            let state = outcome.unwrap_or("running").to_owned();
            return Some((id.to_owned(), state));
        }
    }
    None
}

fn json(entry: &Entry) -> Value {
    serde_json::from_slice(&entry.value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(key: String, value: &Value) -> Entry {
        Entry {
            key,
            value: value.to_string().into_bytes().into(),
            create_revision: Revision(1),
            mod_revision: Revision(1),
        }
    }

    fn job(outcome: &Value, phases: &[&str]) -> Vec<Entry> {
        let mut entries = vec![entry(
            keys::job("a"),
            &serde_json::json!({"v": 1, "outcome": outcome}),
        )];
        for (number, phase) in (0..).zip(phases) {
            let leg = serde_json::json!({"v": 1, "phase": {"phase": phase, "owner": "to"}});
            entries.push(entry(keys::leg("a", number), &leg));
        }
        entries
    }

    #[test]
    fn a_job_is_over_once_nothing_of_it_is_left_on_a_shard() {
        let over = [
            job(&"completed".into(), &["done", "done"]),
            job(&"failed".into(), &["done", "planned"]),
            Vec::new(),
        ];
        for entries in over {
            assert_eq!(unsettled(&entries), None, "{entries:?}");
        }
        let not = [
            job(&Value::Null, &["copying"]),
            job(&Value::Null, &["done"]),
            job(&"completed".into(), &["following"]),
            job(&"cancelled".into(), &["planned"]),
        ];
        for entries in not {
            assert!(unsettled(&entries).is_some(), "{entries:?}");
        }
    }
}
