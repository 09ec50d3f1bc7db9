//! Conditions on a table's rows, with the keys that rows may have that pass, or that do not.

use super::value::{array, quoted};
use super::{CUSTOMERS, KeyKind, Maker, ORDERS, Reach, Table};

/// A condition.
#[derive(Debug)]
pub(super) struct Condition {
    pub(super) sql: String,
    /// The keys of rows for which it may be true.
    pub(super) yes: Reach,
    /// The keys of rows for which its negation may be true.
    no: Reach,
    /// Whether it is one plain comparison with keys, and perhaps something that is not about them.
    pub(super) plain: bool,
    /// Whether it compares the key at all.
    about_key: bool,
    /// The rows of other tables that sub-selects may find.
    inner: Vec<Reach>,
}

impl Condition {
    /// Whatever a statement with this condition depends on: its own rows, and of those that
    /// sub-selects find the ones that a row of its own is compared with.
    pub(super) fn depends(&self) -> Reach {
        let mut all = self.yes.clone();
        for inner in &self.inner {
            all = all.or(&inner.and(&self.yes));
        }
        all
    }

    /// The same when the rows that it is asked of have no keys but these.
    pub(super) fn depends_within(&self, keys: &Reach) -> Reach {
        let yes = self.yes.and(keys);
        let mut all = yes.clone();
        for inner in &self.inner {
            all = all.or(&inner.and(keys));
        }
        all
    }

    /// What sub-selects may find, when the rows that it is asked of may have any key.
    pub(super) fn depends_on_any(&self) -> Reach {
        let none = Reach::keys([]);
        self.inner.iter().fold(none, |all, inner| all.or(inner))
    }

    /// Both conditions.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            sql: format!("({} AND {})", self.sql, other.sql),
            yes: self.yes.and(&other.yes),
            no: self.no.or(&other.no),
            plain: (self.plain && !other.about_key) || (other.plain && !self.about_key),
            about_key: self.about_key || other.about_key,
            inner: [self.inner, other.inner].concat(),
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            sql: format!("({} OR {})", self.sql, other.sql),
            yes: self.yes.or(&other.yes),
            no: self.no.and(&other.no),
            plain: false,
            about_key: true,
            inner: [self.inner, other.inner].concat(),
        }
    }

    fn not(self) -> Self {
        Self {
            sql: format!("NOT ({})", self.sql),
            yes: self.no,
            no: self.yes,
            plain: false,
            about_key: self.about_key,
            inner: self.inner,
        }
    }
}

impl Maker {
    /// A condition on a table whose columns are qualified with `by`.
    pub(super) fn condition(&mut self, table: &Table, by: &str) -> Condition {
        self.nested(table, by, 2)
    }

    fn nested(&mut self, table: &Table, by: &str, depth: usize) -> Condition {
        if depth == 0 || self.random.chance(45) {
            return self.comparison(table, by);
        }
        match self.random.below(8) {
            0..=3 => {
                let one = self.nested(table, by, depth - 1);
                let two = self.nested(table, by, depth - 1);
                one.and(two)
            }
            4 | 5 => {
                let one = self.nested(table, by, depth - 1);
                let two = self.nested(table, by, depth - 1);
                one.or(two)
            }
            6 => self.nested(table, by, depth - 1).not(),
            _ if table.kind == KeyKind::Bigint => self.membership(table, by),
            _ => self.comparison(table, by),
        }
    }

    /// `key IN (SELECT key of another table)`.
    fn membership(&mut self, table: &Table, by: &str) -> Condition {
        let other = if table.name == ORDERS.name {
            &CUSTOMERS
        } else {
            &ORDERS
        };
        let within = self.comparison(other, "s.");
        let not = if self.random.chance(20) { "NOT " } else { "" };
        let sql = format!(
            "{by}{} {not}IN (SELECT s.{} FROM {} s WHERE {})",
            table.key, other.key, other.name, within.sql
        );
        let (yes, no) = match not {
            "" => (within.yes.clone(), Reach::All),
            _ => (Reach::All, within.yes.clone()),
        };
        Condition {
            sql,
            yes,
            no,
            plain: false,
            about_key: true,
            inner: vec![within.yes],
        }
    }

    /// A condition without others inside.
    fn comparison(&mut self, table: &Table, by: &str) -> Condition {
        if self.random.chance(25) {
            return self.about_other(table, by);
        }
        let (kind, key_column) = (table.kind, format!("{by}{}", table.key));
        if self.random.chance(30) {
            return self.list(kind, &key_column);
        }
        let key = self.key(kind);
        let value = self.value(kind, key);
        let (sql, is_equal, plain) = match self.random.below(14) {
            0..=5 => (format!("{key_column} = {}", value.sql), true, true),
            6 | 7 => (format!("{} = {key_column}", value.sql), true, true),
            8 => (format!("{key_column} <> {}", value.sql), false, false),
            9 => (
                format!("({key_column} = {}) IS TRUE", value.sql),
                true,
                false,
            ),
            10 => (
                format!(
                    "CASE WHEN {key_column} = {} THEN true ELSE false END",
                    value.sql
                ),
                true,
                false,
            ),
            11 => (
                format!("{key_column} IS NOT DISTINCT FROM {}", value.sql),
                true,
                false,
            ),
            12 => (
                format!("{key_column} IS DISTINCT FROM {}", value.sql),
                false,
                false,
            ),
            _ => (
                format!("({key_column}, 1) = ({}, 1)", value.sql),
                true,
                false,
            ),
        };
        let (yes, no) = (Reach::keys([key]), Reach::All);
        let (yes, no) = if is_equal { (yes, no) } else { (no, yes) };
        Condition {
            sql,
            yes,
            no,
            plain: plain && value.plain,
            about_key: true,
            inner: Vec::new(),
        }
    }

    /// `key IN (...)` and `key = ANY (...)`.
    fn list(&mut self, kind: KeyKind, key_column: &str) -> Condition {
        let keys = self.keys(kind);
        let mut plain = true;
        let elements = match kind {
            KeyKind::Bigint => "bigint[]",
            KeyKind::Text => "text[]",
        };
        let sql = match self.random.below(5) {
            0 => format!(
                "{key_column} = ANY ({}::{elements})",
                quoted(&array(kind, &keys))
            ),
            1 => format!("{key_column} = ANY ({})", quoted(&array(kind, &keys))),
            2 if self.parameters => {
                let array = self.parameter(&array(kind, &keys));
                format!("{key_column} = ANY ({})", array.sql)
            }
            choice => {
                let mut values = Vec::new();
                for key in &keys {
                    let value = self.value(kind, key);
                    plain &= value.plain;
                    values.push(value.sql);
                }
                // Casts of some elements and not of others decide what all of them are.
                plain &= keys.len() == 1;
                match choice {
                    3 => format!(
                        "{key_column} = ANY (ARRAY[{}]::{elements})",
                        values.join(", ")
                    ),
                    _ => format!("{key_column} IN ({})", values.join(", ")),
                }
            }
        };
        Condition {
            sql,
            yes: Reach::keys(keys),
            no: Reach::All,
            plain,
            about_key: true,
            inner: Vec::new(),
        }
    }

    /// A condition that says nothing about keys.
    fn about_other(&mut self, table: &Table, by: &str) -> Condition {
        let (number, value) = (table.number, self.random.below(5));
        let sql = match self.random.below(5) {
            0 => "true".to_owned(),
            1 => format!("{by}{number} > {value}"),
            2 => format!("{by}{number} IN (1, {value})"),
            3 => format!("{by}{} IS NOT NULL", table.key),
            _ => format!("{by}{number} = {value}"),
        };
        Condition {
            sql,
            yes: Reach::All,
            no: Reach::All,
            plain: false,
            about_key: false,
            inner: Vec::new(),
        }
    }
}
