//! Pure: the transaction state of one session and the settings that follow it.
//!
//! A transaction that has not touched a shard yet is only remembered (its preamble) and begins on
//! a backend when the first statement that needs one says which shard.

use std::sync::Arc;

use super::hints::HintSettings;
use crate::pool::settings::Settings;

/// Where the session's transaction stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Transaction {
    /// None is open: the next statement commits by itself.
    #[default]
    Idle,
    /// Opened by the client, on no shard yet: the statements to replay on the first one.
    Pending(Preamble),
    /// Opened, and failed before it reached a shard: only its end is accepted.
    FailedPending(Preamble),
    /// Open on a backend.
    Open,
    /// Open on a backend, and failed.
    Failed,
}

/// Statements that opened and shaped a transaction before it had a shard.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Preamble {
    statements: Vec<Box<str>>,
    savepoints: Vec<(Box<str>, usize)>,
}

impl Preamble {
    /// Most statements before the first one that needs a shard.
    pub(super) const MAX_STATEMENTS: usize = 256;

    /// A preamble that begins with the client's own BEGIN.
    #[must_use]
    pub(super) fn new(begin: &str) -> Self {
        Self {
            statements: vec![begin.into()],
            savepoints: Vec::new(),
        }
    }

    /// Adds a statement; false when the limit is reached.
    #[must_use]
    pub(super) fn push(&mut self, sql: &str) -> bool {
        if self.statements.len() >= Self::MAX_STATEMENTS {
            return false;
        }
        self.statements.push(sql.into());
        true
    }

    /// Adds a savepoint; false when the limit is reached.
    #[must_use]
    pub(super) fn savepoint(&mut self, name: &str, sql: &str) -> bool {
        self.savepoints.push((name.into(), self.statements.len()));
        self.push(sql)
    }

    /// Goes back to a savepoint, which stays; false when there is none of that name.
    #[must_use]
    pub(super) fn rollback_to(&mut self, name: &str) -> bool {
        let Some(at) = self
            .savepoints
            .iter()
            .rposition(|(known, _)| **known == *name)
        else {
            return false;
        };
        let Some((_, statement)) = self.savepoints.get(at) else {
            return false;
        };
        self.statements.truncate(statement + 1);
        self.savepoints.truncate(at + 1);
        true
    }

    /// Whether a savepoint of that name exists.
    #[must_use]
    pub(super) fn has_savepoint(&self, name: &str) -> bool {
        self.savepoints.iter().any(|(known, _)| **known == *name)
    }

    /// Forgets a savepoint but keeps what came after it; a savepoint after which nothing else came
    /// is as if it had never been.
    #[must_use]
    pub(super) fn release(&mut self, name: &str, sql: &str) -> bool {
        let mut known = self.savepoints.iter();
        let Some(at) = known.rposition(|(known, _)| **known == *name) else {
            return false;
        };
        let within = self.savepoints.split_off(at);
        let first = within.first().map_or(0, |(_, statement)| *statement);
        if self.statements.len() - first == within.len() {
            self.statements.truncate(first);
            return true;
        }
        self.push(sql)
    }

    /// How many statements there are.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.statements.len()
    }

    /// The statements after the first ones, as one query string; none where there are no more.
    #[must_use]
    pub(super) fn since(&self, count: usize) -> Option<String> {
        let rest = self.statements.get(count..)?;
        (!rest.is_empty()).then(|| rest.join("\n;"))
    }

    /// Whether one of the statements has this word in it, which is in lower case.
    #[must_use]
    pub(super) fn mentions(&self, word: &str) -> bool {
        let mut statements = self.statements.iter();
        statements.any(|sql| sql.to_ascii_lowercase().contains(word))
    }

    /// What a chained transaction begins with.
    #[must_use]
    pub(super) fn chained(&self) -> Self {
        Self {
            statements: self.statements.iter().take(1).cloned().collect(),
            savepoints: Vec::new(),
        }
    }

    /// Whether it is nothing but BEGIN, which cannot fail.
    #[must_use]
    pub(super) fn is_bare(&self) -> bool {
        self.statements.len() == 1
    }

    /// Whether each statement of the transaction sees what has been committed before it, as far as
    /// its own words say.
    #[must_use]
    pub(super) fn has_no_snapshot(&self) -> bool {
        let begin = self
            .statements
            .first()
            .map(|begin| begin.to_ascii_lowercase());
        let named = |word| begin.as_ref().is_some_and(|begin| begin.contains(word));
        self.is_bare() && !named("repeatable") && !named("serializable")
    }

    /// All statements as one query string.
    #[must_use]
    pub(super) fn sql(&self) -> String {
        // Each on a line of its own: it may end in a comment.
        self.statements.join("\n;")
    }
}

impl Transaction {
    /// What opened and shaped a transaction of which no shard knows yet.
    #[must_use]
    pub(super) fn preamble(&self) -> Option<Preamble> {
        match self {
            Self::Pending(preamble) | Self::FailedPending(preamble) => Some(preamble.clone()),
            Self::Idle | Self::Open | Self::Failed => None,
        }
    }

    /// The status byte of ReadyForQuery.
    #[must_use]
    pub(super) fn status(&self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::Pending(_) | Self::Open => b'T',
            Self::FailedPending(_) | Self::Failed => b'E',
        }
    }

    /// Whether the client is inside a transaction block.
    #[must_use]
    pub(super) fn is_block(&self) -> bool {
        !matches!(self, Self::Idle)
    }

    /// The state that a backend's ReadyForQuery reports.
    #[must_use]
    pub(super) fn from_status(status: u8) -> Self {
        match status {
            b'T' => Self::Open,
            b'E' => Self::Failed,
            _ => Self::Idle,
        }
    }

    /// The state after the router refused a statement: a block fails, as PostgreSQL's would.
    #[must_use]
    pub(super) fn refused(self) -> Self {
        match self {
            Self::Idle => Self::Idle,
            Self::Pending(preamble) | Self::FailedPending(preamble) => {
                Self::FailedPending(preamble)
            }
            Self::Open | Self::Failed => Self::Failed,
        }
    }
}

/// The session's settings: those committed, and those of the open transaction.
#[derive(Debug, Clone, Default)]
pub(super) struct SessionSettings {
    /// What the start-up packet asked for: RESET goes back to it.
    startup: Arc<Settings>,
    /// In force outside a transaction.
    committed: Arc<Settings>,
    /// In force inside the open transaction, when it changed any.
    changed: Option<Changed>,
    /// What to go back to at a savepoint.
    savepoints: Vec<(Box<str>, Option<Changed>)>,
    /// Where the session wants its statements to run.
    pub(super) hints: HintSettings,
}

/// What a transaction made of the settings.
#[derive(Debug, Clone)]
struct Changed {
    /// What its commit leaves.
    kept: Arc<Settings>,
    /// What holds until it ends: the same with what was SET LOCAL.
    in_force: Arc<Settings>,
}

impl SessionSettings {
    /// Settings that a start-up packet asked for.
    #[must_use]
    pub(super) fn new(startup: Arc<Settings>, hints: HintSettings) -> Self {
        Self {
            committed: Arc::clone(&startup),
            startup,
            hints,
            ..Self::default()
        }
    }

    /// The settings that a backend must have before the transaction begins.
    #[must_use]
    pub(super) fn committed(&self) -> &Arc<Settings> {
        &self.committed
    }

    /// The settings in force now, those of SET LOCAL included.
    #[must_use]
    pub(super) fn in_force(&self) -> &Arc<Settings> {
        self.changed
            .as_ref()
            .map_or(&self.committed, |changed| &changed.in_force)
    }

    /// The schemas in which unqualified names are looked up; none is the server's default.
    #[must_use]
    pub(super) fn search_path(&self) -> Option<&[String]> {
        self.in_force().search_path()
    }

    /// Changes the settings within the transaction; a statement by itself is one, too.
    pub(super) fn change(&mut self, edit: impl Fn(&mut Settings)) {
        let mut changed = self.changed_so_far();
        edit(Arc::make_mut(&mut changed.kept));
        edit(Arc::make_mut(&mut changed.in_force));
        self.changed = Some(changed);
    }

    /// Changes the settings until the end of the transaction: SET LOCAL.
    pub(super) fn change_locally(&mut self, edit: impl Fn(&mut Settings)) {
        let mut changed = self.changed_so_far();
        edit(Arc::make_mut(&mut changed.in_force));
        self.changed = Some(changed);
    }

    fn changed_so_far(&self) -> Changed {
        self.changed.clone().unwrap_or_else(|| Changed {
            kept: Arc::clone(&self.committed),
            in_force: Arc::clone(&self.committed),
        })
    }

    /// Whether a setting has another value only until the transaction ends.
    #[must_use]
    pub(super) fn is_local(&self, name: &str) -> bool {
        let changed = self.changed.as_ref();
        changed.is_some_and(|changed| changed.kept.text(name) != changed.in_force.text(name))
    }

    /// Whether the transaction has changed any.
    #[must_use]
    pub(super) fn is_changed(&self) -> bool {
        self.changed.is_some()
    }

    /// What the start-up packet asked for.
    #[must_use]
    pub(super) fn startup(&self) -> &Arc<Settings> {
        &self.startup
    }

    /// RESET of one setting, or of all: back to what the start-up packet asked for.
    pub(super) fn reset(&mut self, name: Option<&str>) {
        let startup = Arc::clone(&self.startup);
        self.change(|settings| match name {
            Some(name) => settings.restore(name, &startup),
            None => settings.restore_all(&startup),
        });
        if name.is_none() {
            self.hints.reset_all();
        }
    }

    /// DISCARD ALL.
    pub(super) fn discard(&mut self) {
        self.committed = Arc::clone(&self.startup);
        self.end_transaction(false);
        self.hints.discard();
    }

    /// Whether nothing was set since the start.
    #[must_use]
    pub(super) fn is_startup(&self) -> bool {
        *self.in_force() == self.startup
    }

    /// Remembers the settings at a savepoint.
    pub(super) fn savepoint(&mut self, name: &str) {
        self.savepoints.push((name.into(), self.changed.clone()));
        self.hints.savepoint(name);
    }

    /// Forgets a savepoint and those after it, but not what came after it.
    pub(super) fn release(&mut self, name: &str) {
        if let Some(at) = self.position_of(name) {
            self.savepoints.truncate(at);
        }
    }

    /// Goes back to the settings at a savepoint.
    pub(super) fn rollback_to(&mut self, name: &str) {
        self.hints.rollback_to(name);
        let Some(at) = self.position_of(name) else {
            return;
        };
        if let Some((_, settings)) = self.savepoints.get(at) {
            self.changed.clone_from(settings);
        }
        self.savepoints.truncate(at + 1);
    }

    fn position_of(&self, name: &str) -> Option<usize> {
        self.savepoints
            .iter()
            .rposition(|(known, _)| **known == *name)
    }

    /// The transaction ended.
    pub(super) fn end_transaction(&mut self, committed: bool) {
        if let (true, Some(changed)) = (committed, self.changed.take()) {
            self.committed = changed.kept;
        }
        self.changed = None;
        self.savepoints.clear();
        self.hints.end_transaction(committed);
    }
}

#[cfg(test)]
mod tests;
