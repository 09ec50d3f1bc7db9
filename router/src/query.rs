//! Pure: what a statement is, which tables it reads and writes, and where key values stand in it.
//! Knows nothing of the topology: which column is a key is asked in [`crate::route`].
#![deny(clippy::indexing_slicing)]

use std::ops::Range;

mod builder;
mod class;
mod cursor;
mod ddl;
mod expression;
mod facts;
mod form;
mod from;
mod functions;
mod hint;
mod json;
mod literal;
mod modify;
mod names;
mod new_ids;
mod outputs;
mod parse;
mod prepare;
mod pulled;
mod rows;
mod scope;
mod select;
mod set_config;
mod setting;
mod sharding;
#[cfg(test)]
mod tests;
mod types;
mod unnamed;
mod utility;
mod value;
mod varying;

pub use class::{Class, CopyStatement, CursorUse, Setting};
pub use cursor::{Declared, Fetched, Skip, declared, fetched};
pub use ddl::{Change, Constraint, Ddl, KeyColumnType, Manner, NewColumn, NewIndex, Objection};
pub use form::{Constant, Form};
pub use functions::{OWN_FUNCTION, Reach, UnsafeCall, is_aggregate};
pub use hint::{CONSISTENCIES, HINTS, Hints, parameters};
pub use new_ids::{new_ids, with_ids};
pub use parse::{MAX_STATEMENT_BYTES, SyntaxError, parse as tree};
pub use prepare::{SqlExecute, SqlPrepare, before_execute, executed_name, prepared_body};
pub use pulled::{Pulled, Untyped};
pub use rows::{parameters_in, returns_rows, with_condition, with_rows};
pub use scope::{
    ArrayColumn, ArrayValue, ColumnRef, Data, Elements, Entry, Fact, Insert, Joined, Length,
    Merged, NewRows, Output, Outputs, Qualifier, Read, Scope, ScopeId, Shape, Source, TableRef,
    Test, Write, WriteKind,
};
pub use sharding::{MAX_IDS, NewTables, Placing, Registration, ShardingCall};
pub use unnamed::Unnamed;
pub use value::{Family, Value};
pub use varying::varying;

/// All statements of one query string, in order; none for an empty query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Analysis {
    /// The statements.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// What it is.
    pub class: Class,
    /// Where its text stands in the query string, in bytes, without the semicolon.
    pub location: Range<usize>,
    /// Calls that do not mean the same on one shard of several as on one server.
    pub functions: Vec<UnsafeCall>,
    /// What its comments say about where it runs.
    pub hints: Hints,
}

impl Statement {
    /// Its own text, of the query string that it was found in.
    #[must_use]
    pub fn text<'s>(&self, sql: &'s str) -> &'s str {
        sql.get(self.location.clone()).unwrap_or(sql)
    }
}

/// Analyses a query string of at most [`MAX_STATEMENT_BYTES`].
///
/// # Errors
/// [`SyntaxError`] when the string is not SQL, too long or nested too deep.
pub fn analyze(sql: &str) -> Result<Analysis, SyntaxError> {
    analyze_within(sql, MAX_STATEMENT_BYTES)
}

/// Analyses a query string of at most `max_bytes`.
///
/// # Errors
/// As [`analyze`].
pub fn analyze_within(sql: &str, max_bytes: usize) -> Result<Analysis, SyntaxError> {
    let tree = parse::parse(sql, max_bytes)?;
    let mut statements = Vec::with_capacity(tree.stmts.len());
    let mut start = 0;
    for raw in &tree.stmts {
        let location = location(raw, sql, start);
        start = location.end;
        if let Some(node) = raw.stmt.as_ref().and_then(|stmt| stmt.node.as_ref()) {
            let (class, functions) = utility::classify(node, sql);
            statements.push(Statement {
                class,
                location,
                functions,
                hints: Hints::default(),
            });
        }
    }
    hint::attach(sql, &mut statements)?;
    Ok(Analysis { statements })
}

/// Where a statement's text stands, if the one before it ended at `after`. The parser counts from
/// the first word; the comments before it, which may hold hints, belong to the statement too.
fn location(raw: &pg_query::protobuf::RawStmt, sql: &str, after: usize) -> Range<usize> {
    let first_word = usize::try_from(raw.stmt_location)
        .unwrap_or(0)
        .min(sql.len());
    let between = sql.get(after..first_word).unwrap_or_default();
    let start = first_word - between.trim_start_matches(is_separator).len();
    // A length of 0 means that the statement goes on to the end of the string.
    let end = match usize::try_from(raw.stmt_len) {
        Ok(length) if length > 0 => first_word.saturating_add(length).min(sql.len()),
        Ok(_) | Err(_) => sql.len(),
    };
    start..end
}

fn is_separator(character: char) -> bool {
    character == ';' || character.is_ascii_whitespace()
}
