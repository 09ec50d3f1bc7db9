//! Pure: what a statement does to the session besides its answer.

use std::sync::Arc;

use super::state::{Preamble, SessionSettings};
use crate::pool::settings::Settings;
use crate::query::{Class, Setting};
use crate::route::Refusal;

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
    /// COPY FROM STDIN: what follows its Execute is data.
    CopyIn,
}

impl Effect {
    /// The effect of a statement with this text.
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
            Class::Begin { .. } | Class::SetConstraints | Class::DeclareCursor { .. } => Self::Pins,
            Class::Copy(copy) if copy.from => Self::CopyIn,
            _ => Self::None,
        }
    }

    /// Whether the transaction cannot move to another shard from here on.
    #[must_use]
    pub(super) fn pins(&self) -> bool {
        matches!(
            self,
            Self::Commit | Self::Rollback | Self::Discard | Self::Pins | Self::CopyIn
        )
    }

    /// Whether the statement may end a transaction.
    #[must_use]
    pub(super) fn ends(&self) -> bool {
        matches!(self, Self::Commit)
    }

    /// Adds the statement to what has to be repeated when the transaction moves; false when it
    /// cannot be.
    #[must_use]
    pub(super) fn record(&self, preamble: &mut Preamble) -> bool {
        match self {
            Self::None => true,
            Self::Set(_, sql) | Self::Reset(_, sql) => preamble.push(sql),
            Self::Savepoint(name, sql) => preamble.savepoint(name, sql),
            Self::Release(name, sql) => preamble.release(name, sql),
            Self::RollbackTo(name) => preamble.rollback_to(name),
            Self::Commit | Self::Rollback | Self::Discard | Self::Pins | Self::CopyIn => false,
        }
    }

    /// Remembers the effect of a completed statement.
    pub(super) fn apply(&self, settings: &mut SessionSettings) {
        match self {
            Self::None | Self::Release(..) | Self::Pins | Self::CopyIn => {}
            Self::Set(setting, sql) => set(settings, setting, sql),
            Self::Reset(name, _) => settings.reset(name.as_deref()),
            Self::Discard => settings.discard(),
            Self::Commit => settings.end_transaction(true),
            Self::Rollback => settings.end_transaction(false),
            Self::Savepoint(name, _) => settings.savepoint(name),
            Self::RollbackTo(name) => settings.rollback_to(name),
        }
    }
}

fn set(settings: &mut SessionSettings, setting: &Setting, sql: &str) {
    let is_path = setting.name == "search_path";
    if setting.local {
        if is_path {
            settings.set_local_search_path(setting.values.clone());
        }
        return;
    }
    settings.change(|known| match &setting.values {
        None => known.remove(&setting.name),
        Some(values) => {
            known.insert_statement(&setting.name, sql);
            if is_path {
                known.set_search_path(values);
            }
        }
    });
}

/// Refuses a setting that the router could not follow, or under which it would misread statements.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check(setting: &Setting, settings: &Settings, sql: &str) -> Result<(), Refusal> {
    let value = setting.values.as_ref().map(|values| values.join(","));
    check_value(&setting.name, value.as_deref())?;
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

/// As [`check`], for a value from a start-up packet. No value is the default.
///
/// # Errors
/// The [`Refusal`].
pub(super) fn check_value(name: &str, value: Option<&str>) -> Result<(), Refusal> {
    let Some(value) = value else { return Ok(()) };
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    let allowed = match name.to_ascii_lowercase().as_str() {
        "client_encoding" | "names" => is(&["utf8", "utf-8", "unicode", "sql_ascii", "default"]),
        // Statements are read with standard strings.
        "standard_conforming_strings" => is(&["on", "true", "yes", "1", "default"]),
        "transform_null_equals" => is(&["off", "false", "no", "0", "default"]),
        name => !name.starts_with("sharding."),
    };
    if allowed {
        return Ok(());
    }
    Err(Refusal {
        sqlstate: "0A000",
        message: format!("setting \"{name}\" to \"{value}\" is not supported by the router"),
        hint: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(name: &str, value: &str, local: bool) -> Setting {
        Setting {
            name: name.into(),
            local,
            values: Some(vec![value.into()]),
        }
    }

    #[test]
    fn a_setting_of_a_rolled_back_transaction_is_forgotten() {
        let mut settings = SessionSettings::default();
        Effect::Set(
            setting("timezone", "UTC", false),
            "SET timezone='UTC'".into(),
        )
        .apply(&mut settings);
        assert!(!settings.current().is_empty());
        Effect::Rollback.apply(&mut settings);
        assert!(settings.current().is_empty());
    }

    #[test]
    fn a_local_search_path_ends_with_the_transaction() {
        let mut settings = SessionSettings::default();
        Effect::Set(
            setting("search_path", "a", true),
            "SET LOCAL search_path=a".into(),
        )
        .apply(&mut settings);
        assert_eq!(settings.search_path(), Some(&["a".to_owned()][..]));
        settings.end_transaction(true);
        assert_eq!(settings.search_path(), None);
        assert!(settings.committed().is_empty());
    }

    #[test]
    fn an_encoding_that_statements_cannot_be_read_in_is_refused() {
        assert!(check_value("client_encoding", Some("LATIN1")).is_err());
        assert!(check_value("client_encoding", Some("utf8")).is_ok());
        assert!(check_value("standard_conforming_strings", Some("off")).is_err());
    }
}
