//! Where a session wants its statements to run: `SET sharding.key`, `SET sharding.shard`,
//! `SET sharding.consistency`, whether on several shards: `SET sharding.cross_shard_writes`, and
//! where its new tables are: `SET sharding.new_tables`. The router answers these itself, as it does
//! `SET client_encoding`; no shard hears of them.
//!
//! Their values follow transactions and savepoints as PostgreSQL's own settings do.

use bytes::Bytes;
use wire::SqlState;
use wire::backend::encode;

use super::attach::Stopped;
use super::{Session, answers, local};
use crate::charset::Named;
use crate::query::{CONSISTENCIES, Class, Hints, NewTables, Setting, Statement};
use crate::route::{self, Hint, Origin, Parameters, Plan, Refusal, Target};
use crate::view::Serving;

/// Most bytes of a value: more than any key has.
const MAX_VALUE_BYTES: usize = 4 << 10;

/// One of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HintName {
    Key,
    Shard,
    Consistency,
    CrossShardWrites,
    NewTables,
    ClientEncoding,
}

impl HintName {
    /// The setting of this name, if it is one of them.
    #[must_use]
    pub(super) fn parse(name: &str) -> Option<Self> {
        match name {
            "sharding.key" => Some(Self::Key),
            "sharding.shard" => Some(Self::Shard),
            "sharding.consistency" => Some(Self::Consistency),
            "sharding.cross_shard_writes" => Some(Self::CrossShardWrites),
            "sharding.new_tables" => Some(Self::NewTables),
            "client_encoding" => Some(Self::ClientEncoding),
            _ => None,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Key => "sharding.key",
            Self::Shard => "sharding.shard",
            Self::Consistency => "sharding.consistency",
            Self::CrossShardWrites => "sharding.cross_shard_writes",
            Self::NewTables => "sharding.new_tables",
            Self::ClientEncoding => "client_encoding",
        }
    }

    /// What is shown when nothing was set.
    fn default(self) -> &'static str {
        match self {
            Self::Key | Self::Shard => "",
            Self::Consistency => "strong",
            // As the configuration says.
            Self::CrossShardWrites | Self::NewTables => "",
            Self::ClientEncoding => "UTF8",
        }
    }

    fn place(self, hints: &mut Hints) -> &mut Option<String> {
        match self {
            Self::Key => &mut hints.shard_key,
            Self::Shard => &mut hints.shard,
            Self::Consistency => &mut hints.consistency,
            Self::CrossShardWrites => &mut hints.cross_shard_writes,
            Self::NewTables => &mut hints.new_tables,
            Self::ClientEncoding => &mut hints.client_encoding,
        }
    }
}

/// The name that SET, RESET or SHOW is about, when the router answers it.
#[must_use]
pub(super) fn named_by(class: &Class) -> Option<HintName> {
    match class {
        Class::Set(Setting { name, .. }) | Class::Reset(Some(name)) | Class::Show(name) => {
            HintName::parse(name)
        }
        _ => None,
    }
}

/// The session's hints: those committed, and those of the open transaction.
#[derive(Debug, Clone, Default)]
pub(super) struct HintSettings {
    committed: Hints,
    /// What the start-up packet asked for: RESET goes back to it.
    startup: Option<Box<Hints>>,
    open: Option<Box<Open>>,
    savepoints: Vec<(Box<str>, Option<Box<Open>>)>,
}

/// The hints in a transaction that changed them.
#[derive(Debug, Clone)]
struct Open {
    /// In force after COMMIT.
    kept: Hints,
    /// In force until then: SET LOCAL changes these only.
    now: Hints,
}

impl HintSettings {
    /// Sets one as the start-up packet asks for it, like SET.
    pub(super) fn start_with(&mut self, name: HintName, value: &str) -> Result<(), Refusal> {
        let value = usable(name, name.as_str(), value)?;
        let startup = self.startup.get_or_insert_default();
        *name.place(startup) = value.map(ToOwned::to_owned);
        self.committed.clone_from(startup);
        Ok(())
    }

    fn startup(&self) -> Hints {
        self.startup.as_deref().cloned().unwrap_or_default()
    }

    /// RESET of one, which SET TO DEFAULT is, too.
    fn reset(&mut self, name: HintName, local: bool) {
        let value = name.place(&mut self.startup()).take();
        self.set(name, value.as_deref(), local);
    }

    /// The client's encoding.
    #[must_use]
    pub(super) fn encoding(&self) -> Named {
        let set = self.current().client_encoding.as_deref();
        set.and_then(Named::find).unwrap_or(Named::UTF8)
    }

    /// Whether it is UTF-8, and RESET would leave it so.
    #[must_use]
    pub(super) fn is_utf8(&self) -> bool {
        let of = |hints: &Hints| {
            hints
                .client_encoding
                .as_deref()
                .is_none_or(|it| it == "UTF8")
        };
        of(self.current()) && self.startup.as_deref().is_none_or(of)
    }

    /// Those in force now.
    #[must_use]
    pub(super) fn current(&self) -> &Hints {
        self.open.as_ref().map_or(&self.committed, |open| &open.now)
    }

    /// Sets one within the transaction; no value switches it off.
    fn set(&mut self, name: HintName, value: Option<&str>, local: bool) {
        let open = self.open();
        *name.place(&mut open.now) = value.map(ToOwned::to_owned);
        if !local {
            *name.place(&mut open.kept) = value.map(ToOwned::to_owned);
        }
    }

    /// RESET ALL.
    pub(super) fn reset_all(&mut self) {
        let startup = self.startup();
        if *self.current() != startup || self.open.is_some() {
            *self.open() = Open {
                kept: startup.clone(),
                now: startup,
            };
        }
    }

    fn open(&mut self) -> &mut Open {
        self.open.get_or_insert_with(|| {
            Box::new(Open {
                kept: self.committed.clone(),
                now: self.committed.clone(),
            })
        })
    }

    /// Remembers them at a savepoint.
    pub(super) fn savepoint(&mut self, name: &str) {
        self.savepoints.push((name.into(), self.open.clone()));
    }

    /// Goes back to a savepoint, which stays.
    pub(super) fn rollback_to(&mut self, name: &str) {
        let mut known = self.savepoints.iter();
        let Some(at) = known.rposition(|(known, _)| **known == *name) else {
            return;
        };
        self.savepoints.truncate(at + 1);
        if let Some((_, open)) = self.savepoints.last() {
            self.open.clone_from(open);
        }
    }

    /// The transaction ended.
    pub(super) fn end_transaction(&mut self, committed: bool) {
        if let (true, Some(open)) = (committed, self.open.take()) {
            self.committed = open.kept;
        }
        self.open = None;
        self.savepoints.clear();
    }

    /// DISCARD ALL.
    pub(super) fn discard(&mut self) {
        let startup = self.startup.take();
        *self = Self {
            committed: startup.as_deref().cloned().unwrap_or_default(),
            startup,
            ..Self::default()
        };
    }
}

impl Session {
    /// The answer to SET, RESET or SHOW of one of the hints.
    pub(super) fn answer_hint(&mut self, name: HintName, class: &Class) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        match class {
            Class::Set(setting) => {
                let value = value_of(name, setting)?;
                if setting.local && !self.transaction.is_block() {
                    let text = "SET LOCAL can only be used in transaction blocks";
                    let code = SqlState::NO_ACTIVE_TRANSACTION;
                    return Ok(local::complete_with_warning("SET", code, text));
                }
                match value {
                    Some(value) => self.settings.hints.set(name, value, setting.local),
                    None => self.settings.hints.reset(name, setting.local),
                }
                Ok(self.with_encoding(local::complete("SET")))
            }
            Class::Reset(_) => {
                self.settings.hints.reset(name, false);
                Ok(self.with_encoding(local::complete("RESET")))
            }
            _ => {
                let hints = self.settings.hints.current();
                let value = match name {
                    HintName::Key => &hints.shard_key,
                    HintName::Shard => &hints.shard,
                    HintName::Consistency => &hints.consistency,
                    HintName::CrossShardWrites => &hints.cross_shard_writes,
                    HintName::NewTables => &hints.new_tables,
                    HintName::ClientEncoding => &hints.client_encoding,
                };
                let default = match name {
                    HintName::CrossShardWrites => on_or_off(self.may_write_across()),
                    HintName::NewTables => self.new_tables().as_str(),
                    name => name.default(),
                };
                let value = value.as_deref().unwrap_or(default);
                let mut out = answers::rows([value])?;
                encode::command_complete(&mut out, "SHOW");
                Ok(out.freeze())
            }
        }
    }

    /// Whether a transaction may write on several shards.
    pub(super) fn may_write_across(&self) -> bool {
        let switched = self.settings.hints.current().cross_shard_writes.as_deref();
        let default = self.front.core.config.sharding.cross_shard_writes;
        switched.map_or(default, |word| word == "on")
    }

    /// What becomes of a new table that is not said to be anything.
    pub(super) fn new_tables(&self) -> NewTables {
        let word = self.settings.hints.current().new_tables.as_deref();
        let default = self.front.core.config.sharding.new_tables;
        word.and_then(NewTables::parse).unwrap_or(default)
    }

    /// The hints of a statement, and whose they are: those of its comments, else the session's.
    pub(super) fn hints<'a>(&'a self, statement: &'a Statement) -> Option<(&'a Hints, Origin)> {
        if !statement.hints.is_empty() {
            return Some((&statement.hints, Origin::Comment));
        }
        let hints = self.settings.hints.current();
        (!hints.is_empty()).then_some((hints, Origin::Setting))
    }

    /// Where one execution of a statement goes, under its hints or the session's.
    pub(super) fn place(
        &self,
        statement: &Statement,
        plan: &Plan,
        params: &dyn Parameters,
        serving: &Serving,
    ) -> Result<Target, Refusal> {
        self.check_bound(plan, serving)?;
        let hint = match self.hints(statement) {
            Some((hints, origin)) => Hint::read(hints, origin, plan, &serving.snapshot)?,
            None => Hint::default(),
        };
        route::resolve_under(plan, params, &hint, &serving.snapshot)
    }
}

/// The value to set, none within when it switches the hint off; none for DEFAULT.
fn value_of(name: HintName, setting: &Setting) -> Result<Option<Option<&str>>, Refusal> {
    let Some(values) = &setting.values else {
        return Ok(None);
    };
    match values.as_slice() {
        [value] => usable(name, &setting.name, value).map(Some),
        _ => Err(Refusal {
            sqlstate: "22023",
            message: format!("SET {} takes only one argument", setting.name),
            hint: None,
        }),
    }
}

/// A value as it is kept: none for the empty string, which switches the hint off.
fn usable<'a>(name: HintName, shown: &str, value: &'a str) -> Result<Option<&'a str>, Refusal> {
    if value.len() > MAX_VALUE_BYTES {
        return Err(Refusal {
            sqlstate: "54000",
            message: format!("setting \"{shown}\" takes at most {MAX_VALUE_BYTES} bytes"),
            hint: None,
        });
    }
    if name == HintName::ClientEncoding {
        return encoding(value).map(Some);
    }
    let value = Some(value).filter(|value| !value.is_empty());
    check_word(name, value)?;
    if name == HintName::CrossShardWrites {
        return value.map(switch).transpose();
    }
    Ok(value)
}

/// The name of an encoding, as PostgreSQL shows it.
fn encoding(value: &str) -> Result<&'static str, Refusal> {
    let refused = |sqlstate, message, hint: Option<&str>| Refusal {
        sqlstate,
        message,
        hint: hint.map(str::to_owned),
    };
    match Named::find(value) {
        Some(Named::Unsupported(name)) => {
            let message = format!("client_encoding \"{name}\" is not supported by the router");
            Err(refused("0A000", message, Some("use UTF8")))
        }
        Some(named @ (Named::AsItIs(_) | Named::Converted(_))) => Ok(named.name()),
        None => {
            let word: String = value.chars().take(64).collect();
            let message = format!("invalid value for parameter \"client_encoding\": \"{word}\"");
            Err(refused("22023", message, None))
        }
    }
}

/// What PostgreSQL takes for a boolean, as it shows it.
fn switch<'a>(value: &str) -> Result<&'a str, Refusal> {
    let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
    if is(&["on", "true", "yes", "1", "t", "y"]) {
        return Ok("on");
    }
    if is(&["off", "false", "no", "0", "f", "n"]) {
        return Ok("off");
    }
    Err(Refusal {
        sqlstate: "22023",
        message: "parameter \"sharding.cross_shard_writes\" requires a Boolean value".to_owned(),
        hint: None,
    })
}

fn on_or_off(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// Refuses a word that is none of a setting's.
fn check_word(name: HintName, value: Option<&str>) -> Result<(), Refusal> {
    let (known, available) = match (name, value) {
        (
            HintName::Key | HintName::Shard | HintName::CrossShardWrites | HintName::ClientEncoding,
            _,
        )
        | (_, None) => return Ok(()),
        (HintName::Consistency, Some(word)) => (CONSISTENCIES.contains(&word), "strong, eventual"),
        (HintName::NewTables, Some(word)) => {
            (NewTables::parse(word).is_some(), "unregistered, unsharded")
        }
    };
    if known {
        return Ok(());
    }
    let word: String = value.unwrap_or_default().chars().take(64).collect();
    Err(Refusal {
        sqlstate: "22023",
        message: format!(
            "invalid value for parameter \"{}\": \"{word}\"",
            name.as_str()
        ),
        hint: Some(format!("Available values: {available}.")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(settings: &HintSettings) -> Option<&str> {
        settings.current().shard_key.as_deref()
    }

    #[test]
    fn a_hint_of_a_rolled_back_transaction_is_forgotten() {
        let mut settings = HintSettings::default();
        settings.set(HintName::Key, Some("1"), false);
        settings.end_transaction(true);
        settings.set(HintName::Key, Some("2"), false);
        assert_eq!(key(&settings), Some("2"));
        settings.end_transaction(false);
        assert_eq!(key(&settings), Some("1"));
    }

    #[test]
    fn a_local_hint_ends_with_the_transaction() {
        let mut settings = HintSettings::default();
        settings.set(HintName::Shard, Some("a"), false);
        settings.set(HintName::Key, Some("1"), false);
        settings.set(HintName::Key, Some("2"), true);
        assert_eq!(key(&settings), Some("2"));
        settings.end_transaction(true);
        assert_eq!(key(&settings), Some("1"));
        assert_eq!(settings.current().shard.as_deref(), Some("a"));
    }

    #[test]
    fn a_savepoint_gives_its_hints_back() {
        let mut settings = HintSettings::default();
        settings.savepoint("a");
        settings.set(HintName::Key, Some("1"), false);
        settings.savepoint("b");
        settings.set(HintName::Key, Some("2"), true);
        settings.rollback_to("b");
        assert_eq!(key(&settings), Some("1"));
        settings.rollback_to("a");
        settings.rollback_to("none");
        assert_eq!(key(&settings), None);
    }

    #[test]
    fn reset_all_resets_hints_within_the_transaction() {
        let mut settings = HintSettings::default();
        settings.set(HintName::Key, Some("1"), false);
        settings.end_transaction(true);
        settings.reset_all();
        assert_eq!(key(&settings), None);
        settings.end_transaction(false);
        assert_eq!(key(&settings), Some("1"));
    }

    #[test]
    fn the_empty_string_switches_a_hint_off_and_default_is_none() {
        let setting = |values: Option<&[&str]>| Setting {
            parameter: None,
            name: "sharding.key".to_owned(),
            local: false,
            values: values.map(|values| values.iter().map(|&value| value.to_owned()).collect()),
        };
        let value_of = |values| {
            value_of(HintName::Key, &setting(values))
                .map(|value| value.map(|value| value.map(str::to_owned)))
        };
        assert_eq!(value_of(Some(&[""])), Ok(Some(None)));
        assert_eq!(value_of(None), Ok(None));
        assert_eq!(value_of(Some(&["5"])), Ok(Some(Some("5".to_owned()))));
        assert!(value_of(Some(&["5", "6"])).is_err());
        assert!(value_of(Some(&[])).is_err());
    }

    #[test]
    fn reset_and_discard_go_back_to_what_the_start_asked_for() {
        let mut settings = HintSettings::default();
        settings.start_with(HintName::Key, "1").unwrap();
        assert!(settings.start_with(HintName::Consistency, "maybe").is_err());
        assert_eq!(key(&settings), Some("1"));
        settings.set(HintName::Key, Some("2"), false);
        settings.end_transaction(true);
        settings.reset(HintName::Key, false);
        assert_eq!(key(&settings), Some("1"));
        settings.set(HintName::Key, None, false);
        settings.end_transaction(true);
        assert_eq!(key(&settings), None);
        settings.reset_all();
        settings.end_transaction(true);
        assert_eq!(key(&settings), Some("1"));
        settings.set(HintName::Shard, Some("a"), false);
        settings.discard();
        assert_eq!(
            (key(&settings), settings.current().shard.as_deref()),
            (Some("1"), None)
        );
    }
}
