//! Pure: transaction control and statement housekeeping while the session holds no backend.
//!
//! Answers are word for word those of PostgreSQL 15 (`src/backend/access/transam/xact.c` raises
//! them), so that an application cannot tell that no shard was asked.

use bytes::Bytes;
use wire::SqlState;

use super::local;
use super::state::{Preamble, Transaction};
use crate::error::Error;
use crate::query::Class;
use crate::route::Refusal;

/// What a statement came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Controlled {
    /// The transaction from now on.
    pub(super) transaction: Transaction,
    /// The answer, or the error.
    pub(super) answer: Result<Bytes, Refused>,
}

/// An error of [`control`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused(pub(super) Refusal);

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused.0)
    }
}

/// Whether a class is one that [`control`] answers.
#[must_use]
pub(super) fn is_control(class: &Class) -> bool {
    matches!(
        class,
        Class::Begin { .. }
            | Class::Commit { .. }
            | Class::Rollback { .. }
            | Class::Savepoint(_)
            | Class::Release(_)
            | Class::RollbackTo(_)
    )
}

/// Whether a statement of this class ends a transaction as a whole.
#[must_use]
pub(super) fn ends(class: &Class) -> bool {
    matches!(class, Class::Commit { .. } | Class::Rollback { .. })
}

/// Whether a statement of this class is still heard in a failed transaction.
#[must_use]
pub(super) fn is_exit(class: &Class) -> bool {
    matches!(
        class,
        Class::Commit { .. } | Class::Rollback { .. } | Class::RollbackTo(_)
    )
}

/// Answers a transaction control statement of a session that holds no backend; `sql` is its text.
/// None for any other statement.
#[must_use]
pub(super) fn control(transaction: &Transaction, class: &Class, sql: &str) -> Option<Controlled> {
    if !is_control(class) {
        return None;
    }
    Some(match transaction {
        Transaction::Idle => outside(class, sql),
        Transaction::Pending(preamble) => pending(preamble.clone(), class, sql),
        Transaction::FailedPending(preamble) => failed(preamble.clone(), class),
        // An open transaction has a backend, which answers itself.
        Transaction::Open | Transaction::Failed => return None,
    })
}

fn outside(class: &Class, sql: &str) -> Controlled {
    let no_block = |command: &str| {
        let message = format!("{command} can only be used in transaction blocks");
        refused(Transaction::Idle, "25P01", message)
    };
    let no_transaction = |tag| {
        let text = "there is no transaction in progress";
        let frames = local::complete_with_warning(tag, SqlState::NO_ACTIVE_TRANSACTION, text);
        Controlled {
            transaction: Transaction::Idle,
            answer: Ok(frames),
        }
    };
    match class {
        Class::Begin { .. } => done(Transaction::Pending(Preamble::new(sql)), begin_tag(sql)),
        Class::Commit { chain: true } => no_block("COMMIT AND CHAIN"),
        Class::Rollback { chain: true } => no_block("ROLLBACK AND CHAIN"),
        Class::Commit { chain: false } => no_transaction("COMMIT"),
        Class::Release(_) => no_block("RELEASE SAVEPOINT"),
        Class::RollbackTo(_) => no_block("ROLLBACK TO SAVEPOINT"),
        Class::Savepoint(_) => no_block("SAVEPOINT"),
        _ => no_transaction("ROLLBACK"),
    }
}

fn pending(mut preamble: Preamble, class: &Class, sql: &str) -> Controlled {
    match class {
        Class::Begin { .. } => {
            let text = "there is already a transaction in progress";
            let frames =
                local::complete_with_warning(begin_tag(sql), SqlState::ACTIVE_TRANSACTION, text);
            Controlled {
                transaction: Transaction::Pending(preamble),
                answer: Ok(frames),
            }
        }
        Class::Commit { chain } => done(after_end(&preamble, *chain), "COMMIT"),
        Class::Savepoint(name) => {
            if preamble.savepoint(name, sql) {
                done(Transaction::Pending(preamble), "SAVEPOINT")
            } else {
                too_long(preamble)
            }
        }
        Class::Release(name) if !preamble.has_savepoint(name) => no_savepoint(preamble, name),
        Class::Release(name) => {
            if preamble.release(name, sql) {
                done(Transaction::Pending(preamble), "RELEASE")
            } else {
                too_long(preamble)
            }
        }
        Class::RollbackTo(name) => {
            if preamble.rollback_to(name) {
                done(Transaction::Pending(preamble), "ROLLBACK")
            } else {
                no_savepoint(preamble, name)
            }
        }
        Class::Rollback { chain } => done(after_end(&preamble, *chain), "ROLLBACK"),
        _ => done(Transaction::Idle, "ROLLBACK"),
    }
}

fn failed(mut preamble: Preamble, class: &Class) -> Controlled {
    match class {
        Class::Commit { chain } | Class::Rollback { chain } => {
            done(after_end(&preamble, *chain), "ROLLBACK")
        }
        Class::RollbackTo(name) => {
            if preamble.rollback_to(name) {
                done(Transaction::Pending(preamble), "ROLLBACK")
            } else {
                no_savepoint(preamble, name)
            }
        }
        _ => Controlled {
            transaction: Transaction::FailedPending(preamble),
            answer: Err(Refused(in_failed_transaction())),
        },
    }
}

/// What every other statement of a failed transaction is told.
#[must_use]
pub(super) fn in_failed_transaction() -> Refusal {
    Refusal {
        sqlstate: "25P02",
        message: "current transaction is aborted, commands ignored until end of transaction block"
            .to_owned(),
        hint: None,
    }
}

fn after_end(preamble: &Preamble, chain: bool) -> Transaction {
    if chain {
        Transaction::Pending(preamble.chained())
    } else {
        Transaction::Idle
    }
}

fn done(transaction: Transaction, tag: &str) -> Controlled {
    Controlled {
        transaction,
        answer: Ok(local::complete(tag)),
    }
}

fn refused(transaction: Transaction, sqlstate: &'static str, message: String) -> Controlled {
    let refusal = Refusal {
        sqlstate,
        message,
        hint: None,
    };
    Controlled {
        transaction,
        answer: Err(Refused(refusal)),
    }
}

fn no_savepoint(preamble: Preamble, name: &str) -> Controlled {
    let message = format!("savepoint \"{name}\" does not exist");
    refused(Transaction::FailedPending(preamble), "3B001", message)
}

fn too_long(preamble: Preamble) -> Controlled {
    let message = format!(
        "a transaction cannot hold more than {} statements before the first one that needs a shard",
        Preamble::MAX_STATEMENTS
    );
    refused(Transaction::FailedPending(preamble), "54000", message)
}

/// PostgreSQL answers with the words that the client used.
fn begin_tag(sql: &str) -> &'static str {
    let word: String = without_comments(sql)
        .chars()
        .take_while(char::is_ascii_alphabetic)
        .collect();
    if word.eq_ignore_ascii_case("start") {
        "START TRANSACTION"
    } else {
        "BEGIN"
    }
}

/// The text from its first token on.
fn without_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let after = if let Some(line) = rest.strip_prefix("--") {
            line.split_once('\n').map(|(_, after)| after)
        } else if let Some(block) = rest.strip_prefix("/*") {
            block.split_once("*/").map(|(_, after)| after)
        } else {
            None
        };
        match after {
            Some(after) => rest = after.trim_start(),
            None => return rest,
        }
    }
}

#[cfg(test)]
mod tests;
