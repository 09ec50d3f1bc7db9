//! What is kept of the last backup, so that its age can be watched.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::Epoch;

/// The last backup that was finished.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastBackup {
    /// Its id, by which its folder is named.
    pub id: String,
    /// The moment that it holds.
    #[serde(with = "super::codec::rfc3339")]
    pub point_at: SystemTime,
    /// When it was complete.
    #[serde(with = "super::codec::rfc3339")]
    pub finished_at: SystemTime,
    /// The topology that it holds.
    pub epoch: Epoch,
    /// All its files together.
    pub bytes: u64,
}
