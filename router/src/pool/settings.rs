//! A session's settings: what must hold on a backend before the session's next statement runs.

use std::collections::BTreeMap;

/// The setting that SET SESSION AUTHORIZATION changes.
const USER: &str = "session_authorization";

/// The setting that SET ROLE changes.
const ROLE: &str = "role";

/// Setting name → the SQL that establishes it. Equal settings are interchangeable backends.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    entries: BTreeMap<Box<str>, Box<str>>,
    /// The schemas of `search_path`, when it was set.
    search_path: Option<Vec<String>>,
}

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
            quote_literal(name),
            quote_literal(value)
        );
        self.insert_statement(name, &sql);
    }

    /// Records a setting by the statement that set it.
    pub fn insert_statement(&mut self, name: &str, sql: &str) {
        self.forget_role_of(name);
        let sql = sql.trim_end_matches([';', ' ', '\n', '\t', '\r']);
        self.entries
            .insert(name.to_ascii_lowercase().into(), sql.into());
    }

    /// Forgets one setting.
    pub fn remove(&mut self, name: &str) {
        self.forget_role_of(name);
        self.entries.remove(name.to_ascii_lowercase().as_str());
        if name.eq_ignore_ascii_case("search_path") {
            self.search_path = None;
        }
    }

    /// A role is one of the session's user, and ends when that changes.
    fn forget_role_of(&mut self, name: &str) {
        if name.eq_ignore_ascii_case(USER) {
            self.entries.remove(ROLE);
        }
    }

    /// Takes all settings from `other`, but keeps the user and the role, as RESET ALL does.
    pub fn restore_all(&mut self, other: &Self) {
        let identity = [USER, ROLE].map(|name| self.entries.remove_entry(name));
        self.clone_from(other);
        for name in [USER, ROLE] {
            self.entries.remove(name);
        }
        self.entries.extend(identity.into_iter().flatten());
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

    /// Notes the schemas of a `search_path` that was recorded.
    pub fn set_search_path(&mut self, schemas: &[String]) {
        self.search_path = Some(schemas.to_vec());
    }

    /// The schemas in which unqualified names are looked up; none is the server's default.
    #[must_use]
    pub fn search_path(&self) -> Option<&[String]> {
        self.search_path.as_deref()
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
        // The user's settings are made as the router's own user, who may make more of them; then
        // the user, then its role.
        let last = [USER, ROLE];
        let settings = self
            .entries
            .iter()
            .filter(|(name, _)| !last.contains(&&***name));
        let identity = last.iter().filter_map(|name| self.entries.get(*name));
        for statement in settings.map(|(_, sql)| sql).chain(identity) {
            sql.push(';');
            sql.push_str(statement);
        }
        sql
    }
}

/// A text as an SQL literal that means the same whatever `standard_conforming_strings` says.
#[must_use]
pub fn quote_literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 3);
    if text.contains('\\') {
        out.push('E');
    }
    out.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_literal_cannot_end_early() {
        assert_eq!(quote_literal("a'b"), "'a''b'");
        assert_eq!(quote_literal(r"a\'b"), r"E'a\\''b'");
    }

    #[test]
    fn a_role_follows_its_user_and_outlives_reset_all() {
        let mut settings = Settings::default();
        settings.insert_statement("role", "SET ROLE a");
        settings.insert_statement("session_authorization", "SET SESSION AUTHORIZATION b");
        settings.insert_statement("work_mem", "SET work_mem = '5MB'");
        let mut reset = settings.clone();
        reset.insert_statement("role", "SET ROLE c");
        reset.restore_all(&Settings::default());
        assert_eq!(
            settings.establish(),
            "RESET SESSION AUTHORIZATION;RESET ALL;SET work_mem = '5MB';\
             SET SESSION AUTHORIZATION b"
        );
        assert_eq!(
            reset.establish(),
            "RESET SESSION AUTHORIZATION;RESET ALL;SET SESSION AUTHORIZATION b;SET ROLE c"
        );
    }

    #[test]
    fn establishing_starts_from_the_defaults() {
        let mut settings = Settings::default();
        settings.insert_value("TimeZone", "UTC");
        settings.insert_statement("search_path", "SET search_path TO a, b;");
        assert_eq!(
            settings.establish(),
            "RESET SESSION AUTHORIZATION;RESET ALL;SET search_path TO a, b;\
             SELECT pg_catalog.set_config('TimeZone', 'UTC', false)"
        );
    }
}
