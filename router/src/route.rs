//! Pure: (topology, analysed statement, parameters, hint) → where it goes, or a refusal.
//!
//! [`plan`] looks at the statement and the topology and is cached; [`resolve`] looks at one
//! execution's parameters. A statement is routed to one shard only when every row that can
//! contribute to its answer is known to be there; otherwise it is refused.

#![deny(clippy::indexing_slicing)]

use topology::{Key, KeyType, ShardIndex, Snapshot, TableName, Token};

use crate::query::{Statement, Unnamed};

mod array;
mod class;
mod columns;
mod copies;
mod copy;
mod data;
mod ddl;
pub mod explain;
mod form;
mod hint;
mod insert;
mod lock;
mod naming;
mod parameter;
mod pins;
mod pulled;
mod refusal;
mod registration;
mod resolve;
mod rights;
mod split;
pub mod spread;
mod tables;
mod temporary;
#[cfg(test)]
pub(crate) mod tests;
mod unnest;
mod values;
mod views;

pub use class::check_calls;
pub use copies::{Copies, Given, copies};
pub use copy::{CopiedInto, CopiedKey, copied_into, no_copied_key, owner_of_copied};
pub use ddl::{home_of, may_change_views};
pub use form::{Constants, holds_for_texts};
pub use hint::{Hint, Origin};
pub use naming::{name_columns, unnamed_inserts};
pub use pulled::{PulledInto, pulled_into};
pub use registration::{Setting, registration};
pub use rights::Rights;
pub use split::{Part, split};
use tables::Tables;
pub use temporary::Temporary;
pub use views::{reading, views_in_place, with_views};

/// Why a statement is not run: what an application reads. Never holds a parameter or a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The SQLSTATE, e.g. `0A000`.
    pub sqlstate: &'static str,
    /// Lower case, no full stop, names the table or the construct.
    pub message: String,
    /// What to do instead, where there is something.
    pub hint: Option<String>,
}

/// Where one statement text goes at one epoch; cached under the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The shard that owns the key; all sources must give keys of one shard.
    Key {
        /// The type as which each source is read.
        key_type: KeyType,
        /// Where the key values stand.
        sources: Vec<KeySource>,
        /// Whether the statement may write.
        writes: bool,
        /// The key column of a table that rows are inserted into: NULL is refused in its name.
        inserts: Option<KeyColumn>,
    },
    /// Tables that every shard has, or no table at all: any shard answers alike.
    Any {
        /// Whether the statement may write (to session or server state, not to tables).
        writes: bool,
    },
    /// Nothing but the catalogs: every shard has its own, and the common shard's names the tables
    /// that are there alone as well.
    Catalog,
    /// The home shard of unsharded tables, or of what there is only one of.
    Home(ShardIndex),
    /// A connection to this shard that the session keeps from here on: the statement leaves
    /// something with it, such as a temporary table.
    Bound(ShardIndex),
    /// Every shard, all or nothing: DDL.
    Everywhere,
    /// Sharded tables without a key in the statement: runs only under a hint, on the hint's shard.
    NeedsHint {
        /// The type as which the hint is read.
        key_type: KeyType,
        /// Keys that the statement does show; the hint must equal them.
        sources: Vec<KeySource>,
        /// Whether the statement may write.
        writes: bool,
        /// What to answer when there is no hint.
        refusal: Refusal,
    },
    /// An INSERT that does not name its columns: it is planned anew once they stand in its text,
    /// see [`name_columns`].
    NeedsColumns {
        /// The INSERTs, in no order.
        inserts: Vec<UnnamedInsert>,
        /// What to answer where nobody writes them down.
        refusal: Refusal,
    },
    /// It reads views: it is planned anew once their queries stand in its text, see
    /// [`with_views`].
    NeedsViews {
        /// What goes where, in no order.
        views: Vec<ViewInPlace>,
        /// What to answer where nobody writes it down.
        refusal: Refusal,
    },
    /// Not run.
    Refused(Refusal),
}

/// A view that a statement reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewInPlace {
    /// The place of its name in the query string, in bytes.
    pub place: std::ops::Range<usize>,
    /// What goes there: its query in parentheses, in which no view is named, and its alias unless
    /// that follows.
    pub query: String,
    /// Its name, for messages.
    pub name: String,
}

/// An INSERT into a sharded table that does not name its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnnamedInsert {
    /// The table.
    pub table: TableName,
    /// Where the names go.
    pub unnamed: Unnamed,
}

/// A sharded table's key column, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyColumn {
    /// The table, with its schema unless that is `public`.
    pub table: String,
    /// The column.
    pub column: String,
}

/// Where a key value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// In the statement's text.
    Literal(Key<'static>),
    /// In a parameter, counted from 0.
    Parameter(u16),
    /// In the elements of an array parameter, counted from 0: `key = ANY($1)`.
    ArrayParameter(u16),
    /// In the elements of an array parameter of which new rows are made: `unnest($1, $2)`.
    Unnested(Unnested),
}

impl KeySource {
    /// The parameter that it is read from, counted from 0.
    #[must_use]
    pub fn parameter(&self) -> Option<u16> {
        match self {
            Self::Literal(_) => None,
            Self::Parameter(number) | Self::ArrayParameter(number) => Some(*number),
            Self::Unnested(unnested) => Some(unnested.parameter),
        }
    }
}

/// An array parameter whose elements are the keys of new rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnested {
    /// The parameter, counted from 0.
    pub parameter: u16,
    /// The parameters beside it: the longest array says how many rows there are.
    pub beside: Box<[u16]>,
    /// The length of the longest array beside it that is no parameter.
    pub longest: usize,
}

/// Where one execution of a statement goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// One shard; the token is there when a key decided.
    Shard {
        /// The shard.
        index: ShardIndex,
        /// The key's token.
        token: Option<Token>,
    },
    /// Any active shard.
    Any,
    /// Any active shard, and the common one before others.
    Catalog,
    /// Every active shard.
    Everywhere,
}

/// One execution's parameter values.
pub trait Parameters {
    /// The parameter at an index counted from 0; none when there is no such parameter.
    fn get(&self, index: u16) -> Option<Parameter<'_>>;
}

/// A parameter value as the client sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter<'a> {
    /// The bytes; none is NULL.
    pub value: Option<&'a [u8]>,
    /// Whether they are in binary format.
    pub binary: bool,
    /// The type that the client declared; 0 when it left it open.
    pub type_oid: u32,
}

/// No parameters: a simple query.
#[derive(Debug, Clone, Copy)]
pub struct NoParameters;

impl Parameters for NoParameters {
    fn get(&self, _index: u16) -> Option<Parameter<'_>> {
        None
    }
}

/// The parameters that a plan reads keys from, counted from 0.
pub fn parameters_of(plan: &Plan) -> impl Iterator<Item = u16> {
    let sources = match plan {
        Plan::Key { sources, .. } | Plan::NeedsHint { sources, .. } => sources.as_slice(),
        Plan::Any { .. }
        | Plan::Catalog
        | Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => &[],
    };
    sources.iter().filter_map(KeySource::parameter)
}

/// Decides where a statement goes at this snapshot. `search_path` holds the schemas in which an
/// unqualified table name is looked up, in order.
#[must_use]
pub fn plan(statement: &Statement, snapshot: &Snapshot, search_path: &[&str]) -> Plan {
    class::plan(statement, Tables::new(snapshot, search_path)).unwrap_or_else(Plan::Refused)
}

/// The shard of what there is only one of, such as large objects and notifications.
///
/// # Errors
/// When there is no shard.
pub fn common_shard(snapshot: &Snapshot) -> Result<ShardIndex, Refusal> {
    Tables::new(snapshot, &[]).common()
}

/// As [`plan`], for a session that has temporary tables on a shard.
#[must_use]
pub fn plan_beside(
    statement: &Statement,
    snapshot: &Snapshot,
    search_path: &[&str],
    temporary: &Temporary,
) -> Plan {
    let tables = Tables::new(snapshot, search_path).beside(temporary);
    class::plan(statement, tables).unwrap_or_else(Plan::Refused)
}

/// Decides where one execution of a planned statement goes. A hint must equal every key that the
/// statement shows.
///
/// # Errors
/// The [`Refusal`] to send to the client.
pub fn resolve(
    plan: &Plan,
    params: &dyn Parameters,
    hint: Option<&Key<'_>>,
    snapshot: &Snapshot,
) -> Result<Target, Refusal> {
    resolve::by_key(plan, params, hint, snapshot)
}

/// As [`resolve`], under whatever the client hinted at.
///
/// # Errors
/// The [`Refusal`] to send to the client.
pub fn resolve_under(
    plan: &Plan,
    params: &dyn Parameters,
    hint: &Hint<'_>,
    snapshot: &Snapshot,
) -> Result<Target, Refusal> {
    match hint.shard {
        None => resolve::by_key(plan, params, hint.key.as_ref(), snapshot),
        Some(shard) => resolve::on_shard(plan, params, (shard, hint.key.as_ref()), snapshot),
    }
}
