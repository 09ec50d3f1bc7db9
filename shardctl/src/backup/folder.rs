//! Where a backup is put together, and what becomes of older ones.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Error;
use super::manifest::MANIFEST;

/// A folder that has its final name only once all of it is there; removed otherwise.
#[derive(Debug)]
pub(super) struct Work {
    partial: PathBuf,
    target: PathBuf,
    is_complete: bool,
}

impl Work {
    /// None when another backup has this name, or is getting it.
    pub(super) fn begin(to: &Path, id: &str) -> Result<Option<Self>, Error> {
        let target = to.join(id);
        if target.exists() {
            return Ok(None);
        }
        let partial = to.join(format!(".{id}.partial"));
        std::fs::create_dir_all(to).map_err(Error::file("create", to))?;
        // It gets all rows, and what passwords are checked by: for nobody else to read.
        match std::fs::DirBuilder::new().mode(0o700).create(&partial) {
            Ok(()) => Ok(Some(Self {
                partial,
                target,
                is_complete: false,
            })),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(Error::file("create", &partial)(error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.partial
    }

    pub(super) fn complete(mut self) -> Result<PathBuf, Error> {
        let renamed = std::fs::rename(&self.partial, &self.target);
        renamed.map_err(Error::file("rename", &self.partial))?;
        self.is_complete = true;
        Ok(self.target.clone())
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if !self.is_complete {
            let _removed = std::fs::remove_dir_all(&self.partial);
        }
    }
}

/// Removes all but the newest backups of a folder; gives those that were removed.
pub(super) fn prune(folder: &Path, keep: Option<u32>) -> Result<Vec<PathBuf>, Error> {
    let Some(keep) = keep.and_then(|keep| usize::try_from(keep).ok()) else {
        return Ok(Vec::new());
    };
    let listed = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    let paths = listed.flatten().map(|entry| entry.path());
    // Only what is surely a backup of ours; the names are times.
    let mut backups: Vec<PathBuf> = paths.filter(|path| path.join(MANIFEST).exists()).collect();
    backups.sort();
    let count = backups.len().saturating_sub(keep);
    backups.truncate(count);
    for old in &backups {
        std::fs::remove_dir_all(old).map_err(Error::file("remove", old))?;
    }
    Ok(backups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_had_by_one_backup() {
        let name = format!("shardctl-begin-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let id = "20260101T000000Z";
        let first = Work::begin(&folder, id).unwrap().unwrap();
        assert!(Work::begin(&folder, id).unwrap().is_none());
        assert_eq!(first.complete().unwrap(), folder.join(id));
        assert!(Work::begin(&folder, id).unwrap().is_none());
        drop(Work::begin(&folder, "20260101T000001Z").unwrap().unwrap());
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn only_older_backups_are_removed() {
        let name = format!("shardctl-prune-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        for name in ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            std::fs::write(folder.join(name).join(MANIFEST), "{}").unwrap();
        }
        std::fs::create_dir_all(folder.join("00-not-a-backup")).unwrap();
        let removed = prune(&folder, Some(2)).unwrap();
        assert_eq!(removed, [folder.join("20260101T000000Z")]);
        assert!(folder.join("00-not-a-backup").exists());
        assert_eq!(prune(&folder, None).unwrap(), Vec::<PathBuf>::new());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
