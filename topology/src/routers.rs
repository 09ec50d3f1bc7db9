//! The routers that live, as the store knows them: each keeps one record under its lease.

use crate::keys;
use crate::records::{DecodeError, RouterRecord, decode};
use crate::store::{self, Entry, Revision, Store};

/// A router that lives, or whose lease at least has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// Its number, which is its own while it lives.
    pub number: u16,
    /// What it says of itself.
    pub record: RouterRecord,
    /// When it was registered under this number; another router, or another lease, is another
    /// revision.
    pub registered: Revision,
}

/// All of them at one revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routers {
    /// The routers, in no order.
    pub all: Vec<Router>,
    /// The revision: a watch from the next one on misses nothing.
    pub revision: Revision,
}

/// Why it is not known which routers live.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store gave no answer.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A record that cannot be read may be one of a router that serves clients.
    #[error(transparent)]
    Unreadable(#[from] DecodeError),
    /// A key that is none of a router.
    #[error("{key:?} is not the key of a router")]
    UnknownKey {
        /// The key.
        key: String,
    },
}

/// Reads which routers live.
///
/// # Errors
/// [`Error`]; whoever must not overlook a router goes by the last answer then.
pub async fn list(store: &dyn Store) -> Result<Routers, Error> {
    let listing = store.list(keys::ROUTERS).await?;
    let all = listing.entries.iter().map(read).collect::<Result<_, _>>()?;
    Ok(Routers {
        all,
        revision: listing.revision,
    })
}

/// Reads one entry under [`keys::ROUTERS`], such as a watch brings.
///
/// # Errors
/// [`Error`] when it is none.
pub fn read(entry: &Entry) -> Result<Router, Error> {
    let number = keys::router_number(&entry.key);
    let number = number.ok_or_else(|| Error::UnknownKey {
        key: entry.key.clone(),
    })?;
    Ok(Router {
        number,
        record: decode(&entry.key, &entry.value)?,
        registered: entry.create_revision,
    })
}
