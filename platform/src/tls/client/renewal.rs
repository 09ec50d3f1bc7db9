//! Files that are replaced while a program runs, such as certificates: notices it when it is next
//! looked, without a watch and without a task.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

/// Between two looks at the files.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// What tells one version of a file from another; none while it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

/// Some files and how they were when they were last looked at.
pub(super) struct Renewal {
    paths: Vec<PathBuf>,
    seen: Mutex<Seen>,
}

struct Seen {
    at: Instant,
    stamps: Vec<Stamp>,
}

impl fmt::Debug for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Renewal({:?})", self.paths)
    }
}

impl Renewal {
    /// Of files that are about to be read, so that what is written meanwhile is noticed later.
    pub(super) fn of(paths: Vec<PathBuf>) -> Self {
        let stamps = stamps(&paths);
        let at = Instant::now();
        let seen = Mutex::new(Seen { at, stamps });
        Self { paths, seen }
    }

    /// Whether a file is another one than at the last look. Looks at most once a second, and never
    /// waits for another caller that is at it.
    pub(super) fn is_due(&self) -> bool {
        if self.paths.is_empty() {
            return false;
        }
        let mut seen = match self.seen.try_lock() {
            Ok(seen) => seen,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return false,
        };
        if seen.at.elapsed() < INTERVAL {
            return false;
        }
        seen.at = Instant::now();
        let now = stamps(&self.paths);
        let changed = now != seen.stamps;
        seen.stamps = now;
        changed
    }
}

fn stamps(paths: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        // Of the file that a link leads to: mounted secrets are replaced by moving a link.
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    paths.iter().map(stamp).collect()
}
