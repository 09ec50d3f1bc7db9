//! Schema changes that hold a query: views and tables made of rows.

use pg_query::protobuf::{
    CreateTableAsStmt, IntoClause, ObjectType, RangeVar, SelectStmt, ViewStmt,
};

use super::super::builder::Builder;
use super::super::{Data, Source, TableRef, names};
use super::{Change, Ddl, Objection};

const ROWS: Objection = Objection {
    what: "a table that is made of the rows of a query",
    hint: "create the table first, then insert the rows",
    everywhere: false,
};

const MATERIALIZED: Objection = Objection {
    what: "a materialized view",
    hint: "use a plain view, or under SET sharding.new_tables = 'unsharded' one of tables that are \
           all on one shard",
    everywhere: false,
};

/// CREATE VIEW.
pub(super) fn view(view: &ViewStmt, sql: &str) -> Ddl {
    let mut builder = Builder::new(sql);
    if let Some(query) = view.query.as_deref() {
        builder.query(query, None);
    }
    let (data, _) = builder.finish();
    let mut ddl = Ddl::with("CREATE VIEW", mentions(&data));
    if view.view.as_ref().is_some_and(is_temporary) {
        ddl.temporary = true;
        ddl.reads_rows = true;
        let name = view.view.as_ref().map(names::table);
        ddl.changes.extend(name.map(Change::created));
    } else {
        ddl.views.extend(view.view.as_ref().map(names::table));
    }
    ddl
}

/// CREATE TABLE AS and CREATE MATERIALIZED VIEW.
pub(in super::super) fn create_table_as(create: &CreateTableAsStmt, data: &Data) -> Ddl {
    let is_view = create.objtype() == ObjectType::ObjectMatview;
    let (tag, objection) = if is_view {
        ("CREATE MATERIALIZED VIEW", MATERIALIZED)
    } else {
        ("CREATE TABLE AS", ROWS)
    };
    of_rows(tag, create.into.as_deref(), data).objecting(objection)
}

/// The INTO of a SELECT: a set operation has it on its first branch.
pub(in super::super) fn into_target(select: &SelectStmt) -> Option<&IntoClause> {
    let mut leftmost = select;
    while let Some(left) = leftmost.larg.as_deref() {
        leftmost = left;
    }
    leftmost.into_clause.as_deref()
}

/// SELECT INTO; none when the SELECT has no INTO.
pub(in super::super) fn select_into(select: &SelectStmt, data: &Data) -> Option<Ddl> {
    let into = into_target(select)?;
    Some(of_rows("SELECT INTO", Some(into), data).objecting(ROWS))
}

fn of_rows(tag: &'static str, into: Option<&IntoClause>, data: &Data) -> Ddl {
    let mut ddl = Ddl::new(tag);
    if let Some(target) = into.and_then(|into| into.rel.as_ref()) {
        ddl.changes.push(Change::created(names::table(target)));
        if is_temporary(target) {
            ddl.temporary = true;
        }
    }
    ddl.reads_rows = true;
    ddl.changes.extend(mentions(data));
    ddl
}

/// Whether a new relation belongs to one connection.
pub(super) fn is_temporary(relation: &RangeVar) -> bool {
    relation.relpersistence == "t" || relation.schemaname.starts_with("pg_temp")
}

fn mentions(data: &Data) -> Vec<Change> {
    let mut tables: Vec<&TableRef> = Vec::new();
    for entry in data.scopes.iter().flat_map(|scope| &scope.entries) {
        match &entry.source {
            Source::Table(table) if !tables.contains(&table) => tables.push(table),
            Source::Table(_) | Source::Rows(_) | Source::Opaque => {}
        }
    }
    tables.into_iter().cloned().map(Change::Mention).collect()
}
