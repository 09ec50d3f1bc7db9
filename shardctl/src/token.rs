//! The file that a token is kept in: for its owner alone.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::Error;

/// Longer than any token that a manager takes.
const MAX_BYTES: u64 = 16 << 10;

fn bad(path: &Path) -> impl Fn(io::Error) -> Error {
    move |error| Error::BadTokenFile {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

/// The token in a file; none where there is no file, as before a login.
///
/// # Errors
/// When it cannot be read.
pub fn read(path: &Path) -> Result<Option<String>, Error> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(bad(path)(error)),
    };
    let mut text = String::new();
    let mut file = file.take(MAX_BYTES);
    file.read_to_string(&mut text).map_err(bad(path))?;
    Ok(Some(text.trim().to_owned()))
}

/// Keeps a token.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, token: &str) -> Result<(), Error> {
    let write = || {
        // An older file may be one that others can read.
        remove_if_there(path)?;
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.write_all(token.as_bytes())?;
        file.write_all(b"\n")
    };
    write().map_err(bad(path))
}

/// Forgets the token.
///
/// # Errors
/// When the file cannot be removed.
pub fn remove(path: &Path) -> Result<(), Error> {
    remove_if_there(path).map_err(bad(path))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
