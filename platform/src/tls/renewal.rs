//! TLS files that are replaced while a program runs: each second it is looked whether one of them
//! is another one than when it was read, and SIGHUP has all of them read again. Such as cannot be
//! used change nothing. What is done with the files is in [`super`], [`super::client`] and
//! [`super::peer`].

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use prometheus::{IntGaugeVec, Opts, Registry};
use tokio::signal::unix::Signal;

use super::{Error, certificates, expiry};
use crate::Shutdown;
use crate::telemetry::error_chain;

/// Between two looks at the files.
pub const INTERVAL: Duration = Duration::from_secs(1);

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The certificate that is shown to others.
    Certificate,
    /// Its key.
    Key,
    /// What the certificates of others are held against.
    Authority,
}

impl Part {
    fn label(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Authority => "authority",
        }
    }
}

/// What reads TLS files and can do so again.
pub trait Renewable: fmt::Debug + Send + Sync {
    /// Its files.
    fn files(&self) -> Vec<(Part, PathBuf)>;

    /// Reads them again, for what is connected from now on.
    ///
    /// # Errors
    /// Names the file and what is wrong with it; then nothing changes.
    fn renew(&self) -> Result<(), Error>;
}

/// What tells one version of a file from another; none while it is not there.
type Stamp = Option<(SystemTime, u64, u64)>;

#[derive(Debug)]
struct Entry {
    used_for: &'static str,
    renewable: Box<dyn Renewable>,
    /// As the files were when they were read; none before it is known.
    read: Option<Vec<Stamp>>,
    /// As they were at the last look.
    seen: Vec<Stamp>,
}

/// All TLS files of a program.
#[derive(Debug)]
pub struct Renewal {
    entries: Vec<Entry>,
    expiry: IntGaugeVec,
}

impl Renewal {
    /// No files yet; registers when certificates end.
    ///
    /// # Errors
    /// When the registry holds such a metric already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let options = Opts::new(
            "tls_certificate_expiry_seconds",
            "When the certificates of a TLS file end, the first of them, in seconds since 1970",
        );
        let expiry = IntGaugeVec::new(options, &["used_for", "part"])?;
        registry.register(Box::new(expiry.clone()))?;
        let entries = Vec::new();
        Ok(Self { entries, expiry })
    }

    /// Takes care of files that were just read.
    pub fn add(&mut self, used_for: &'static str, renewable: impl Renewable + 'static) {
        let entry = Entry {
            used_for,
            renewable: Box::new(renewable),
            read: None,
            seen: Vec::new(),
        };
        entry.tell(&self.expiry);
        self.entries.push(entry);
    }

    /// Looks after the files until the shutdown; takes SIGHUP in any case.
    pub async fn run(mut self, mut hangup: Signal, shutdown: Shutdown) {
        loop {
            let is_told = tokio::select! {
                biased; // Nothing is to be read for a program that ends.
                () = shutdown.requested() => return,
                _ = hangup.recv() => true,
                () = tokio::time::sleep(INTERVAL) => false,
            };
            self.look(is_told);
        }
    }

    fn look(&mut self, is_told: bool) {
        for entry in &mut self.entries {
            entry.look(is_told, &self.expiry);
        }
    }
}

impl Entry {
    /// Files are replaced one after the other, and are read once all of them have stayed the same
    /// from one look to the next.
    fn look(&mut self, is_told: bool, expiry: &IntGaugeVec) {
        let now = self.stamps();
        let is_settled = now == self.seen;
        let is_read = self.read.as_ref() == Some(&now);
        self.seen.clone_from(&now);
        if is_told || (!is_read && is_settled) {
            // They may have been replaced between the program's start and the first look.
            let is_first = self.read.replace(now).is_none();
            self.renew(is_first && !is_told, expiry);
        }
    }

    fn renew(&self, is_quiet: bool, expiry: &IntGaugeVec) {
        let used_for = self.used_for;
        match self.renewable.renew() {
            Ok(()) => {
                if !is_quiet {
                    tracing::info!(used_for, "TLS files read again");
                }
                self.tell(expiry);
            }
            Err(error) => {
                let error = error_chain(&error);
                tracing::error!(
                    used_for,
                    error,
                    "replaced TLS files cannot be used, the old ones stay in force"
                );
            }
        }
    }

    fn tell(&self, expiry: &IntGaugeVec) {
        for (part, path) in self.renewable.files() {
            let first = match part {
                Part::Key => None,
                Part::Certificate | Part::Authority => certificates(&path).ok(),
            };
            let first = first.into_iter().flatten();
            if let Some(first) = first.filter_map(|held| expiry::not_after(&held)).min() {
                let labels = [self.used_for, part.label()];
                expiry.with_label_values(&labels).set(first);
            }
        }
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamp = |(_, path): (Part, PathBuf)| {
            // Of the file that a link leads to: mounted secrets are replaced by moving a link.
            let metadata = std::fs::metadata(path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
        };
        self.renewable.files().into_iter().map(stamp).collect()
    }
}

#[cfg(test)]
mod tests;
