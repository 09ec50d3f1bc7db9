//! The audit log's copy on disk: the stored bytes of each entry, one a line, so that the digest of
//! a line is that of the entry. The store's entries are the authority: a line that cannot be written
//! is reported in the log and lost to the file only.
//!
//! The file is opened anew for each line, so that whoever moves it away needs to tell nobody.

use std::io;
use std::path::{Path, PathBuf};

use tokio::fs::{self, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Mutex;

use super::Entry;

/// When a file is put aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotation {
    /// Before it would become longer; 0 leaves that to others.
    pub max_bytes: u64,
    /// How many files are kept beside it, `.1` the newest.
    pub keep: u32,
}

/// Appends entries to a file.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    rotation: Rotation,
    /// Held while a line is written, so that lines do not mix.
    writing: Mutex<()>,
}

impl File {
    /// The file at a path, which is created when it is missing.
    #[must_use]
    pub fn new(path: PathBuf, rotation: Rotation) -> Self {
        let writing = Mutex::new(());
        Self {
            path,
            rotation,
            writing,
        }
    }

    /// Says in the log whether the file can be written, before an entry depends on it.
    pub async fn check(&self) {
        if let Err(error) = self.append_bytes(b"").await {
            self.warn(&error);
        }
    }

    /// Appends an entry.
    pub async fn append(&self, entry: &Entry) {
        let mut line = entry.stored();
        line.push(b'\n');
        if let Err(error) = self.append_bytes(&line).await {
            self.warn(&error);
        }
    }

    async fn append_bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let _writing = self.writing.lock().await;
        if self.is_full(bytes.len()).await {
            self.put_aside().await?;
        }
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

    async fn is_full(&self, more: usize) -> bool {
        let Ok(file) = fs::metadata(&self.path).await else {
            return false;
        };
        let len = file
            .len()
            .saturating_add(u64::try_from(more).unwrap_or(u64::MAX));
        self.rotation.max_bytes > 0 && file.len() > 0 && len > self.rotation.max_bytes
    }

    /// Renames the file, and those that were put aside before, the oldest of which is replaced.
    async fn put_aside(&self) -> io::Result<()> {
        if self.rotation.keep == 0 {
            return fs::remove_file(&self.path).await;
        }
        for number in (1..self.rotation.keep).rev() {
            let (from, to) = (aside(&self.path, number), aside(&self.path, number + 1));
            match fs::rename(&from, &to).await {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.path, aside(&self.path, 1)).await
    }

    fn warn(&self, error: &io::Error) {
        let path = self.path.display();
        tracing::warn!(%error, %path, "audit file not written");
    }
}

fn aside(path: &Path, number: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_file_is_put_aside_and_the_oldest_one_is_forgotten() {
        let folder = std::env::temp_dir().join(format!("audit-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).await.unwrap();
        let path = folder.join("audit.log");
        let rotation = Rotation {
            max_bytes: 10,
            keep: 2,
        };
        let file = File::new(path.clone(), rotation);
        for line in ["one--\n", "two\n", "three\n", "four\n", "five\n", "six\n"] {
            file.append_bytes(line.as_bytes()).await.unwrap();
        }
        let read = async |path: PathBuf| fs::read_to_string(path).await.unwrap();
        assert_eq!(read(path.clone()).await, "six\n");
        assert_eq!(read(aside(&path, 1)).await, "four\nfive\n");
        assert_eq!(read(aside(&path, 2)).await, "three\n");
        assert!(fs::metadata(aside(&path, 3)).await.is_err());
        fs::remove_dir_all(&folder).await.unwrap();
    }
}
