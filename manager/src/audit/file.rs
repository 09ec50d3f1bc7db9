//! The audit log's copy on disk, one JSON object a line. The store's entries are the authority: a
//! line that cannot be written is reported in the log and lost to the file only.

use std::io;
use std::path::PathBuf;

use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use super::Entry;

/// Appends entries to a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// Held while a line is written, so that lines do not mix.
    writing: Mutex<()>,
}

impl File {
    /// The file at a path, which is created when it is missing.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        let writing = Mutex::new(());
        Self { path, writing }
    }

    /// Says in the log whether the file can be written, before an entry depends on it.
    pub async fn check(&self) {
        if let Err(error) = self.append_bytes(b"").await {
            self.warn(&error);
        }
    }

    /// Appends an entry.
    pub async fn append(&self, entry: &Entry) {
        let mut line = match serde_json::to_vec(entry) {
            Ok(line) => line,
            Err(error) => return self.warn(&error.into()),
        };
        line.push(b'\n');
        if let Err(error) = self.append_bytes(&line).await {
            self.warn(&error);
        }
    }

    /// Opens the file anew each time, since it may be rotated, and control writes are rare.
    async fn append_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        let mut options = OpenOptions::new();
        let mut file = options
            .create(true)
            .append(true)
            .mode(0o640)
            .open(&self.path)
            .await?;
        file.write_all(bytes).await?;
        file.flush().await
    }

    fn warn(&self, error: &io::Error) {
        let path = self.path.display();
        tracing::warn!(%error, %path, "audit file not written");
    }
}
