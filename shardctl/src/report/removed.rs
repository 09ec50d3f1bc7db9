//! Something that is registered no longer.

use serde::Serialize;

use super::Report;
use crate::grid::printable;

/// The thing and its kind.
#[derive(Debug, Clone, Serialize)]
pub struct Removed {
    kind: &'static str,
    id: String,
    removed: bool,
}

impl Removed {
    /// A shard or a table that was removed.
    #[must_use]
    pub fn new(kind: &'static str, id: String) -> Self {
        Self {
            kind,
            id,
            removed: true,
        }
    }
}

impl Report for Removed {
    fn table(&self) -> String {
        format!("{} {} removed\n", self.kind, printable(&self.id))
    }
}
