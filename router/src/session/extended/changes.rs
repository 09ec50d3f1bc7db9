//! Pure: what a batch has done to the session's prepared statements, kept until it is known that
//! no error has kept the backend from following.

use std::sync::Arc;

use bytes::Bytes;

use crate::session::ByName;
use crate::session::prepared::Prepared;

/// One change.
#[derive(Debug)]
enum Change {
    /// A statement got this name.
    Parsed(Bytes),
    /// A statement lost this name.
    Closed(Bytes, Arc<Prepared>),
}

/// The changes since the backend last had answered everything; each is known by its number.
#[derive(Debug, Default)]
pub(super) struct Changes(Vec<Change>);

impl Changes {
    /// A statement got this name.
    pub(super) fn parsed(&mut self, name: Bytes) -> u64 {
        self.add(Change::Parsed(name))
    }

    /// A statement lost this name.
    pub(super) fn closed(&mut self, name: Bytes, prepared: Arc<Prepared>) -> u64 {
        self.add(Change::Closed(name, prepared))
    }

    fn add(&mut self, change: Change) -> u64 {
        self.0.push(change);
        // The push made the length at least one.
        u64::try_from(self.0.len() - 1).unwrap_or(u64::MAX)
    }

    /// Undoes changes, the last one first, since a name may have changed hands more than once.
    pub(super) fn undo(&self, numbers: &[u64], statements: &mut ByName<Arc<Prepared>>) {
        for number in numbers.iter().rev() {
            let at = usize::try_from(*number).ok();
            match at.and_then(|at| self.0.get(at)) {
                Some(Change::Parsed(name)) => {
                    statements.remove(name);
                }
                Some(Change::Closed(name, prepared)) => {
                    statements.insert(name.clone(), Arc::clone(prepared));
                }
                None => {}
            }
        }
    }

    /// Undoes all of them.
    pub(super) fn undo_all(&self, statements: &mut ByName<Arc<Prepared>>) {
        let numbers: Vec<u64> = (0_u64..).take(self.0.len()).collect();
        self.undo(&numbers, statements);
    }

    /// Everything was answered: what was not undone until now stays.
    pub(super) fn settle(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Statements;
    use crate::session::prepared::Parsed;

    fn prepared(all: &Statements, sql: &'static str) -> Arc<Prepared> {
        all.named(
            Parsed {
                definition: Bytes::from_static(sql.as_bytes()),
                parameter_types: Arc::new([]),
                planned: None,
                settings: Arc::default(),
                promised: None,
                written: None,
            },
            0,
        )
    }

    #[test]
    fn a_name_that_was_closed_and_given_anew_goes_back_to_its_first_owner() {
        let all = Statements::default();
        let (old, new) = (prepared(&all, "old"), prepared(&all, "new"));
        let name = Bytes::from_static(b"s");
        let mut statements = ByName::from_iter([(name.clone(), Arc::clone(&old))]);
        let mut changes = Changes::default();
        let Some((key, closed)) = statements.remove_entry(&name) else {
            panic!("the statement is there");
        };
        let first = changes.closed(key, closed);
        statements.insert(name.clone(), Arc::clone(&new));
        let second = changes.parsed(name.clone());
        changes.undo(&[second], &mut statements);
        assert!(statements.is_empty());
        statements.insert(name.clone(), new);
        changes.undo(&[first, second], &mut statements);
        assert_eq!(statements.get(&name).map(|found| found.id), Some(old.id));
    }

    #[test]
    fn what_is_settled_cannot_be_undone() {
        let all = Statements::default();
        let name = Bytes::from_static(b"s");
        let mut statements = ByName::from_iter([(name.clone(), prepared(&all, "s"))]);
        let mut changes = Changes::default();
        let number = changes.parsed(name);
        changes.settle();
        changes.undo(&[number], &mut statements);
        assert_eq!(statements.len(), 1);
    }
}
