//! What a backup says of itself: which topology it holds, which shards, and each of its files with
//! its checksum. The manifest's own checksum lies beside it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;
use super::files::{Sum, hex};
use crate::args::backup::Method;

/// The file.
pub(super) const MANIFEST: &str = "manifest.json";

/// Its checksum, as `sha256sum` writes it.
const CHECKSUM: &str = "manifest.json.sha256";

/// The form of backup that this release writes and reads.
pub(super) const FORMAT: u32 = 1;

/// A backup.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form.
    pub format: u32,
    /// The id: when it was begun.
    pub id: String,
    /// The version of shardctl.
    pub version: String,
    /// How the shards were copied.
    #[serde(with = "method")]
    pub method: Method,
    /// RFC 3339, as the other times.
    pub started_at: String,
    /// The moment that it holds.
    pub point_at: String,
    /// When all of it was there.
    pub finished_at: String,
    /// For how long no transaction on several shards could be committed.
    pub fence_ms: f64,
    /// The topology.
    pub epoch: u64,
    /// etcd's revision.
    pub revision: u64,
    /// The shards, by id.
    pub shards: Vec<ShardCopy>,
    /// The files, by path.
    pub files: Vec<Sum>,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardCopy {
    /// Its id.
    pub id: String,
    /// Where it was.
    pub endpoint: String,
    /// PostgreSQL's major version.
    pub major: u32,
    /// Where its log was at the point.
    pub lsn: String,
}

mod method {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    use crate::args::backup::Method;

    pub(super) fn serialize<S: Serializer>(
        method: &Method,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(crate::backup::word(*method))
    }

    pub(super) fn deserialize<'a, D: Deserializer<'a>>(reader: D) -> Result<Method, D::Error> {
        let text = String::deserialize(reader)?;
        let all = [Method::Dump, Method::Basebackup];
        let found = all.into_iter().find(|it| crate::backup::word(*it) == text);
        found.ok_or_else(|| de::Error::custom(format!("method {text:?} is not known")))
    }
}

impl Manifest {
    /// All files together.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self)
            .expect("a manifest holds only texts, numbers and lists, which JSON can write");
        text.push('\n');
        let sum = hex(&Sha256::digest(text.as_bytes()));
        let path = folder.join(MANIFEST);
        std::fs::write(&path, text).map_err(Error::file("write", &path))?;
        let path = folder.join(CHECKSUM);
        std::fs::write(&path, format!("{sum}  {MANIFEST}\n")).map_err(Error::file("write", &path))
    }

    /// Reads the manifest of a backup's folder, if it is what was written.
    pub(super) fn read(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(MANIFEST);
        let damaged = |reason: String| Error::Damaged {
            path: path.clone(),
            reason,
        };
        let text = std::fs::read_to_string(&path).map_err(Error::file("read", &path))?;
        let sum = folder.join(CHECKSUM);
        let sum = std::fs::read_to_string(&sum).map_err(Error::file("read", &sum))?;
        if sum.split_whitespace().next() != Some(&hex(&Sha256::digest(text.as_bytes()))) {
            return Err(damaged("its checksum is another".to_owned()));
        }
        let read: Self = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        if read.format != FORMAT {
            return Err(damaged(format!("format {} is not known", read.format)));
        }
        Ok(read)
    }
}

/// Whether a path is that of a folder's manifest, or of its checksum.
pub(super) fn is_one(path: &Path, folder: &Path) -> bool {
    [MANIFEST, CHECKSUM]
        .iter()
        .any(|name| path == folder.join(name))
}
