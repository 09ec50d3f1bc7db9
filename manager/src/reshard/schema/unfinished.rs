//! Tables that were created without keys and indexes, which come after the copy. A shard itself
//! remembers them, since the job that created them may not live to finish them.

use std::collections::BTreeSet;

use topology::TableName;

use crate::identifier;
use crate::reshard::session::{Error, Session};

/// The entry that stands for all tables.
pub(super) const EVERYTHING: &str = "*";

/// What is unfinished on a shard.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfinished(pub(super) BTreeSet<String>);

impl Unfinished {
    /// Whether all is finished.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a table is not finished.
    #[must_use]
    pub fn holds(&self, table: &TableName) -> bool {
        self.is_everything() || self.0.contains(&identifier::quoted(table))
    }

    /// Whether the whole database was created so.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.0.contains(EVERYTHING)
    }
}

/// Reads what is unfinished on a shard.
///
/// # Errors
/// What PostgreSQL or the network says.
pub async fn unfinished(session: &Session) -> Result<Unfinished, Error> {
    let failed = |e| session.error("look for unfinished tables", e);
    let exists = "SELECT pg_catalog.to_regclass('vg.unfinished') IS NOT NULL";
    let row = session.query_one(exists, &[]).await.map_err(failed)?;
    if !row.get::<_, bool>(0) {
        return Ok(Unfinished::default());
    }
    let rows = session.query("SELECT name FROM vg.unfinished", &[]).await;
    let rows = rows.map_err(failed)?;
    Ok(Unfinished(rows.iter().map(|row| row.get(0)).collect()))
}
