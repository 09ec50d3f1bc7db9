//! Prepared statements as the router owns them: one text with its parameter types has one id, and
//! the same server-side name on every backend.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cache::Planned;
use crate::query::Statement;

/// A statement that a client prepared.
#[derive(Debug)]
pub struct Prepared {
    /// Unique in this process.
    pub id: u64,
    /// Its text and the types that the client declared, as the body of its Parse has them after
    /// the name.
    pub definition: Bytes,
    /// The types that the client declared, in order; 0 leaves the type to the server.
    pub parameter_types: Vec<u32>,
    /// The name under which backends hold it.
    pub server_name: Box<str>,
    /// The analysis; none when the text is not SQL, so that a shard may say what is wrong with it.
    pub planned: Option<Arc<Planned>>,
}

impl Prepared {
    /// Its text.
    #[must_use]
    pub fn sql(&self) -> &str {
        let text = self
            .definition
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }

    /// The statement, when the text is exactly one.
    #[must_use]
    pub fn statement(&self) -> Option<&Statement> {
        self.planned.as_ref()?.analysis.statements.first()
    }

    /// A Parse message under `name`.
    pub fn put_parse(&self, out: &mut BytesMut, name: &str) {
        let length = name.len() + 1 + self.definition.len() + 4;
        out.put_u8(wire::frontend::tag::PARSE);
        out.put_u32(u32::try_from(length).expect("a message is shorter than 1 GiB"));
        out.put_slice(name.as_bytes());
        out.put_u8(0);
        out.put_slice(&self.definition);
    }
}

/// All named statements of all sessions, so that equal ones share an id. A statement lives as
/// long as a session holds it.
#[derive(Debug, Default)]
pub struct Statements {
    next_id: AtomicU64,
    known: Mutex<HashMap<Bytes, Weak<Prepared>>>,
}

impl Statements {
    /// Entries of ended statements are swept when the map has grown by this much.
    const SWEEP_EVERY: usize = 1024;

    /// A statement that is not shared: the unnamed one.
    #[must_use]
    pub fn unnamed(
        &self,
        definition: Bytes,
        parameter_types: Vec<u32>,
        planned: Option<Arc<Planned>>,
    ) -> Arc<Prepared> {
        // Ids begin at 1.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        let server_name = format!("router_{id}").into();
        Arc::new(Prepared {
            id,
            definition,
            parameter_types,
            server_name,
            planned,
        })
    }

    /// The statement of this definition, made if nobody holds it.
    #[must_use]
    pub fn named(
        &self,
        definition: Bytes,
        parameter_types: Vec<u32>,
        planned: Option<Arc<Planned>>,
    ) -> Arc<Prepared> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prepared) = known.get(&definition).and_then(Weak::upgrade) {
            return prepared;
        }
        if known.len() % Self::SWEEP_EVERY == Self::SWEEP_EVERY - 1 {
            known.retain(|_, prepared| prepared.strong_count() > 0);
        }
        let prepared = self.unnamed(definition.clone(), parameter_types, planned);
        known.insert(definition, Arc::downgrade(&prepared));
        prepared
    }
    /// Shares nothing that was prepared before with what is prepared from now on. A backend keeps
    /// to the columns that a statement had when it was first prepared there, so that after a change
    /// of the schema the same text needs another name, as in a session of its own.
    pub fn forget_all(&self) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_definitions_share_a_statement_until_the_schema_changes() {
        let statements = Statements::default();
        let named =
            |text: &'static [u8]| statements.named(Bytes::from_static(text), Vec::new(), None);
        let first = named(b"SELECT 1\0\0\0");
        assert_eq!(named(b"SELECT 1\0\0\0").id, first.id);
        assert_ne!(named(b"SELECT 2\0\0\0").id, first.id);
        statements.forget_all();
        let second = named(b"SELECT 1\0\0\0");
        assert_ne!(second.id, first.id);
        assert_ne!(second.server_name, first.server_name);
    }
}
