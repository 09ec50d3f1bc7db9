//! Which class a parse tree is of.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CopyStmt, DefElem, ExplainStmt, Node, SelectStmt, TransactionStmt, TransactionStmtKind,
};

use super::builder::{Builder, Place};
use super::literal::Literals;
use super::select::Handing;
use super::{
    Class, CopyStatement, Data, SqlExecute, SqlPrepare, UnsafeCall, ddl, names, prepare,
    set_config, setting, sharding,
};

/// `CURSOR_OPT_HOLD` of `nodes/parsenodes.h`.
const CURSOR_WITH_HOLD: i32 = 0x20;

/// The class of a statement of `sql` and the unsafe functions that it calls.
pub(super) fn classify(node: &NodeEnum, sql: &str) -> (Class, Vec<UnsafeCall>) {
    let mut calls = Calls {
        sql,
        found: Vec::new(),
    };
    // Only by itself: inside of another statement its effect on the session would be missed.
    let class = match (set_config::of(node), sharding::of(node)) {
        (Some(setting), _) => Class::Set(setting),
        (None, Some(call)) => Class::Sharding(call),
        (None, None) => calls.class(node),
    };
    (class, calls.found)
}

/// The classes of one statement and of those inside it; gathers the unsafe calls of all.
struct Calls<'a> {
    sql: &'a str,
    found: Vec<UnsafeCall>,
}

impl<'a> Calls<'a> {
    fn class(&mut self, node: &'a NodeEnum) -> Class {
        self.query(node)
            .or_else(|| self.around_a_query(node))
            .or_else(|| transaction(node))
            .or_else(|| setting::session(node))
            .or_else(|| ddl::of(node, self.sql).map(Class::Ddl))
            .unwrap_or_else(|| Class::Other(server_command(node)))
    }

    /// A statement that reads or writes rows.
    fn query(&mut self, node: &'a NodeEnum) -> Option<Class> {
        match node {
            NodeEnum::SelectStmt(it) if ddl::into_target(it).is_some() => {
                let data = self.walk(|builder| select_into(builder, it));
                ddl::select_into(it, &data).map(Class::Ddl)
            }
            NodeEnum::SelectStmt(it) => Some(Class::Select(self.walk(|builder| {
                builder.select(it, None, Handing::Whole);
            }))),
            NodeEnum::InsertStmt(it) => Some(Class::Insert(self.walk(|builder| {
                builder.insert(it, None);
            }))),
            NodeEnum::UpdateStmt(it) => Some(Class::Update(self.walk(|builder| {
                builder.update(it, None);
            }))),
            NodeEnum::DeleteStmt(it) => Some(Class::Delete(self.walk(|builder| {
                builder.delete(it, None);
            }))),
            NodeEnum::MergeStmt(it) => Some(Class::Merge(self.walk(|builder| {
                builder.merge(it, None);
            }))),
            _ => None,
        }
    }

    /// A statement that holds a query or expressions without being one.
    fn around_a_query(&mut self, node: &'a NodeEnum) -> Option<Class> {
        match node {
            NodeEnum::CreateTableAsStmt(it) => {
                let data = self.walk_query(it.query.as_deref());
                Some(Class::Ddl(ddl::create_table_as(it, &data)))
            }
            NodeEnum::CopyStmt(it) => Some(Class::Copy(self.copy(it))),
            NodeEnum::ExplainStmt(it) => Some(self.explain(it)),
            NodeEnum::PrepareStmt(it) => {
                // Its calls are looked at where it is executed.
                let mut own = Self {
                    sql: self.sql,
                    found: Vec::new(),
                };
                Some(Class::SqlPrepare(SqlPrepare {
                    name: it.name.clone(),
                    types: it.argtypes.iter().map(prepare::type_oid).collect(),
                    inner: Box::new(own.inner(it.query.as_deref())),
                }))
            }
            NodeEnum::ExecuteStmt(it) => {
                self.walk_expressions(&it.params);
                let literals = Literals::new(self.sql);
                Some(Class::SqlExecute(SqlExecute {
                    name: it.name.clone(),
                    arguments: it.params.iter().map(|it| literals.value(it)).collect(),
                }))
            }
            NodeEnum::DeclareCursorStmt(it) => Some(Class::DeclareCursor {
                name: it.portalname.clone(),
                hold: it.options & CURSOR_WITH_HOLD != 0,
                query: Box::new(self.inner(it.query.as_deref())),
            }),
            NodeEnum::CallStmt(it) => {
                if let Some(call) = &it.funccall {
                    self.walk_expressions(&call.args);
                }
                Some(Class::Call)
            }
            NodeEnum::DoStmt(_) => Some(Class::Do),
            _ => None,
        }
    }

    fn walk(&mut self, read: impl FnOnce(&mut Builder<'a>)) -> Data {
        let mut builder = Builder::new(self.sql);
        read(&mut builder);
        let (data, found) = builder.finish();
        for call in found {
            if !self.found.contains(&call) {
                self.found.push(call);
            }
        }
        data
    }

    fn walk_query(&mut self, query: Option<&'a Node>) -> Data {
        self.walk(|builder| match query {
            Some(query) => {
                builder.query(query, None);
            }
            None => builder.opaque("a query that is not understood"),
        })
    }

    fn walk_expressions(&mut self, nodes: &'a [Node]) {
        self.walk(|builder| {
            let scope = builder.open(None);
            builder.each(nodes, Place::outside(scope));
        });
    }

    fn copy(&mut self, copy: &'a CopyStmt) -> CopyStatement {
        let query = copy.query.as_deref();
        let query = query.map(|query| Box::new(self.inner(Some(query))));
        if let Some(condition) = copy.where_clause.as_deref() {
            self.walk_expressions(std::slice::from_ref(condition));
        }
        CopyStatement {
            table: copy.relation.as_ref().map(names::table),
            query,
            from: copy.is_from,
            through_client: copy.filename.is_empty() && !copy.is_program,
            columns: names::texts(&copy.attlist),
            names_encoding: options(&copy.options).any(|it| it.defname == "encoding"),
        }
    }

    fn explain(&mut self, explain: &'a ExplainStmt) -> Class {
        let inner = self.inner(explain.query.as_deref());
        if options(&explain.options).any(is_route) {
            return if explain.options.len() == 1 {
                Class::ExplainRoute(Box::new(inner))
            } else {
                Class::Other("EXPLAIN (ROUTE) with other options")
            };
        }
        Class::Explain {
            analyze: options(&explain.options)
                .filter(|option| option.defname == "analyze")
                .last()
                .is_some_and(setting::is_on),
            inner: Box::new(inner),
        }
    }

    /// The class of a statement that another one holds.
    fn inner(&mut self, query: Option<&'a Node>) -> Class {
        match query.map(|query| &query.node) {
            Some(Some(inner)) => self.class(inner),
            Some(None) | None => Class::Other("a statement that is not known"),
        }
    }
}

/// PostgreSQL has no such option; switched off, it is left to PostgreSQL to say so.
fn is_route(option: &DefElem) -> bool {
    option.defname == "route" && setting::is_on(option)
}

fn select_into<'a>(builder: &mut Builder<'a>, select: &'a SelectStmt) {
    builder.select(select, None, Handing::Whole);
}

fn options(nodes: &[Node]) -> impl Iterator<Item = &DefElem> {
    nodes.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::DefElem(option)) => Some(option.as_ref()),
        _ => None,
    })
}

fn transaction(node: &NodeEnum) -> Option<Class> {
    let NodeEnum::TransactionStmt(it) = node else {
        return None;
    };
    let TransactionStmt {
        chain,
        savepoint_name: name,
        ..
    } = it;
    Some(match it.kind() {
        TransactionStmtKind::TransStmtBegin | TransactionStmtKind::TransStmtStart => Class::Begin {
            read_only: options(&it.options)
                .filter(|option| option.defname == "transaction_read_only")
                .last()
                .is_some_and(setting::is_on),
        },
        TransactionStmtKind::TransStmtCommit => Class::Commit { chain: *chain },
        TransactionStmtKind::TransStmtRollback => Class::Rollback { chain: *chain },
        TransactionStmtKind::TransStmtSavepoint => Class::Savepoint(name.clone()),
        TransactionStmtKind::TransStmtRelease => Class::Release(name.clone()),
        TransactionStmtKind::TransStmtRollbackTo => Class::RollbackTo(name.clone()),
        TransactionStmtKind::TransStmtPrepare => Class::PrepareTransaction,
        TransactionStmtKind::TransStmtCommitPrepared
        | TransactionStmtKind::TransStmtRollbackPrepared => Class::FinishPrepared,
        TransactionStmtKind::Undefined => Class::Other("TRANSACTION"),
    })
}

/// The command tag of a statement that acts on a whole server, or on nothing that routing knows.
fn server_command(node: &NodeEnum) -> &'static str {
    match node {
        NodeEnum::CreatedbStmt(_) => "CREATE DATABASE",
        NodeEnum::DropdbStmt(_) => "DROP DATABASE",
        NodeEnum::AlterDatabaseStmt(_)
        | NodeEnum::AlterDatabaseSetStmt(_)
        | NodeEnum::AlterDatabaseRefreshCollStmt(_) => "ALTER DATABASE",
        NodeEnum::AlterRoleSetStmt(_) => "ALTER ROLE with such a setting",
        NodeEnum::CreateTableSpaceStmt(_) => "CREATE TABLESPACE",
        NodeEnum::DropTableSpaceStmt(_) => "DROP TABLESPACE",
        NodeEnum::AlterTableSpaceOptionsStmt(_) => "ALTER TABLESPACE",
        NodeEnum::AlterSystemStmt(_) => "ALTER SYSTEM",
        NodeEnum::DropOwnedStmt(_) => "DROP OWNED",
        NodeEnum::ReassignOwnedStmt(_) => "REASSIGN OWNED",
        NodeEnum::CreatePublicationStmt(_) => "CREATE PUBLICATION",
        NodeEnum::AlterPublicationStmt(_) => "ALTER PUBLICATION",
        NodeEnum::CreateSubscriptionStmt(_) => "CREATE SUBSCRIPTION",
        NodeEnum::AlterSubscriptionStmt(_) => "ALTER SUBSCRIPTION",
        NodeEnum::DropSubscriptionStmt(_) => "DROP SUBSCRIPTION",
        NodeEnum::ImportForeignSchemaStmt(_) => "IMPORT FOREIGN SCHEMA",
        NodeEnum::CreateUserMappingStmt(_) => "CREATE USER MAPPING",
        NodeEnum::AlterUserMappingStmt(_) => "ALTER USER MAPPING",
        NodeEnum::DropUserMappingStmt(_) => "DROP USER MAPPING",
        NodeEnum::AlterTableMoveAllStmt(_) => "ALTER TABLE ALL IN TABLESPACE",
        NodeEnum::LoadStmt(_) => "LOAD",
        NodeEnum::SecLabelStmt(_) => "SECURITY LABEL",
        _ => "a statement that is not known",
    }
}
