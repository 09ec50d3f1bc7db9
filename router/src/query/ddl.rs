//! A change of the schema as routing sees it: which tables it touches and how.

use super::{Family, TableRef};

mod apart;
mod manner;
mod objects;
mod queries;
mod table;
mod tags;

pub use manner::{Manner, NewIndex};
pub(super) use objects::of;
pub(super) use queries::{create_table_as, into_target, select_into};

/// A change of the schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ddl {
    /// The command's words, e.g. `CREATE TABLE`.
    pub tag: &'static str,
    /// What it does to tables.
    pub changes: Vec<Change>,
    /// What can't be done on several shards whatever the tables are.
    pub objections: Vec<Objection>,
    /// How several shards run it.
    pub manner: Manner,
    /// It makes something that belongs to one connection.
    pub temporary: bool,
    /// It reads rows of the tables that it mentions.
    pub reads_rows: bool,
    /// Views that it makes, or gives new names to.
    pub views: Vec<TableRef>,
    /// What in it draws values from a sequence, of which each shard has its own: for a table that
    /// is to have the same rows on all of them that will not do.
    pub draws: Option<&'static str>,
    /// Indexes and sequences that it alters or drops: they are where their tables are.
    pub objects: Vec<TableRef>,
}

/// What a schema change does to one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates it.
    Create {
        /// The table.
        table: TableRef,
        /// Its columns.
        columns: Vec<NewColumn>,
        /// It may have further columns: LIKE, INHERITS, OF, PARTITION OF.
        open: bool,
    },
    /// Touches it in a way that does not matter to where its rows lie.
    Alter(TableRef),
    /// Names it, as a view's query or a foreign key does.
    Mention(TableRef),
    /// Drops it.
    Drop(TableRef),
    /// Empties it.
    Truncate(TableRef),
    /// Gives it another name or schema.
    Rename(TableRef),
    /// Drops, renames or retypes a column.
    Column {
        /// The table.
        table: TableRef,
        /// The column.
        column: String,
        /// `drop`, `rename`, `change the type of`.
        verb: &'static str,
    },
    /// Demands that columns be unique.
    Unique {
        /// The table.
        table: TableRef,
        /// The constraint.
        constraint: Constraint,
    },
}

impl Change {
    /// A new table of which no column is known.
    fn created(table: TableRef) -> Self {
        Self::Create {
            table,
            columns: Vec::new(),
            open: true,
        }
    }

    /// The table that it is about.
    #[must_use]
    pub fn table(&self) -> &TableRef {
        match self {
            Self::Create { table, .. }
            | Self::Alter(table)
            | Self::Mention(table)
            | Self::Drop(table)
            | Self::Truncate(table)
            | Self::Rename(table)
            | Self::Column { table, .. }
            | Self::Unique { table, .. } => table,
        }
    }
}

/// The columns that must be unique together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {
    /// `a primary key`, `a unique constraint`, `a unique index`, `an exclusion constraint`.
    pub kind: &'static str,
    /// The plain columns; expressions are left out.
    pub columns: Vec<String>,
}

/// A column of a new table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewColumn {
    /// Its name.
    pub name: String,
    /// Its type, as far as it could be a key.
    pub key_type: KeyColumnType,
}

/// A column's type, as far as it could be a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyColumnType {
    /// A type whose values can be keys as they are written.
    Family(Family),
    /// Text with a length, which PostgreSQL cuts or pads.
    CutText,
    /// Any other type.
    Other,
}

/// A reason to refuse a schema change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Objection {
    /// What it is about.
    pub what: &'static str,
    /// What to do instead.
    pub hint: &'static str,
    /// It holds on a home shard too.
    pub everywhere: bool,
}

impl Ddl {
    /// Whether it makes a table, for all sessions and by itself.
    #[must_use]
    pub fn makes_table(&self) -> bool {
        let makes = matches!(
            self.tag,
            "CREATE TABLE" | "CREATE TABLE AS" | "CREATE MATERIALIZED VIEW" | "SELECT INTO"
        );
        makes && !self.temporary
    }

    fn new(tag: &'static str) -> Self {
        Self::with(tag, Vec::new())
    }

    fn with(tag: &'static str, changes: Vec<Change>) -> Self {
        Self {
            tag,
            changes,
            objections: Vec::new(),
            manner: Manner::Together,
            temporary: false,
            reads_rows: false,
            views: Vec::new(),
            draws: None,
            objects: Vec::new(),
        }
    }

    fn in_manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }

    fn objecting(mut self, objection: Objection) -> Self {
        self.object(objection);
        self
    }

    /// Notes an objection, each once.
    fn object(&mut self, objection: Objection) {
        if !self.objections.contains(&objection) {
            self.objections.push(objection);
        }
    }
}
