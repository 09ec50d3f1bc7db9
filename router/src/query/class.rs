//! The kinds of statement, as far as a session or the routing treats them differently.

use super::{Data, Ddl, Read, ShardingCall, SqlExecute, SqlPrepare, TableRef};

/// What a statement is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// SELECT, VALUES, TABLE, with or without data-modifying CTEs.
    Select(Data),
    /// INSERT.
    Insert(Data),
    /// UPDATE.
    Update(Data),
    /// DELETE.
    Delete(Data),
    /// MERGE.
    Merge(Data),
    /// A change of the schema.
    Ddl(Ddl),
    /// BEGIN, START TRANSACTION.
    Begin {
        /// READ ONLY was asked for.
        read_only: bool,
    },
    /// COMMIT, END.
    Commit {
        /// AND CHAIN.
        chain: bool,
    },
    /// ROLLBACK, ABORT.
    Rollback {
        /// AND CHAIN.
        chain: bool,
    },
    /// SAVEPOINT.
    Savepoint(String),
    /// RELEASE SAVEPOINT.
    Release(String),
    /// ROLLBACK TO SAVEPOINT.
    RollbackTo(String),
    /// PREPARE TRANSACTION.
    PrepareTransaction,
    /// COMMIT PREPARED, ROLLBACK PREPARED.
    FinishPrepared,
    /// SET of a setting, SET LOCAL, SET SESSION CHARACTERISTICS, SET TRANSACTION.
    Set(Setting),
    /// SET CONSTRAINTS.
    SetConstraints,
    /// RESET; none is RESET ALL.
    Reset(Option<String>),
    /// SHOW; `all` is SHOW ALL.
    Show(String),
    /// DEALLOCATE; none is DEALLOCATE ALL.
    Deallocate(Option<String>),
    /// DISCARD ALL.
    DiscardAll,
    /// DISCARD PLANS, SEQUENCES or TEMP; its command tag.
    DiscardOther(&'static str),
    /// PREPARE of a statement by name.
    SqlPrepare(SqlPrepare),
    /// EXECUTE of a prepared statement.
    SqlExecute(SqlExecute),
    /// COPY.
    Copy(CopyStatement),
    /// EXPLAIN.
    Explain {
        /// Whether the statement is also run.
        analyze: bool,
        /// The statement that is explained.
        inner: Box<Class>,
    },
    /// EXPLAIN (ROUTE): where the statement would go, answered by the router.
    ExplainRoute(Box<Class>),
    /// SELECT of one function of schema `sharding`, answered by the router.
    Sharding(ShardingCall),
    /// LISTEN on a channel.
    Listen(String),
    /// UNLISTEN; none is UNLISTEN *.
    Unlisten(Option<String>),
    /// NOTIFY on a channel.
    Notify(String),
    /// DECLARE of a cursor.
    DeclareCursor {
        /// Its name.
        name: String,
        /// WITH HOLD: it outlives its transaction.
        hold: bool,
        /// The query that it runs through.
        query: Box<Class>,
    },
    /// FETCH, MOVE, CLOSE.
    Cursor(CursorUse),
    /// LOCK TABLE.
    LockTable(Vec<TableRef>),
    /// CHECKPOINT; the word.
    Maintenance(&'static str),
    /// CALL of a procedure.
    Call,
    /// DO, an anonymous block.
    Do,
    /// Any other statement; its command tag, or the closest to it.
    Other(&'static str),
}

impl Class {
    /// The tables that it reads by their names, wherever a statement's query stands in it. Those of
    /// a schema change are none: they are read by others, later.
    #[must_use]
    pub fn reads(&self) -> &[Read] {
        match self {
            Self::Select(data)
            | Self::Insert(data)
            | Self::Update(data)
            | Self::Delete(data)
            | Self::Merge(data) => &data.reads,
            Self::Copy(copy) => copy.query.as_deref().map_or(&[], Self::reads),
            Self::Explain { inner, .. } | Self::ExplainRoute(inner) => inner.reads(),
            Self::DeclareCursor { query, .. } => query.reads(),
            Self::Ddl(_)
            | Self::Begin { .. }
            | Self::Commit { .. }
            | Self::Rollback { .. }
            | Self::Savepoint(_)
            | Self::Release(_)
            | Self::RollbackTo(_)
            | Self::PrepareTransaction
            | Self::FinishPrepared
            | Self::Set(_)
            | Self::SetConstraints
            | Self::Reset(_)
            | Self::Show(_)
            | Self::Deallocate(_)
            | Self::DiscardAll
            | Self::DiscardOther(_)
            // Its query is looked at where it is prepared.
            | Self::SqlPrepare(_)
            | Self::SqlExecute(_)
            | Self::Sharding(_)
            | Self::Listen(_)
            | Self::Unlisten(_)
            | Self::Notify(_)
            | Self::Cursor(_)
            | Self::LockTable(_)
            | Self::Maintenance(_)
            | Self::Call
            | Self::Do
            | Self::Other(_) => &[],
        }
    }
}

/// A SET statement, or a SELECT of set_config.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The setting in lower case; `transaction` for SET TRANSACTION, `session characteristics`
    /// for SET SESSION CHARACTERISTICS.
    pub name: String,
    /// SET LOCAL, or SET TRANSACTION: ends with the transaction.
    pub local: bool,
    /// The values as text; empty for SET TRANSACTION and for SET ... FROM CURRENT, none for SET
    /// ... TO DEFAULT. For SET SESSION CHARACTERISTICS each setting's name and value in turn.
    pub values: Option<Vec<String>>,
    /// The parameter of set_config, from 0, that holds the value of each execution.
    pub parameter: Option<u16>,
}

/// A FETCH, MOVE or CLOSE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorUse {
    /// The word that it begins with.
    pub word: &'static str,
    /// The cursor; none is CLOSE ALL.
    pub cursor: Option<String>,
}

/// A COPY statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyStatement {
    /// The table; none for COPY (query) TO.
    pub table: Option<TableRef>,
    /// The query of COPY (query) TO.
    pub query: Option<Box<Class>>,
    /// COPY FROM.
    pub from: bool,
    /// Through the client's connection, not a file or a program of the server.
    pub through_client: bool,
    /// The columns that are named; empty means all.
    pub columns: Vec<String>,
    /// Whether it names the encoding of its data.
    pub names_encoding: bool,
}
