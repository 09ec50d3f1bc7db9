//! Reads the whole topology at one revision.

use crate::keys;
use crate::parts::{Applied, InvalidEntry, Parts};
use crate::records::Head;
use crate::snapshot::{InvalidTopology, Snapshot};
use crate::store::{self, Revision, Store};
use crate::{Epoch, Term};

/// The topology as stored at a revision.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// Its records.
    pub parts: Parts,
    /// Its head; none before the first control write.
    pub head: Option<Head>,
    /// When the head was last written, for the compare of the next write; 0 while there is none.
    pub head_mod_revision: Revision,
    /// The revision at which all of it was read.
    pub revision: Revision,
}

impl Loaded {
    /// The head's epoch; 0 while there is none.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.head.map_or(Epoch(0), |head| head.epoch)
    }

    /// The term of the last writer; 0 while there is none.
    #[must_use]
    pub fn term(&self) -> Term {
        self.head.map_or(Term(0), |head| head.term)
    }

    /// The view of it.
    ///
    /// # Errors
    /// [`InvalidTopology`] when the records do not fit together.
    pub fn snapshot(&self) -> Result<Snapshot, InvalidTopology> {
        Snapshot::try_new(self.epoch(), self.parts.clone())
    }
}

/// Why the topology could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A record cannot be read.
    #[error(transparent)]
    Entry(#[from] InvalidEntry),
    /// Records without a head: they were not written by a manager.
    #[error("the topology has records but no head at {}", keys::HEAD)]
    NoHead,
}

/// Reads the topology.
///
/// # Errors
/// [`LoadError`] when the store or a record cannot be read.
pub async fn load(store: &dyn Store) -> Result<Loaded, LoadError> {
    let listing = store.list(keys::TOPOLOGY).await?;
    let mut loaded = Loaded {
        parts: Parts::default(),
        head: None,
        head_mod_revision: Revision(0),
        revision: listing.revision,
    };
    for entry in &listing.entries {
        match loaded.parts.put(entry)? {
            Applied::Head(head) => {
                loaded.head = Some(head);
                loaded.head_mod_revision = entry.mod_revision;
            }
            Applied::Part | Applied::HeadRemoved => {}
        }
    }
    if loaded.head.is_none() && !loaded.parts.is_empty() {
        return Err(LoadError::NoHead);
    }
    Ok(loaded)
}
