//! The folder of one test process, with all data of all its servers. It lies in memory where there
//! is enough of it, and otherwise in the system's folder for temporary files: the server user must
//! be able to reach it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use anyhow::Context as _;
use tokio::sync::OnceCell;

const PREFIX: &str = "sharding-tests-";

/// A folder that is removed with its last owner.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    next: AtomicU32,
    /// The PostgreSQL data folder that instances are copied from; made on first use.
    pub(crate) template: OnceCell<PathBuf>,
}

impl Folder {
    /// This process's folder; created when nobody owns it at present.
    ///
    /// # Errors
    /// When it cannot be created.
    pub fn shared() -> anyhow::Result<Arc<Self>> {
        static SHARED: Mutex<Weak<Folder>> = Mutex::new(Weak::new());
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(folder) = shared.upgrade() {
            return Ok(folder);
        }
        remove_abandoned();
        // One that has just lost its last owner may still be on its way out.
        let (process, number) = (std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = parent().join(format!("{PREFIX}{process}-{number}"));
        std::fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
        let folder = Arc::new(Self {
            path,
            next: AtomicU32::new(0),
            template: OnceCell::new(),
        });
        *shared = Arc::downgrade(&folder);
        Ok(folder)
    }

    /// A path in the folder that nobody else has; nothing is created there.
    pub fn fresh(&self, name: &str) -> PathBuf {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{name}-{number}"))
    }

    /// Removes the data of a server that has ended: a run starts hundreds of them, and all their
    /// data at once is more than memory holds.
    pub(crate) fn discard(&self, data: &Path) {
        debug_assert!(data.starts_with(&self.path), "not in the folder");
        if !kept() {
            drop(std::fs::remove_dir_all(data));
        }
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !kept() {
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

/// `KEEP_TEST_FILES=1` leaves logs and data for a look after a failure.
fn kept() -> bool {
    std::env::var_os("KEEP_TEST_FILES").is_some()
}

/// A file system in memory: hundreds of small data folders are written and removed many times as
/// fast there.
const IN_MEMORY: &str = "/dev/shm";

/// What a file system must have left to hold a run's folders.
const WANTED_KIB: u64 = 4 << 20;

fn parent() -> PathBuf {
    let df = Command::new("df")
        .args(["-k", "--output=avail", IN_MEMORY])
        .output();
    let text = df.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let free = text
        .ok()
        .and_then(|text| text.lines().last()?.trim().parse::<u64>().ok());
    if free.is_some_and(|free| free >= WANTED_KIB) {
        PathBuf::from(IN_MEMORY)
    } else {
        std::env::temp_dir()
    }
}

/// Removes the folders of test processes that were killed before they could.
pub fn remove_abandoned() {
    let parents = [PathBuf::from(IN_MEMORY), std::env::temp_dir()];
    let entries = parents.iter().flat_map(std::fs::read_dir).flatten();
    for entry in entries.flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        let owner = owner.and_then(|id| id.split('-').next()?.parse::<u32>().ok());
        let Some(owner) = owner else {
            continue;
        };
        if !Path::new("/proc").join(owner.to_string()).exists() {
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}
