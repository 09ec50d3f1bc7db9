//! Pure: what a statement does to the session besides its answer.

use std::sync::Arc;

use super::state::{Preamble, SessionSettings};
use crate::pool::settings::Settings;
use crate::query::{Change, Class, Reach, Setting, Statement};
use crate::route::{Parameters, Refusal};

/// What is to be remembered once a statement has been completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    None,
    /// A setting was set for the session.
    Set(Setting, Arc<str>),
    /// A setting was reset; none is all of them.
    Reset(Option<String>, Arc<str>),
    /// COMMIT.
    Commit,
    /// ROLLBACK.
    Rollback,
    /// SAVEPOINT, and its text.
    Savepoint(String, Arc<str>),
    /// RELEASE SAVEPOINT, and its text.
    Release(String, Arc<str>),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// DISCARD ALL.
    Discard,
    /// It does something to the transaction that is not repeated elsewhere.
    Pins,
    /// SET CONSTRAINTS, and its text.
    Constraints(Arc<str>),
    /// COPY FROM STDIN: what follows its Execute is data.
    CopyIn,
    /// It left something with the connection; the name of a table, if it is one.
    Binds(Option<Box<str>>),
    /// It changed the schema of the one shard that it ran on.
    Reshapes,
}

impl Effect {
    /// The effect of a statement, which is what it does by itself and what it calls does.
    #[must_use]
    pub(super) fn of_statement(statement: &Statement, sql: &str) -> Self {
        match Self::of(&statement.class, sql) {
            Self::None | Self::Pins if keeps_connection(statement) => Self::Binds(None),
            effect => effect,
        }
    }

    /// The effect of a statement of a class with this text.
    #[must_use]
    pub(super) fn of(class: &Class, sql: &str) -> Self {
        match class {
            Class::Set(setting) => Self::Set(setting.clone(), sql.into()),
            Class::Reset(name) => Self::Reset(name.clone(), sql.into()),
            Class::Commit { .. } => Self::Commit,
            Class::Rollback { .. } => Self::Rollback,
            Class::Savepoint(name) => Self::Savepoint(name.clone(), sql.into()),
            Class::Release(name) => Self::Release(name.clone(), sql.into()),
            Class::RollbackTo(name) => Self::RollbackTo(name.clone()),
            Class::DiscardAll => Self::Discard,
            Class::SetConstraints => Self::Constraints(sql.into()),
            Class::Listen(_) | Class::DeclareCursor { hold: true, .. } => Self::Binds(None),
            Class::Begin { .. } | Class::DeclareCursor { .. } => Self::Pins,
            Class::Ddl(ddl) if ddl.temporary => {
                let mut created = ddl.changes.iter().filter_map(|change| match change {
                    Change::Create { table, .. } => Some(table.name.as_str().into()),
                    _ => None,
                });
                Self::Binds(created.next())
            }
            Class::Ddl(ddl) if ddl.changes.iter().any(reshapes) => Self::Reshapes,
            Class::Copy(copy) if copy.from => Self::CopyIn,
            _ => Self::None,
        }
    }

    /// The effect of a statement whose parameters are known: the value of set_config may be one.
    ///
    /// # Errors
    /// The [`Refusal`] of a value that the session's settings cannot take.
    pub(super) fn bound(
        statement: &Statement,
        sql: &str,
        parameters: &impl Parameters,
        settings: &Settings,
    ) -> Result<Self, Refusal> {
        let Class::Set(setting) = &statement.class else {
            return Ok(Self::of_statement(statement, sql));
        };
        let Some(parameter) = setting.parameter else {
            return Ok(Self::of_statement(statement, sql));
        };
        let value = parameters.get(parameter).and_then(|given| given.value);
        let value = value.and_then(|value| std::str::from_utf8(value).ok());
        let value = value.ok_or_else(|| unsupported(&setting.name, "NULL"))?;
        let quoted = |text: &str| text.replace('\'', "''");
        let sql = format!(
            "SELECT set_config('{}', '{}', {})",
            quoted(&setting.name),
            quoted(value),
            setting.local
        );
        let setting = setting.clone().of_value(value);
        check(&setting, settings, &sql)?;
        Ok(Self::Set(setting, sql.into()))
    }

    /// Whether the transaction cannot move to another shard from here on.
    #[must_use]
    pub(super) fn pins(&self) -> bool {
        matches!(
            self,
            Self::Commit
                | Self::Rollback
                | Self::Discard
                | Self::Pins
                | Self::Constraints(_)
                | Self::CopyIn
                | Self::Binds(_)
        )
    }

    /// Whether the statement may end a transaction.
    #[must_use]
    pub(super) fn ends(&self) -> bool {
        matches!(self, Self::Commit)
    }

    /// Whether the transaction stands elsewhere once it is completed.
    #[must_use]
    pub(super) fn moves_transaction(&self) -> bool {
        matches!(self, Self::Commit | Self::Rollback | Self::RollbackTo(_))
    }

    /// Adds the statement to what has to be repeated when the transaction moves, or goes on on
    /// another shard as well; false when it cannot be.
    #[must_use]
    pub(super) fn record(&self, preamble: &mut Preamble) -> bool {
        match self {
            Self::None | Self::Reshapes => true,
            Self::Set(_, sql) | Self::Reset(_, sql) | Self::Constraints(sql) => preamble.push(sql),
            Self::Savepoint(name, sql) => preamble.savepoint(name, sql),
            Self::Release(name, sql) => preamble.release(name, sql),
            Self::RollbackTo(name) => preamble.rollback_to(name),
            Self::Commit
            | Self::Rollback
            | Self::Discard
            | Self::Pins
            | Self::CopyIn
            | Self::Binds(_) => false,
        }
    }

    /// Whether what comes after the statement may be read under other settings.
    #[must_use]
    pub(super) fn changes(&self) -> bool {
        matches!(self, Self::Set(..) | Self::Reset(..) | Self::Discard)
    }

    /// Whether it puts a setting back to a default that a start-up packet replaced, so that the
    /// backend is not as the session's settings say.
    #[must_use]
    pub(super) fn undoes(&self, startup: &Settings) -> bool {
        match self {
            Self::Reset(None, _) | Self::Discard => !startup.is_empty(),
            Self::Reset(Some(name), _) => startup.has(name),
            Self::Set(setting, _) => setting.values.is_none() && startup.has(&setting.name),
            Self::None
            | Self::Commit
            | Self::Rollback
            | Self::Savepoint(..)
            | Self::Release(..)
            | Self::RollbackTo(_)
            | Self::Pins
            | Self::Constraints(_)
            | Self::CopyIn
            | Self::Binds(_)
            | Self::Reshapes => false,
        }
    }

    /// Remembers the effect of a completed statement.
    pub(super) fn apply(&self, settings: &mut SessionSettings) {
        match self {
            Self::None
            | Self::Pins
            | Self::Constraints(_)
            | Self::CopyIn
            | Self::Binds(_)
            | Self::Reshapes => {}
            Self::Set(setting, sql) => set(settings, setting, sql),
            Self::Reset(name, _) => settings.reset(name.as_deref()),
            Self::Discard => settings.discard(),
            Self::Commit => settings.end_transaction(true),
            Self::Rollback => settings.end_transaction(false),
            Self::Savepoint(name, _) => settings.savepoint(name),
            Self::Release(name, _) => settings.release(name),
            Self::RollbackTo(name) => settings.rollback_to(name),
        }
    }
}

/// Whether a statement that was prepared before may be another one after the change.
fn reshapes(change: &Change) -> bool {
    match change {
        Change::Create { .. }
        | Change::Alter(_)
        | Change::Drop(_)
        | Change::Rename(_)
        | Change::Column { .. } => true,
        Change::Mention(_) | Change::Truncate(_) | Change::Unique { .. } => false,
    }
}

/// Whether something that a statement calls stays with the connection.
fn keeps_connection(statement: &Statement) -> bool {
    let mut calls = statement.functions.iter();
    calls.any(|call| call.reach == Reach::Session)
}

fn set(settings: &mut SessionSettings, setting: &Setting, sql: &str) {
    let Setting {
        name,
        local,
        values,
        parameter: _,
    } = setting;
    if is_passing(name) {
        return;
    }
    let startup = Arc::clone(settings.startup());
    let edit = |known: &mut Settings| match values {
        None => known.restore(name, &startup),
        Some(values) if name == "session characteristics" => {
            for pair in values.chunks_exact(2) {
                if let [of_transactions, value] = pair {
                    known.insert_value(&format!("default_{of_transactions}"), value);
                }
            }
        }
        Some(values) => {
            known.insert_statement(name, sql);
            if name == "search_path" {
                known.set_search_path(values);
            }
        }
    };
    if *local {
        settings.change_locally(edit);
    } else {
        settings.change(edit);
    }
}

/// Whether a setting does not outlive the transaction, however it is set, or is not to be set
/// again: a seed that is planted twice gives the same numbers twice.
fn is_passing(name: &str) -> bool {
    matches!(
        name,
        "transaction"
            | "transaction_isolation"
            | "transaction_read_only"
            | "transaction_deferrable"
            | "seed"
    )
}

/// Refuses a setting that the router could not follow, or under which it would misread statements.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check(setting: &Setting, settings: &Settings, sql: &str) -> Result<(), Refusal> {
    let value = setting.values.as_ref().map(|values| values.join(","));
    check_value(&setting.name, value.as_deref())?;
    if setting.name != "transaction" && setting.values.as_ref().is_some_and(Vec::is_empty) {
        return Err(Refusal {
            sqlstate: "0A000",
            message: format!(
                "SET {} FROM CURRENT is not supported by the router",
                setting.name
            ),
            hint: Some("name the value".to_owned()),
        });
    }
    if settings.bytes() + sql.len() > Settings::MAX_BYTES {
        return Err(Refusal {
            sqlstate: "54000",
            message: format!(
                "the session's settings exceed {} bytes",
                Settings::MAX_BYTES
            ),
            hint: Some("reset those that are no longer needed".to_owned()),
        });
    }
    Ok(())
}

/// Refuses to go back inside a transaction block to what the start-up packet asked for: the backend
/// would go back to the server's default, and the session's settings are established between
/// transactions only.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check_reset(
    name: Option<&str>,
    startup: &Settings,
    in_block: bool,
) -> Result<(), Refusal> {
    let differs = name.map_or(!startup.is_empty(), |name| startup.has(name));
    if !(in_block && differs) {
        return Ok(());
    }
    Err(Refusal {
        sqlstate: "0A000",
        message: format!(
            "RESET {} inside a transaction block is not supported: the connection was opened with \
             a value of its own",
            name.unwrap_or("ALL")
        ),
        hint: Some("reset it between transactions, or SET it to a value".to_owned()),
    })
}

/// As [`check`], for a value from a start-up packet. No value is the default.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check_value(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    let Some(value) = value else { return Ok(()) };
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    let lower = name.to_ascii_lowercase();
    if lower == "session_replication_role" || lower.starts_with("vg.") {
        return Err(Refusal {
            sqlstate: "42501",
            message: format!("setting \"{name}\" is not a client's to set"),
            hint: Some(
                "it switches triggers off by which rows are moved between shards".to_owned(),
            ),
        });
    }
    let allowed = match lower.as_str() {
        // Statements are read with standard strings.
        "standard_conforming_strings" => is(&["on", "true", "yes", "1", "default"]),
        "transform_null_equals" => is(&["off", "false", "no", "0", "default"]),
        name => !name.starts_with("sharding."),
    };
    if allowed {
        return Ok(());
    }
    Err(unsupported(name, value))
}

/// What a client is told whose encoding is converted, and whose copy data would be as well.
pub(super) fn other_encoding() -> Refusal {
    Refusal::unsupported("COPY with ENCODING is not supported while client_encoding is not UTF8")
        .hint("leave it out for data in the client_encoding, or set client_encoding to UTF8")
}

fn unsupported(name: &str, value: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!("setting \"{name}\" to \"{value}\" is not supported by the router"),
        hint: None,
    }
}

#[cfg(test)]
mod tests;
