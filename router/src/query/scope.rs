//! A data statement as routing sees it: its query levels, what each reads from, and the equalities
//! that hold for every row that can contribute to the result.
//!
//! Columns stay names here. Only [`crate::route`] knows which tables have which key column, and so
//! to which table an unqualified name belongs.

use std::ops::Range;

use super::Value;

/// A place in [`Data::scopes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub usize);

/// A statement that reads or writes rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Data {
    /// Every query level: the statement's own, its sub-queries and CTEs.
    pub scopes: Vec<Scope>,
    /// The tables that it reads by their names, each as often as it does.
    pub reads: Vec<Read>,
    /// What it writes, data-modifying CTEs included.
    pub writes: Vec<Write>,
    /// SELECT ... FOR UPDATE or the like anywhere.
    pub locks_rows: bool,
    /// A construct that was not looked into, so that the rest can't be relied on.
    pub opaque: Option<&'static str>,
    /// A column that says where PostgreSQL keeps a row, as `ctid` does: on another shard another row
    /// is there.
    pub place: Option<&'static str>,
    /// Whether it looks for objects by their names, as a cast to `regclass` does.
    pub looks_up_objects: bool,
}

/// A table as written; without a schema it is found by the search path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TableRef {
    /// The schema, where one is written.
    pub schema: Option<String>,
    /// The table's own name.
    pub name: String,
}

/// A table that is read, and where its name stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The table.
    pub table: TableRef,
    /// The place of its name in the query string, in bytes, where a query in parentheses may stand as
    /// well; none where only a table can be, or where the name is written in a rare way.
    pub place: Option<Range<usize>>,
    /// Whether an alias follows the name.
    pub aliased: bool,
}

/// One query level.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// The level around it and which of its entries can be seen from here.
    pub parent: Option<(ScopeId, Range<usize>)>,
    /// What it reads from, in the order of FROM; for a write, the target is the first. An aliased
    /// join follows what it joins.
    pub entries: Vec<Entry>,
    /// Columns merged by JOIN ... USING, inner joins before the joins around them.
    pub merged: Vec<Merged>,
    /// What holds for every contributing row.
    pub facts: Vec<Fact>,
    /// What it hands to the level around it.
    pub outputs: Outputs,
    /// What it makes of the rows that it reads.
    pub shape: Shape,
}

/// What a query level makes of the rows that it reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact by itself, and any may go with any other"
)]
pub struct Shape {
    /// Several rows become one: GROUP BY, HAVING or an aggregate.
    pub gathers: bool,
    /// The plain columns among what it groups by; none with grouping sets.
    pub groups: Vec<ColumnRef>,
    /// SELECT DISTINCT, without ON.
    pub distinct: bool,
    /// The plain columns among what it selects.
    pub listed: Vec<ColumnRef>,
    /// Whether `*` is among what it selects.
    pub all_columns: bool,
    /// It looks at other rows for each row: window functions, DISTINCT ON.
    pub looks_around: bool,
    /// It does not hand out all rows: LIMIT, OFFSET, row locks.
    pub cuts: bool,
    /// The sides of a set operation.
    pub branches: Vec<ScopeId>,
}

/// One thing in FROM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name by which its columns are qualified; none for a sub-select without alias.
    pub name: Option<String>,
    /// An alias hides the table's own schema and name.
    pub aliased: bool,
    /// Its columns have other names here than in their table: `AS t(a, b)`.
    pub renamed: bool,
    /// Those names, where they are written beside the alias.
    pub columns: Vec<String>,
    /// An outer join may put NULLs in place of its row.
    pub nullable: bool,
    /// The entry of the aliased join around it, outside of which its own name is not seen.
    pub hidden_by: Option<usize>,
    /// What it is.
    pub source: Source,
}

/// What an entry reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A table, view or catalog.
    Table(TableRef),
    /// A sub-select, VALUES, or a reference to a CTE that is not of a WITH RECURSIVE.
    Rows(ScopeId),
    /// A function, an aliased join, a CTE of a WITH RECURSIVE: columns of unknown origin.
    Opaque,
}

/// A column as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnRef {
    /// What stands before the dot.
    pub qualifier: Option<Qualifier>,
    /// The column's own name.
    pub name: String,
    /// The entries of the scope that can be seen from where it stands.
    pub among: Range<usize>,
}

/// `table.` or `schema.table.` before a column's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qualifier {
    /// The schema, where one is written.
    pub schema: Option<String>,
    /// The table's name or alias.
    pub name: String,
}

/// A condition that is true of every row that can contribute to the result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The condition.
    pub test: Test,
    /// The entries of the same scope that it restricts: all for WHERE, the nullable side only for
    /// the ON of an outer join.
    pub restricts: Range<usize>,
}

/// A condition that routing can use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Test {
    /// `column = value`, `column IN (values)`.
    Among(ColumnRef, Vec<Value>),
    /// `column = ANY(array)`.
    AmongArray(ColumnRef, ArrayValue),
    /// `column = column`.
    Same(ColumnRef, ColumnRef),
    /// `column IN (SELECT ...)`, by the sub-select's only output.
    AmongRows(ColumnRef, ScopeId),
}

/// An array of possible values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArrayValue {
    /// A parameter, counted from 0, and the element type it is cast to.
    Parameter(u16, Option<super::Family>),
    /// An array in text form, and the element type it is cast to.
    Text(String, Option<super::Family>),
}

/// How two sides of a USING join make one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Both sides' values are equal.
    Inner,
    /// The left side's value.
    Left,
    /// The right side's value.
    Right,
    /// Either's.
    Full,
}

/// A column that JOIN ... USING made of two.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Its name; none when every common name is merged (NATURAL).
    pub name: Option<String>,
    /// Which side its value is taken from.
    pub joined: Joined,
    /// The entries of the left side.
    pub left: Range<usize>,
    /// The entries of the right side; they follow those of the left.
    pub right: Range<usize>,
}

/// What a scope hands out. A column is listed only where a condition that the level around it puts
/// on the output may also be put on every row that the scope reads: not with LIMIT, window
/// functions, DISTINCT ON or row locks, not for a CTE with several references, and not for what a
/// write returns. The rows of an INSERT's query are all taken, so that there the origins show even
/// then.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Outputs {
    /// Nothing whose origin is known.
    #[default]
    Unknown,
    /// A list of expressions.
    List(Vec<Output>),
    /// The rows of several scopes: UNION and the like.
    Branches(Vec<ScopeId>),
    /// Rows of values: VALUES.
    Values(Vec<Vec<Value>>),
    /// Arrays side by side, the shorter ones filled up with NULLs: unnest.
    Arrays(Vec<ArrayColumn>),
}

/// A column that an array is made into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArrayColumn {
    /// Its elements, where they can be read as keys.
    pub elements: Option<Elements>,
    /// How many there are, where that can be told.
    pub length: Option<Length>,
}

/// The elements of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elements {
    /// `ARRAY[...]`.
    Values(Vec<Value>),
    /// A parameter or a text.
    Array(ArrayValue),
}

/// How many elements an array has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Length {
    /// So many.
    Exactly(usize),
    /// As many as this text of an array.
    Text(String),
    /// As many as a parameter, counted from 0.
    Parameter(u16),
}

/// One output expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A column, under its own or another name. It may belong to a level further out, whose rows a
    /// condition on this output does not restrict.
    Column {
        /// The output's name.
        name: String,
        /// The column.
        column: ColumnRef,
    },
    /// `*` or `table.*`.
    Star(Option<Qualifier>),
    /// A value, or an expression as [`Value::Other`].
    Value(Value),
    /// A column, cast to a family.
    Cast(ColumnRef, super::Family),
    /// The elements of an array, in as many rows: unnest.
    Array(ArrayColumn),
}

/// A write to a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The scope whose first entry is the target.
    pub scope: ScopeId,
    /// What is written.
    pub kind: WriteKind,
}

/// What a write does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteKind {
    /// INSERT.
    Insert(Insert),
    /// UPDATE; the columns that are set.
    Update(Vec<String>),
    /// DELETE.
    Delete,
    /// MERGE.
    Merge,
}

/// The rows of an INSERT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// The target columns; none when the statement does not name them.
    pub columns: Option<Vec<String>>,
    /// Where their names could be written, when the statement does not name them.
    pub unnamed: Option<super::Unnamed>,
    /// The rows.
    pub rows: NewRows,
    /// The columns that ON CONFLICT DO UPDATE sets.
    pub updates: Vec<String>,
}

/// Where an INSERT's rows come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewRows {
    /// DEFAULT VALUES.
    Defaults,
    /// VALUES.
    Values(Vec<Vec<Value>>),
    /// A query.
    Query(ScopeId),
}
