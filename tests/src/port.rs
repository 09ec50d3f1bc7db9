//! TCP ports that two test runs at a time cannot both take.
//!
//! The numbers lie below the kernel's range for outgoing connections: a port stays free while its
//! server is stopped and started again. A locked file stands for each one; the kernel releases the
//! lock with the process, however that ends.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::Context as _;

const FIRST: u16 = 15_000;
const COUNT: u16 = 15_000;

/// A loopback port that belongs to this value.
#[derive(Debug)]
pub struct Port {
    number: u16,
    file: PathBuf,
    _lock: File,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    /// When none is free, or the lock files cannot be written.
    pub fn take() -> anyhow::Result<Self> {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let folder = Self::folder()?;
        // Runs at the same time begin at different places.
        let offset = u16::try_from(std::process::id() % u32::from(COUNT) / 64 * 64)?;
        for _ in 0..COUNT {
            let step = NEXT.fetch_add(1, Ordering::Relaxed);
            let number = FIRST + offset.wrapping_add(step) % COUNT;
            if let Some(port) = Self::try_take(number, folder.join(number.to_string()))? {
                return Ok(port);
            }
        }
        anyhow::bail!("no free port from {FIRST} to {}", FIRST + COUNT)
    }

    /// Takes this port, or any other one where it is not free.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub fn prefer(number: u16) -> anyhow::Result<Self> {
        let folder = Self::folder()?;
        match Self::try_take(number, folder.join(number.to_string()))? {
            Some(port) => Ok(port),
            None => Self::take(),
        }
    }

    fn folder() -> anyhow::Result<PathBuf> {
        let folder = std::env::temp_dir().join("sharding-test-ports");
        std::fs::create_dir_all(&folder).context("create the folder of port locks")?;
        // Everybody's, as the system's folder for temporary files is: runs of two users may meet.
        let everybody = std::fs::Permissions::from_mode(0o1777);
        drop(std::fs::set_permissions(&folder, everybody));
        Ok(folder)
    }

    fn try_take(number: u16, file: PathBuf) -> anyhow::Result<Option<Self>> {
        // A file that cannot be opened belongs to another user's run.
        let Ok(lock) = File::create(&file) else {
            return Ok(None);
        };
        if lock.try_lock().is_err() {
            return Ok(None);
        }
        // The file may have been removed by its last owner between opening and locking.
        let same = std::fs::metadata(&file)
            .and_then(|there| Ok(there.ino() == lock.metadata()?.ino()))
            .unwrap_or(false);
        let free = same && TcpListener::bind((Ipv4Addr::LOCALHOST, number)).is_ok();
        Ok(free.then_some(Self {
            number,
            file,
            _lock: lock,
        }))
    }

    /// The port's number.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.number
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        // The lock is still held here; a file that stays is harmless.
        drop(std::fs::remove_file(&self.file));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Port;

    #[test]
    fn ports_in_use_are_not_given_twice() {
        let ports: Vec<Port> = (0..50).map(|_| Port::take().unwrap()).collect();
        let numbers: BTreeSet<u16> = ports.iter().map(Port::number).collect();
        assert_eq!(numbers.len(), 50);
    }

    #[test]
    fn a_dropped_port_leaves_no_file() {
        let port = Port::take().unwrap();
        let file = port.file.clone();
        assert!(file.exists());
        drop(port);
        assert!(!file.exists());
    }
}
