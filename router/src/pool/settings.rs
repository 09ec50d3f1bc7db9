//! A session's settings: what must hold on a backend before the session's next statement runs.

use std::collections::BTreeMap;

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
        let sql = sql.trim_end_matches([';', ' ', '\n', '\t', '\r']);
        self.entries
            .insert(name.to_ascii_lowercase().into(), sql.into());
    }

    /// Forgets one setting.
    pub fn remove(&mut self, name: &str) {
        self.entries.remove(name.to_ascii_lowercase().as_str());
        if name.eq_ignore_ascii_case("search_path") {
            self.search_path = None;
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
        for statement in self.entries.values() {
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
