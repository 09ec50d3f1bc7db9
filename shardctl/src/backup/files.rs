//! The files of a backup and their checksums.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::Error;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Its path in the backup.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// Its SHA-256, in hexadecimal digits.
    pub sha256: String,
}

/// The checksums of all files of a folder, sorted by path; a manifest that is there is left out.
pub(super) async fn sums(folder: &Path) -> Result<Vec<Sum>, Error> {
    let folder = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || {
        let mut paths = Vec::new();
        list(&folder, &mut paths)?;
        paths.sort();
        let ours = paths
            .iter()
            .filter(|path| !super::manifest::is_one(path, &folder));
        ours.map(|path| sum(&folder, path)).collect()
    });
    read.await.map_err(super::copy::lost)?
}

fn list(folder: &Path, into: &mut Vec<PathBuf>) -> Result<(), Error> {
    let listed = std::fs::read_dir(folder).map_err(Error::file("read", folder))?;
    for entry in listed {
        let entry = entry.map_err(Error::file("read", folder))?;
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::file("read", &path))?;
        if kind.is_dir() {
            list(&path, into)?;
        } else {
            into.push(path);
        }
    }
    Ok(())
}

fn sum(folder: &Path, path: &Path) -> Result<Sum, Error> {
    let mut file = std::fs::File::open(path).map_err(Error::file("read", path))?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        let count = file.read(&mut buffer).map_err(Error::file("read", path))?;
        if count == 0 {
            break;
        }
        hash.update(buffer.get(..count).unwrap_or_default());
        bytes += u64::try_from(count).unwrap_or(u64::MAX);
    }
    let name = path.strip_prefix(folder).unwrap_or(path);
    Ok(Sum {
        path: name.to_string_lossy().into_owned(),
        bytes,
        sha256: hex(&hash.finalize()),
    })
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes any text");
        text
    })
}
