//! A backup that was taken, checked or restored.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Report, amount};
use crate::backup;
use crate::grid::printable;

/// A backup that was taken or checked.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    id: String,
    folder: String,
    method: &'static str,
    point_at: String,
    fence_ms: f64,
    epoch: u64,
    shards: Vec<String>,
    files: usize,
    bytes: u64,
    /// Older backups that were removed.
    removed: Vec<String>,
    verified: bool,
}

impl Backup {
    fn new(folder: String, manifest: &backup::Manifest) -> Self {
        Self {
            id: manifest.id.clone(),
            folder,
            method: backup::word(manifest.method),
            point_at: manifest.point_at.clone(),
            fence_ms: manifest.fence_ms,
            epoch: manifest.epoch,
            shards: manifest
                .shards
                .iter()
                .map(|shard| shard.id.clone())
                .collect(),
            files: manifest.files.len(),
            bytes: manifest.bytes(),
            removed: Vec::new(),
            verified: false,
        }
    }

    /// One that was taken.
    #[must_use]
    pub fn created(created: &backup::Created) -> Self {
        let folder = created.folder.display().to_string();
        let removed = created.removed.iter().map(|it| it.display().to_string());
        Self {
            removed: removed.collect(),
            ..Self::new(folder, &created.manifest)
        }
    }

    /// One that was checked.
    #[must_use]
    pub fn verified(folder: String, verified: &backup::Verified) -> Self {
        Self {
            verified: true,
            ..Self::new(folder, &verified.manifest)
        }
    }
}

impl Report for Backup {
    fn table(&self) -> String {
        let done = if self.verified { "is whole" } else { "taken" };
        let mut text = format!(
            "backup {} {done}: {} shards by {}, {} files, {}\n\
             point {}, epoch {}; commits over several shards waited {:.1} ms\n\
             folder {}\n",
            self.id,
            self.shards.len(),
            self.method,
            self.files,
            amount::bytes(self.bytes),
            self.point_at,
            self.epoch,
            self.fence_ms,
            printable(&self.folder),
        );
        for removed in &self.removed {
            text.push_str(&format!("removed {}\n", printable(removed)));
        }
        text
    }
}

/// A backup that was put back.
#[derive(Debug, Clone, Serialize)]
pub struct Restored {
    id: String,
    point_at: String,
    /// Each shard, and where it is now.
    shards: BTreeMap<String, String>,
    epoch: Option<u64>,
}

impl From<backup::Restored> for Restored {
    fn from(restored: backup::Restored) -> Self {
        Self {
            id: restored.manifest.id,
            point_at: restored.manifest.point_at,
            shards: restored.shards,
            epoch: restored.epoch,
        }
    }
}

impl Report for Restored {
    fn table(&self) -> String {
        let mut text = String::new();
        for (shard, place) in &self.shards {
            text.push_str(&format!("{shard}  {}\n", printable(place)));
        }
        match self.epoch {
            Some(epoch) => text.push_str(&format!(
                "backup {} of {} restored at epoch {epoch}: start managers and routers\n",
                self.id, self.point_at
            )),
            None => text.push_str(
                "data folders made: start the servers, then run restore again without --pgdata\n",
            ),
        }
        text
    }
}
