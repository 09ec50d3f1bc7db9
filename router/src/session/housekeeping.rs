//! Statements that the router answers itself: transaction control without a backend, and the
//! prepared statements that it owns.

use bytes::Bytes;
use wire::backend::encode;

use super::attach::Stopped;
use super::control::{self, control};
use super::effects::Effect;
use super::state::Transaction;
use super::{Session, hints, local};
use crate::cache::{DEFAULT_SEARCH_PATH, Planned, Plans};
use crate::query::{Class, CursorUse};
use crate::route::Refusal;
use crate::view::Serving;

impl Session {
    /// The answer to a statement that needs no shard; none when it does.
    pub(super) fn run_locally(
        &mut self,
        class: &Class,
        sql: &str,
    ) -> Result<Option<Bytes>, Stopped> {
        if let Some(name) = hints::named_by(class) {
            return self.answer_hint(name, class).map(Some);
        }
        match class {
            Class::Deallocate(name) => self.deallocate(name.as_deref()).map(Some),
            // Otherwise a shard answers, and reports each setting that goes back.
            Class::DiscardAll if self.settings.is_startup() => self.discard_all().map(Some),
            // There are no temporary tables, no values of sequences and no listening to discard,
            // and plans of a backend are not the session's own.
            Class::DiscardOther(_) | Class::Unlisten(_) if self.is_bound() => Ok(None),
            Class::DiscardOther(tag) => self.done_already(tag).map(Some),
            Class::Unlisten(_) => self.done_already("UNLISTEN").map(Some),
            Class::Cursor(using) if self.attachment.is_none() && !self.is_bound() => {
                self.without_cursors(using).map(Some)
            }
            class if self.attachment.is_none() => {
                let Some(controlled) = control(&self.transaction, class, sql) else {
                    return Ok(None);
                };
                let before = std::mem::replace(&mut self.transaction, controlled.transaction);
                let frames = controlled
                    .answer
                    .map_err(|refused| Stopped::from(refused.0))?;
                let effect = match (Effect::of(class, sql), before) {
                    (Effect::Commit, Transaction::FailedPending(_)) => Effect::Rollback,
                    (effect, _) => effect,
                };
                effect.apply(&mut self.settings);
                if matches!(effect, Effect::Commit | Effect::Rollback) {
                    self.portals.clear();
                }
                Ok(Some(frames))
            }
            _ => Ok(None),
        }
    }

    fn deallocate(&mut self, name: Option<&str>) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        let Some(name) = name else {
            self.statements.retain(|name, _| name.is_empty());
            return Ok(local::complete("DEALLOCATE ALL"));
        };
        match self.statements.remove(name.as_bytes()) {
            Some(_) => Ok(local::complete("DEALLOCATE")),
            None => Err(no_statement(name.as_bytes()).into()),
        }
    }

    fn discard_all(&mut self) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        if self.transaction.is_block() {
            return Err(Refusal {
                sqlstate: "25001",
                message: "DISCARD ALL cannot run inside a transaction block".to_owned(),
                hint: None,
            }
            .into());
        }
        if self.attachment.is_some() {
            return Err(Refusal {
                sqlstate: "25001",
                message: "DISCARD ALL cannot be executed within a pipeline".to_owned(),
                hint: None,
            }
            .into());
        }
        self.statements.clear();
        self.settings.hints.discard();
        self.unbind();
        Ok(local::complete("DISCARD ALL"))
    }

    fn done_already(&self, tag: &str) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        Ok(local::complete(tag))
    }

    /// FETCH, MOVE or CLOSE while the session holds no backend, and so no cursor.
    fn without_cursors(&self, using: &CursorUse) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        match &using.cursor {
            None => Ok(local::complete("CLOSE CURSOR ALL")),
            Some(name) => Err(Refusal {
                sqlstate: "34000",
                message: format!("cursor \"{name}\" does not exist"),
                hint: None,
            }
            .into()),
        }
    }

    /// What only a transaction that has not failed may do.
    pub(super) fn must_not_have_failed(&self) -> Result<(), Refusal> {
        match self.transaction {
            Transaction::Failed | Transaction::FailedPending(_) => {
                Err(control::in_failed_transaction())
            }
            Transaction::Idle | Transaction::Pending(_) | Transaction::Open => Ok(()),
        }
    }

    /// Where the statements of a text go under this session's search path.
    pub(super) fn plans(&self, planned: &Planned, serving: &Serving) -> std::sync::Arc<Plans> {
        match (self.settings.search_path(), self.temporary()) {
            (None, None) => planned.plans(&serving.snapshot),
            (None, temporary) => {
                planned.plans_under(&serving.snapshot, &DEFAULT_SEARCH_PATH, temporary)
            }
            (Some(schemas), temporary) => {
                let schemas: Vec<&str> = schemas.iter().map(String::as_str).collect();
                planned.plans_under(&serving.snapshot, &schemas, temporary)
            }
        }
    }

    /// Whether a statement is answered without a shard while the session holds none.
    pub(super) fn is_answered_here(&self, class: &Class) -> bool {
        // A cursor may have outlived its transaction on the connection that is kept.
        control::is_control(class) || (matches!(class, Class::Cursor(_)) && !self.is_bound())
    }
}

/// Whether a statement is the router's own to answer, wherever the session is.
pub(super) fn is_housekeeping(class: &Class) -> bool {
    matches!(
        class,
        Class::Deallocate(_) | Class::DiscardAll | Class::DiscardOther(_) | Class::Unlisten(_)
    )
}

/// Whether a statement never needs a backend to be described: it has no parameters and no rows.
pub(super) fn is_bare(class: &Class) -> bool {
    control::is_control(class) || is_housekeeping(class)
}

/// The description of a statement without parameters and rows.
pub(super) fn bare_description() -> Bytes {
    local::frames(|out| {
        // No parameters: there is no count that could be too large.
        let _written = encode::parameter_description(out, &[]);
        encode::no_data(out);
    })
}

/// The refusal of a statement name that nobody knows.
pub(super) fn no_statement(name: &[u8]) -> Refusal {
    let message = if name.is_empty() {
        "unnamed prepared statement does not exist".to_owned()
    } else {
        format!(
            "prepared statement \"{}\" does not exist",
            String::from_utf8_lossy(name)
        )
    };
    Refusal {
        sqlstate: "26000",
        message,
        hint: None,
    }
}
