//! A session's settings: what must hold on a backend before the session's next statement runs.

use wire::quote::literal;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Setting name → the SQL that establishes it. Equal settings are interchangeable backends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    entries: BTreeMap<Box<str>, Box<str>>,
    /// The schemas of `search_path`, when it was set.
    search_path: Option<Vec<String>>,
}

/// Settings that sessions began with. Equal ones are kept once, so that to compare them later is to
/// compare their addresses.
#[derive(Debug, Default)]
pub struct Startups(Mutex<Vec<Weak<Settings>>>);

impl Startups {
    /// Of so many different ones; others are kept by their own session.
    const MOST: usize = 64;

    /// These settings, as others have them already.
    #[must_use]
    pub fn shared(&self, settings: Settings) -> Arc<Settings> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|one| one.strong_count() > 0);
        let mut all = known.iter().filter_map(Weak::upgrade);
        if let Some(same) = all.find(|one| **one == settings) {
            return same;
        }
        let settings = Arc::new(settings);
        if known.len() < Self::MOST {
            known.push(Arc::downgrade(&settings));
        }
        settings
    }
}

/// Settings that RESET ALL leaves as they are, in the order in which they have to be established:
/// a new session user forgets the role. They come last, since they may take away the right to set
/// others.
const IDENTITY: [&str; 2] = ["session_authorization", ROLE];

const ROLE: &str = "role";

impl Settings {
    /// Most bytes of SQL that a session may pile up in its settings.
    pub const MAX_BYTES: usize = 64 << 10;

    /// Whether nothing differs from the shard's own defaults.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Records a setting from a start-up packet.
    pub fn insert_value(&mut self, name: &str, value: &str) {
        let sql = format!(
            "SELECT pg_catalog.set_config({}, {}, false)",
            literal(name),
            literal(value)
        );
        self.insert_statement(name, &sql);
    }

    /// Records a setting by the statement that set it.
    pub fn insert_statement(&mut self, name: &str, sql: &str) {
        let sql = sql.trim_end_matches([';', ' ', '\n', '\t', '\r']);
        self.remove(name);
        self.entries
            .insert(name.to_ascii_lowercase().into(), sql.into());
    }

    /// Forgets one setting.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name.to_ascii_lowercase().as_str());
        if name.eq_ignore_ascii_case("search_path") {
            self.search_path = None;
        }
        if name.eq_ignore_ascii_case("session_authorization") {
            self.entries.remove(ROLE);
        }
    }

    /// Takes one setting from `other`, or forgets it when `other` has none.
    pub fn restore(&mut self, name: &str, other: &Self) {
        self.remove(name);
        let name = name.to_ascii_lowercase();
        if let Some(sql) = other.entries.get(name.as_str()) {
            self.entries.insert(name.as_str().into(), sql.clone());
            if name == "search_path" {
                self.search_path.clone_from(&other.search_path);
            }
        }
    }

    /// Takes all from `other` but what RESET ALL leaves alone.
    pub fn restore_all(&mut self, other: &Self) {
        let mut entries = other.entries.clone();
        for name in IDENTITY {
            match self.entries.remove(name) {
                Some(sql) => entries.insert(name.into(), sql),
                None => entries.remove(name),
            };
        }
        self.entries = entries;
        self.search_path.clone_from(&other.search_path);
    }

    /// Whether a setting differs from the shard's own default.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.entries.contains_key(name)
    }

    /// The statement that sets it, where it differs from the shard's own default.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.entries.get(name).map(|sql| &**sql)
    }

    /// Whether a statement that is parsed under either of them means the same: the constants in it
    /// are read under the settings of that moment.
    #[must_use]
    pub fn read_alike(&self, other: &Self) -> bool {
        self.of_reading().eq(other.of_reading())
    }

    /// The settings that may change what a statement means.
    pub fn of_reading(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries
            .iter()
            .map(|(name, sql)| (&**name, &**sql))
            .filter(|(name, _)| *name != "application_name" && !name.ends_with("_timeout"))
    }

    /// Notes the schemas of a `search_path` that was recorded.
    pub fn set_search_path(&mut self, schemas: &[String]) {
        self.search_path = Some(schemas.to_vec());
    }

    /// The schemas in which unqualified names are looked up; none is the server's default.
    #[must_use]
    pub fn search_path(&self) -> Option<&[String]> {
        self.search_path.as_deref()
    }

    /// Whether transactions were given leave to write, on servers where they only read.
    #[must_use]
    pub fn may_write_by_default(&self) -> bool {
        let names = ["default_transaction_read_only", "session characteristics"];
        names.iter().any(|name| self.entries.contains_key(*name))
    }

    /// Bytes of SQL held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.entries
            .iter()
            .map(|(name, sql)| name.len() + sql.len())
            .sum()
    }

    /// One query string that turns a backend with any settings into one with these.
    #[must_use]
    pub fn establish(&self) -> String {
        let mut sql = String::from("RESET SESSION AUTHORIZATION;RESET ALL");
        let others = self.entries.iter();
        let others = others.filter(|(name, _)| !IDENTITY.contains(&&***name));
        let identity = IDENTITY.iter().filter_map(|name| self.entries.get(*name));
        for statement in others.map(|(_, statement)| statement).chain(identity) {
            // On a line of its own: the one before may end in a comment.
            sql.push_str("\n;");
            sql.push_str(statement);
        }
        sql
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_of_two_sessions_are_one_while_either_lives() {
        let startups = Startups::default();
        let of = |zone| {
            let mut settings = Settings::default();
            settings.insert_value("TimeZone", zone);
            startups.shared(settings)
        };
        let (one, same, other) = (of("UTC"), of("UTC"), of("Asia/Tokyo"));
        assert!(Arc::ptr_eq(&one, &same) && !Arc::ptr_eq(&one, &other));
        let before = Arc::downgrade(&one);
        drop((one, same));
        drop(of("UTC"));
        assert!(before.upgrade().is_none());
    }

    #[test]
    fn establishing_starts_from_the_defaults() {
        let mut settings = Settings::default();
        settings.insert_value("TimeZone", "UTC");
        settings.insert_statement("search_path", "SET search_path TO a, b;");
        assert_eq!(
            settings.establish(),
            "RESET SESSION AUTHORIZATION;RESET ALL\n;SET search_path TO a, b\n;\
             SELECT pg_catalog.set_config('TimeZone', 'UTC', false)"
        );
    }

    #[test]
    fn who_the_session_is_is_established_last_and_the_role_after_the_user() {
        let mut settings = Settings::default();
        settings.insert_statement("session_authorization", "SET SESSION AUTHORIZATION a");
        settings.insert_statement("role", "SET ROLE b");
        settings.insert_statement("work_mem", "SET work_mem = '1MB'");
        let sql = settings.establish();
        let at = |text: &str| sql.find(text).unwrap();
        assert!(at("work_mem") < at("AUTHORIZATION a"), "{sql}");
        assert!(at("AUTHORIZATION a") < at("ROLE b"), "{sql}");
    }

    #[test]
    fn a_new_session_user_forgets_the_role_and_reset_all_does_not() {
        let mut settings = Settings::default();
        settings.insert_statement("role", "SET ROLE b");
        settings.insert_statement("work_mem", "SET work_mem = '1MB'");
        settings.restore_all(&Settings::default());
        assert!(settings.has("role") && !settings.has("work_mem"));
        settings.insert_statement("session_authorization", "SET SESSION AUTHORIZATION a");
        assert!(!settings.has("role"));
        settings.insert_statement("role", "SET ROLE b");
        settings.remove("session_authorization");
        assert!(settings.is_empty());
    }

    #[test]
    fn a_comment_does_not_swallow_the_next_setting() {
        let mut settings = Settings::default();
        settings.insert_statement("a.b", "SET a.b = 1 -- why");
        settings.insert_statement("a.c", "SET a.c = 2");
        assert!(settings.establish().contains("-- why\n;SET a.c"));
    }

    #[test]
    fn names_and_timeouts_do_not_change_what_a_statement_means() {
        let of = |name: &str| {
            let mut settings = Settings::default();
            settings.insert_value(name, "1");
            settings
        };
        let plain = Settings::default();
        assert!(of("application_name").read_alike(&plain));
        assert!(of("statement_timeout").read_alike(&plain));
        assert!(!of("TimeZone").read_alike(&plain));
    }
}
