//! How the shards run a schema change that goes to all of them.

use super::super::TableRef;

/// How several shards run a statement.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Manner {
    /// In a transaction on each, all or nothing.
    #[default]
    Together,
    /// As [`Self::Together`], once on each server: what it changes belongs to all databases of a
    /// server, of which several may be shards.
    OncePerServer,
    /// On one shard after the other, outside of a transaction. Run again, it does no harm.
    InTurn,
    /// As [`Self::InTurn`], of CREATE INDEX CONCURRENTLY: what a failure leaves is dropped.
    IndexInTurn(NewIndex),
}

/// An index to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewIndex {
    /// Its name, by which it is found again; none is left to PostgreSQL to choose.
    pub name: Option<String>,
    /// The table, whose schema it gets.
    pub table: TableRef,
}
