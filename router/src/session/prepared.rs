//! Prepared statements as the router owns them: one text with its parameter types, read under the
//! same settings, has one id, and the same server-side name on every backend.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::shape::{Form, Shape};
use crate::cache::Planned;
use crate::pool::settings::Settings;
use crate::query::{Class, Statement};
use topology::Epoch;

/// A statement that a client prepared.
#[derive(Debug)]
pub struct Prepared {
    /// Unique in this process.
    pub id: u64,
    /// Its text and the types that the client declared, as the body of its Parse has them after
    /// the name.
    pub definition: Bytes,
    /// The text of the definition, which each execution looks at.
    sql: Box<str>,
    /// The types that the client declared, in order; 0 leaves the type to the server.
    pub parameter_types: Arc<[u32]>,
    /// The name under which backends hold it.
    pub server_name: Box<str>,
    /// The analysis; none when the text is not SQL, so that a shard may say what is wrong with it.
    pub planned: Option<Arc<Planned>>,
    /// The settings under which backends parse it: the constants in it are read under them, once.
    pub settings: Arc<Settings>,
    /// What the client wrote, where that reads views.
    written: Option<Written>,
    /// What clients were told of its rows; none where that depends on a cursor.
    pub(super) shape: Option<Arc<Shape>>,
}

/// A definition before queries took the place of its views.
#[derive(Debug, Clone)]
pub(super) struct Written {
    /// As [`Prepared::definition`].
    pub(super) definition: Bytes,
    /// The topology that the views were of.
    pub(super) epoch: Epoch,
}

/// What a client's Parse says, and under which settings.
#[derive(Debug, Clone)]
pub struct Parsed {
    /// See [`Prepared::definition`].
    pub definition: Bytes,
    /// See [`Prepared::parameter_types`].
    pub parameter_types: Arc<[u32]>,
    /// See [`Prepared::planned`].
    pub planned: Option<Arc<Planned>>,
    /// See [`Prepared::settings`].
    pub settings: Arc<Settings>,
    /// What the client was told of its rows when it was parsed under other settings.
    pub(super) promised: Option<Form>,
    /// What the client wrote, where that reads views.
    pub(super) written: Option<Written>,
}

impl Prepared {
    fn new(id: u64, parsed: Parsed) -> Self {
        let Parsed {
            definition,
            parameter_types,
            planned,
            settings,
            promised,
            written,
        } = parsed;
        let reads_cursor = planned.as_deref().is_some_and(reads_cursor);
        let text = definition.split(|byte| *byte == 0).next();
        let sql = std::str::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        let sql = sql.into();
        Self {
            id,
            definition,
            sql,
            parameter_types,
            server_name: format!("router_{id}").into(),
            planned,
            settings,
            written,
            shape: (!reads_cursor).then(|| Arc::new(Shape::promised(promised))),
        }
    }

    /// Whether its rows have another form than clients were told.
    #[must_use]
    pub(super) fn has_changed(&self) -> bool {
        self.shape.as_deref().is_some_and(Shape::has_changed)
    }

    /// Whether a client may have been told of its rows.
    #[must_use]
    pub(super) fn is_described(&self) -> bool {
        self.form().is_some()
    }

    fn form(&self) -> Option<&Form> {
        self.shape.as_deref().and_then(Shape::form)
    }

    /// The same to be parsed under other settings.
    #[must_use]
    pub fn under(&self, settings: &Arc<Settings>) -> Parsed {
        Parsed {
            definition: self.definition.clone(),
            parameter_types: Arc::clone(&self.parameter_types),
            planned: self.planned.clone(),
            settings: Arc::clone(settings),
            promised: self.form().cloned(),
            written: self.written.clone(),
        }
    }

    /// Whether what the client wrote reads views.
    #[must_use]
    pub(super) fn reads_views(&self) -> bool {
        self.written.is_some()
    }

    /// What the client wrote, if that reads views that may be others at an epoch, or under other
    /// settings.
    #[must_use]
    pub(super) fn written_before(&self, epoch: Epoch, settings: &Arc<Settings>) -> Option<Bytes> {
        let written = self.written.as_ref()?;
        let same = written.epoch == epoch && Arc::ptr_eq(&self.settings, settings);
        (!same).then(|| written.definition.clone())
    }

    /// Its text.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
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

/// Whether a statement reads a cursor: what it returns is not told from its text.
pub(super) fn reads_cursor(planned: &Planned) -> bool {
    let first = planned.analysis.statements.first();
    first.is_some_and(|statement| matches!(statement.class, Class::Cursor(_)))
}

/// What makes two statements one: equal definitions, parsed under settings that read them alike,
/// of which clients were promised the same.
#[derive(Debug)]
struct Identity {
    definition: Bytes,
    written: Option<(Bytes, Epoch)>,
    settings: Arc<Settings>,
    promised: Option<Form>,
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.definition == other.definition
            && self.written == other.written
            && self.settings.read_alike(&other.settings)
            && self.promised == other.promised
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.definition.hash(state);
        self.settings.of_reading().for_each(|one| one.hash(state));
        self.promised.hash(state);
    }
}

/// All named statements of all sessions, so that equal ones share an id. A statement lives as
/// long as a session holds it.
#[derive(Debug, Default)]
pub struct Statements {
    next_id: AtomicU64,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    statements: HashMap<Identity, Weak<Prepared>>,
    /// The version of the schema under which all of them were made.
    version: u64,
}

impl Statements {
    /// Entries of ended statements are swept when the map has grown by this much.
    const SWEEP_EVERY: usize = 1024;

    /// A statement that is not shared: the unnamed one.
    #[must_use]
    pub fn unnamed(&self, parsed: Parsed) -> Arc<Prepared> {
        // Ids begin at 1.
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        Arc::new(Prepared::new(id, parsed))
    }

    /// The statement of this definition at this version of the schema, made if nobody holds it.
    #[must_use]
    pub fn named(&self, parsed: Parsed, version: u64) -> Arc<Prepared> {
        let identity = Identity {
            definition: parsed.definition.clone(),
            written: (parsed.written.as_ref()).map(|it| (it.definition.clone(), it.epoch)),
            settings: Arc::clone(&parsed.settings),
            promised: parsed.promised.clone(),
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.version != version {
            // Whoever prepares a statement after a change of the schema gets one that backends
            // parse anew, as PostgreSQL's own would be.
            *known = Known {
                version,
                ..Known::default()
            };
        }
        let known = &mut known.statements;
        let shared = known.get(&identity).and_then(Weak::upgrade);
        if let Some(prepared) = shared.filter(|prepared| !prepared.has_changed()) {
            return prepared;
        }
        if known.len() % Self::SWEEP_EVERY == Self::SWEEP_EVERY - 1 {
            known.retain(|_, prepared| prepared.strong_count() > 0);
        }
        let prepared = self.unnamed(parsed);
        known.insert(identity, Arc::downgrade(&prepared));
        prepared
    }

    /// The tables have changed: whoever prepares a statement from now on gets one that backends
    /// parse anew, as PostgreSQL's own would be.
    pub fn forget_all(&self) {
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .statements
            .clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(sql: &str, settings: &[(&str, &str)]) -> Parsed {
        let mut under = Settings::default();
        for (name, value) in settings {
            under.insert_value(name, value);
        }
        Parsed {
            definition: Bytes::copy_from_slice(sql.as_bytes()),
            parameter_types: Arc::new([]),
            planned: None,
            settings: Arc::new(under),
            promised: None,
            written: None,
        }
    }

    #[test]
    fn equal_statements_are_one_while_somebody_holds_it() {
        let all = Statements::default();
        let one = all.named(parsed("SELECT 1", &[]), 0);
        assert_eq!(all.named(parsed("SELECT 1", &[]), 0).id, one.id);
        assert_ne!(all.named(parsed("SELECT 2", &[]), 0).id, one.id);
        assert_ne!(all.unnamed(parsed("SELECT 1", &[])).id, one.id);
    }

    #[test]
    fn what_is_read_under_other_settings_is_another_statement() {
        let all = Statements::default();
        let one = all.named(parsed("SELECT 1", &[("TimeZone", "UTC")]), 0);
        let named = [("TimeZone", "UTC"), ("application_name", "psql")];
        assert_eq!(all.named(parsed("SELECT 1", &named), 0).id, one.id);
        let other = [("TimeZone", "Asia/Tokyo")];
        assert_ne!(all.named(parsed("SELECT 1", &other), 0).id, one.id);
    }

    #[test]
    fn what_was_told_under_other_settings_still_holds() {
        let all = Statements::default();
        let one = all.named(parsed("SELECT 1", &[]), 0);
        let under = Arc::clone(&parsed("", &[("search_path", "a")]).settings);
        assert!(!all.named(one.under(&under), 0).is_described());
        let shard = topology::ShardId::try_new("one").unwrap();
        one.shape.as_ref().unwrap().note(&shard, b'n', b"");
        let other = all.named(one.under(&under), 0);
        assert!(other.is_described() && other.id != one.id);
        assert_eq!(all.named(one.under(&under), 0).id, other.id);
        assert_ne!(
            all.named(parsed("SELECT 1", &[("search_path", "a")]), 0).id,
            other.id
        );
    }

    #[test]
    fn nobody_is_given_a_statement_whose_rows_have_changed() {
        let all = Statements::default();
        let one = all.named(parsed("SELECT 1", &[]), 0);
        let shard = topology::ShardId::try_new("one").unwrap();
        let shape = one.shape.as_ref().unwrap();
        shape.note(&shard, b'n', b"");
        assert_eq!(all.named(parsed("SELECT 1", &[]), 0).id, one.id);
        shape.note(&shard, b'T', b"\0\0");
        assert_ne!(all.named(parsed("SELECT 1", &[]), 0).id, one.id);
    }

    #[test]
    fn what_is_prepared_after_a_change_of_the_schema_is_parsed_anew() {
        let all = Statements::default();
        let before = all.named(parsed("SELECT 1", &[]), 0);
        all.forget_all();
        let after = all.named(parsed("SELECT 1", &[]), 0);
        assert_ne!(after.id, before.id);
        let last = all.named(parsed("SELECT 1", &[]), 1);
        assert_ne!(last.id, after.id);
        assert_eq!(all.named(parsed("SELECT 1", &[]), 1).id, last.id);
    }
}
