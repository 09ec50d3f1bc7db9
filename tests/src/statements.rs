//! Random statements, with the keys of the rows that each of them depends on.
//!
//! The keys are known from how a statement is made, not from reading it: what decides where it may
//! go is thereby independent of what is tested with it.

use crate::random::Random;

mod condition;
mod queries;
mod reach;
mod value;
mod writes;

use condition::Condition;
pub use reach::Reach;

/// A type of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// bigint.
    Bigint,
    /// text.
    Text,
}

/// A sharded table that statements are made for.
#[derive(Debug)]
pub struct Table {
    /// Its name.
    pub name: &'static str,
    /// Its columns, as CREATE TABLE has them.
    pub definition: &'static str,
    /// The names of its columns.
    pub columns: &'static [&'static str],
    /// Its key column.
    pub key: &'static str,
    /// The type of that.
    pub kind: KeyKind,
    /// An int column that is not the key.
    pub number: &'static str,
}

/// The key is in the middle, and nothing is unique.
pub const ORDERS: Table = Table {
    name: "fz_orders",
    definition: "id int, customer_id bigint NOT NULL, total int",
    columns: &["id", "customer_id", "total"],
    key: "customer_id",
    kind: KeyKind::Bigint,
    number: "total",
};

/// The key is unique.
pub const CUSTOMERS: Table = Table {
    name: "fz_customers",
    definition: "id bigint PRIMARY KEY, rank int",
    columns: &["id", "rank"],
    key: "id",
    kind: KeyKind::Bigint,
    number: "rank",
};

/// The key is a unique text.
pub const DOCS: Table = Table {
    name: "fz_docs",
    definition: "n int, slug text PRIMARY KEY",
    columns: &["n", "slug"],
    key: "slug",
    kind: KeyKind::Text,
    number: "n",
};

/// All tables.
pub const TABLES: [&Table; 3] = [&ORDERS, &CUSTOMERS, &DOCS];

/// All keys of a type that statements name.
#[must_use]
pub fn keys(kind: KeyKind) -> &'static [&'static str] {
    value::keys(kind)
}

/// A statement.
#[derive(Debug, Clone)]
pub struct Statement {
    /// Its text.
    pub sql: String,
    /// The values of its parameters, as text.
    pub params: Vec<String>,
    /// The keys of the rows that it depends on or writes.
    pub reach: Reach,
    /// Whether it shows its keys so plainly that it must be run when they lie on one shard.
    pub plain: bool,
    /// Whether its answer depends on nothing but its rows.
    pub stable: bool,
    /// Which tables' keys they are.
    pub kind: KeyKind,
}

/// Makes statements.
#[derive(Debug)]
pub struct Maker {
    random: Random,
    /// Whether statements may have parameters.
    parameters: bool,
    params: Vec<String>,
}

impl Maker {
    /// The statements of this seed.
    #[must_use]
    pub fn new(seed: u64, parameters: bool) -> Self {
        Self {
            random: Random::new(seed),
            parameters,
            params: Vec::new(),
        }
    }

    /// The next statement.
    pub fn statement(&mut self) -> Statement {
        self.params.clear();
        let table = *self.random.pick(&TABLES);
        let (sql, reach, plain, stable) = match self.random.below(16) {
            0..=2 => self.select(table),
            3 => self.update(table),
            4 => self.delete(table),
            5..=7 => self.insert(table),
            8 => self.with(table),
            9 => self.union(table),
            10 => self.cut(table),
            11 => self.delete_in_with(table),
            12 => self.join(),
            13 => self.outer_join(),
            14 => self.correlated(),
            _ => self.insert_select(),
        };
        let kind = if sql.contains(DOCS.name) {
            KeyKind::Text
        } else {
            KeyKind::Bigint
        };
        Statement {
            sql,
            params: std::mem::take(&mut self.params),
            reach,
            plain,
            stable,
            kind,
        }
    }

    /// A name for a table in a statement, and how its columns are qualified.
    fn alias(&mut self, table: &Table, name: &str) -> (String, String) {
        match self.random.below(4) {
            0 => (table.name.to_owned(), String::new()),
            1 => (format!("public.{}", table.name), format!("{}.", table.name)),
            2 => (format!("\"{}\" AS {name}", table.name), format!("{name}.")),
            _ => (format!("{} {name}", table.name), format!("{name}.")),
        }
    }
}

/// A text, its reach, whether it is plain, and whether it is stable.
type Made = (String, Reach, bool, bool);

fn made(sql: String, condition: &Condition) -> Made {
    (sql, condition.depends(), condition.plain, true)
}
