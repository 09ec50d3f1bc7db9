//! Schema changes other than of tables and indexes, and which of them touch tables all the same.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AlterObjectSchemaStmt, AlterOwnerStmt, AlterSeqStmt, CommentStmt, CreateSchemaStmt, DropStmt,
    GrantStmt, Node, ObjectType, RangeVar, RenameStmt, TruncateStmt,
};

use super::super::{TableRef, names};
use super::queries::{self, is_temporary};
use super::table;
use super::{Change, Ddl, Manner, Objection, apart, tags};

const SEQUENCE_OPTIONS: Objection = Objection {
    what: "ALTER SEQUENCE with other options than RESTART, CACHE and OWNED BY",
    hint: "each shard's sequence has values of its own: create another sequence",
    everywhere: false,
};

const RULE: Objection = Objection {
    what: "a rule, which makes other statements of those that the router sees",
    hint: "use a trigger",
    everywhere: false,
};

const FOREIGN: Objection = Objection {
    what: "a foreign object, which every shard would reach for",
    hint: "create it on the shards themselves",
    everywhere: false,
};

const SCHEMA_RENAME: Objection = Objection {
    what: "a new name for a schema, which the tables in it are not registered under",
    hint: "create a schema and set the tables' schema one by one",
    everywhere: true,
};

const SCHEMA_ELEMENTS: Objection = Objection {
    what: "CREATE SCHEMA with other objects in it",
    hint: "create the objects by statements of their own",
    everywhere: true,
};

const REFRESH: Objection = Objection {
    what: "REFRESH of a materialized view that is not registered as an unsharded table",
    hint: "connect to the shard itself",
    everywhere: false,
};

/// A change of the schema; none when the statement is something else.
pub(in super::super) fn of(node: &NodeEnum, sql: &str) -> Option<Ddl> {
    Some(match node {
        NodeEnum::CreateStmt(it) => table::create(it, "CREATE TABLE"),
        NodeEnum::CreateForeignTableStmt(it) => match &it.base_stmt {
            Some(base) => table::create(base, "CREATE FOREIGN TABLE").objecting(FOREIGN),
            None => Ddl::new("CREATE FOREIGN TABLE").objecting(FOREIGN),
        },
        NodeEnum::AlterTableStmt(it) => table::alter(it),
        NodeEnum::IndexStmt(it) => table::index(it),
        NodeEnum::ViewStmt(it) => queries::view(it, sql),
        NodeEnum::RefreshMatViewStmt(it) => {
            altering("REFRESH MATERIALIZED VIEW", it.relation.as_ref()).objecting(REFRESH)
        }
        NodeEnum::DropStmt(it) => drop(it),
        NodeEnum::TruncateStmt(it) => truncate(it),
        NodeEnum::RenameStmt(it) => rename(it),
        NodeEnum::AlterObjectSchemaStmt(it) => set_schema(it),
        NodeEnum::AlterOwnerStmt(it) => owner(it),
        NodeEnum::CommentStmt(it) => comment(it),
        NodeEnum::GrantStmt(it) => grant(it),
        NodeEnum::CreateSchemaStmt(it) => create_schema(it),
        NodeEnum::CreateSeqStmt(it) => {
            let mut ddl = Ddl::new("CREATE SEQUENCE");
            if it.sequence.as_ref().is_some_and(is_temporary) {
                ddl.temporary = true;
                let name = it.sequence.as_ref().map(names::table);
                ddl.changes.extend(name.map(Change::created));
            }
            ddl
        }
        NodeEnum::AlterSeqStmt(it) => alter_sequence(it),
        NodeEnum::RuleStmt(it) => altering("CREATE RULE", it.relation.as_ref()).objecting(RULE),
        NodeEnum::CreateTrigStmt(it) => {
            let mut ddl = altering("CREATE TRIGGER", it.relation.as_ref());
            ddl.changes
                .extend(it.constrrel.as_ref().map(names::table).map(Change::Mention));
            ddl
        }
        NodeEnum::CreatePolicyStmt(it) => altering("CREATE POLICY", it.table.as_ref()),
        NodeEnum::AlterPolicyStmt(it) => altering("ALTER POLICY", it.table.as_ref()),
        NodeEnum::CreateStatsStmt(it) => statistics(&it.relations),
        NodeEnum::DefineStmt(it) => Ddl::new(tags::create(it.kind())),
        NodeEnum::AlterObjectDependsStmt(it) => {
            altering(tags::alter(it.object_type()), it.relation.as_ref())
        }
        NodeEnum::CreateForeignServerStmt(_) => Ddl::new("CREATE SERVER").objecting(FOREIGN),
        NodeEnum::AlterForeignServerStmt(_) => Ddl::new("ALTER SERVER").objecting(FOREIGN),
        other => match plain_tag(other) {
            Some(tag) => Ddl {
                temporary: is_temporary_function(other),
                ..Ddl::new(tag)
            },
            None => apart::of(other)?,
        },
    })
}

/// Whether it makes a function in the schema of temporary objects, which is its session's.
fn is_temporary_function(node: &NodeEnum) -> bool {
    matches!(node, NodeEnum::CreateFunctionStmt(it) if is_in_pg_temp(&it.funcname))
}

fn is_in_pg_temp(name: &[Node]) -> bool {
    name.len() > 1 && name.first().and_then(names::text) == Some("pg_temp")
}

/// The tag of a change that touches no table.
fn plain_tag(node: &NodeEnum) -> Option<&'static str> {
    Some(match node {
        NodeEnum::CreateFunctionStmt(it) if it.is_procedure => "CREATE PROCEDURE",
        NodeEnum::CreateFunctionStmt(_) => "CREATE FUNCTION",
        NodeEnum::AlterFunctionStmt(it) => tags::alter(it.objtype()),
        NodeEnum::CreateEnumStmt(_)
        | NodeEnum::CompositeTypeStmt(_)
        | NodeEnum::CreateRangeStmt(_) => "CREATE TYPE",
        NodeEnum::AlterEnumStmt(_) | NodeEnum::AlterTypeStmt(_) => "ALTER TYPE",
        NodeEnum::CreateDomainStmt(_) => "CREATE DOMAIN",
        NodeEnum::AlterDomainStmt(_) => "ALTER DOMAIN",
        NodeEnum::CreateExtensionStmt(_) => "CREATE EXTENSION",
        NodeEnum::AlterExtensionStmt(_) | NodeEnum::AlterExtensionContentsStmt(_) => {
            "ALTER EXTENSION"
        }
        NodeEnum::AlterDefaultPrivilegesStmt(_) => "ALTER DEFAULT PRIVILEGES",
        NodeEnum::CreateCastStmt(_) => "CREATE CAST",
        NodeEnum::CreateConversionStmt(_) => "CREATE CONVERSION",
        NodeEnum::CreateTransformStmt(_) => "CREATE TRANSFORM",
        NodeEnum::CreateOpClassStmt(_) => "CREATE OPERATOR CLASS",
        NodeEnum::CreateOpFamilyStmt(_) => "CREATE OPERATOR FAMILY",
        NodeEnum::AlterOpFamilyStmt(_) => "ALTER OPERATOR FAMILY",
        NodeEnum::AlterOperatorStmt(_) => "ALTER OPERATOR",
        NodeEnum::AlterCollationStmt(_) => "ALTER COLLATION",
        NodeEnum::AlterStatsStmt(_) => "ALTER STATISTICS",
        NodeEnum::AlterTsdictionaryStmt(_) => "ALTER TEXT SEARCH DICTIONARY",
        NodeEnum::AlterTsconfigurationStmt(_) => "ALTER TEXT SEARCH CONFIGURATION",
        NodeEnum::CreateEventTrigStmt(_) => "CREATE EVENT TRIGGER",
        NodeEnum::AlterEventTrigStmt(_) => "ALTER EVENT TRIGGER",
        NodeEnum::CreatePlangStmt(_) => "CREATE LANGUAGE",
        NodeEnum::CreateAmStmt(_) => "CREATE ACCESS METHOD",
        NodeEnum::CreateFdwStmt(_) => "CREATE FOREIGN DATA WRAPPER",
        NodeEnum::AlterFdwStmt(_) => "ALTER FOREIGN DATA WRAPPER",
        _ => return None,
    })
}

fn alter_sequence(alter: &AlterSeqStmt) -> Ddl {
    let mut ddl = Ddl::new("ALTER SEQUENCE");
    ddl.objects
        .extend(alter.sequence.as_ref().map(names::table));
    let keeps_values = |node: &Node| match &node.node {
        Some(NodeEnum::DefElem(option)) => {
            ["restart", "cache", "owned_by"].contains(&option.defname.as_str())
        }
        _ => false,
    };
    if alter.options.iter().all(keeps_values) {
        ddl
    } else {
        ddl.objecting(SEQUENCE_OPTIONS)
    }
}

fn altering(tag: &'static str, relation: Option<&RangeVar>) -> Ddl {
    let changes = relation.map(names::table).map(Change::Alter);
    Ddl::with(tag, changes.into_iter().collect())
}

fn ranges(nodes: &[Node]) -> impl Iterator<Item = &RangeVar> {
    nodes.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::RangeVar(range)) => Some(range),
        _ => None,
    })
}

fn drop(drop: &DropStmt) -> Ddl {
    let object = drop.remove_type();
    let mut ddl = Ddl::new(tags::drop(object));
    match object {
        // The others' names of tables are errors, so that they touch no table.
        ObjectType::ObjectTable | ObjectType::ObjectForeignTable | ObjectType::ObjectView => {
            let tables = drop.objects.iter().filter_map(names::table_of_list);
            ddl.changes.extend(tables.map(Change::Drop));
        }
        ObjectType::ObjectTrigger | ObjectType::ObjectRule | ObjectType::ObjectPolicy => {
            let tables = drop.objects.iter().filter_map(owner_of_last);
            ddl.changes.extend(tables);
        }
        ObjectType::ObjectIndex | ObjectType::ObjectSequence | ObjectType::ObjectMatview => {
            let objects = drop.objects.iter().filter_map(names::table_of_list);
            ddl.objects.extend(objects);
        }
        ObjectType::ObjectFunction | ObjectType::ObjectProcedure | ObjectType::ObjectRoutine => {
            ddl.temporary = drop.objects.iter().any(|node| match &node.node {
                Some(NodeEnum::ObjectWithArgs(it)) => is_in_pg_temp(&it.objname),
                _ => false,
            });
        }
        _ => {}
    }
    if drop.concurrent {
        ddl.manner = Manner::InTurn;
    }
    ddl
}

/// The table of `schema.table.trigger`.
fn owner_of_last(node: &Node) -> Option<Change> {
    let Some(NodeEnum::List(list)) = &node.node else {
        return None;
    };
    let parts = names::parts(&list.items)?;
    let (_, before) = parts.split_last()?;
    names::table_of_parts(before).map(Change::Alter)
}

fn truncate(truncate: &TruncateStmt) -> Ddl {
    let tables = ranges(&truncate.relations).map(names::table);
    Ddl::with("TRUNCATE TABLE", tables.map(Change::Truncate).collect())
}

fn rename(rename: &RenameStmt) -> Ddl {
    let object = rename.rename_type();
    let owner = match object {
        ObjectType::ObjectColumn | ObjectType::ObjectAttribute => rename.relation_type(),
        _ => object,
    };
    let mut ddl = Ddl::new(tags::alter(owner)).in_manner(reach(owner));
    let table = rename.relation.as_ref().map(names::table);
    if is_beside_tables(object) {
        ddl.objects.extend(table.clone());
    }
    match object {
        // ALTER INDEX and ALTER VIEW may rename tables too.
        ObjectType::ObjectTable
        | ObjectType::ObjectIndex
        | ObjectType::ObjectView
        | ObjectType::ObjectMatview
        | ObjectType::ObjectSequence
        | ObjectType::ObjectForeignTable => ddl.changes.extend(table.map(Change::Rename)),
        ObjectType::ObjectColumn => {
            ddl.changes.extend(table.map(|table| Change::Column {
                table,
                column: rename.subname.clone(),
                verb: "rename",
            }));
        }
        ObjectType::ObjectTabconstraint
        | ObjectType::ObjectTrigger
        | ObjectType::ObjectRule
        | ObjectType::ObjectPolicy => ddl.changes.extend(table.map(Change::Alter)),
        ObjectType::ObjectSchema => ddl.object(SCHEMA_RENAME),
        _ => {}
    }
    if object == ObjectType::ObjectView {
        let renamed = rename.relation.as_ref().map(names::table);
        ddl.views.extend(renamed.map(|view| TableRef {
            name: rename.newname.clone(),
            ..view
        }));
    }
    ddl
}

fn set_schema(change: &AlterObjectSchemaStmt) -> Ddl {
    let table = change.relation.as_ref().map(names::table);
    let mut ddl = Ddl::with(
        tags::alter(change.object_type()),
        table.clone().map(Change::Rename).into_iter().collect(),
    );
    if change.object_type() == ObjectType::ObjectView {
        ddl.views.extend(table.map(|view| TableRef {
            schema: Some(change.newschema.clone()),
            ..view
        }));
    }
    ddl
}

fn owner(change: &AlterOwnerStmt) -> Ddl {
    altering(tags::alter(change.object_type()), change.relation.as_ref())
}

fn comment(comment: &CommentStmt) -> Ddl {
    let object = comment.object.as_deref();
    let change = match comment.objtype() {
        ObjectType::ObjectTable => object.and_then(names::table_of_list).map(Change::Mention),
        ObjectType::ObjectColumn
        | ObjectType::ObjectTabconstraint
        | ObjectType::ObjectTrigger
        | ObjectType::ObjectRule
        | ObjectType::ObjectPolicy => object.and_then(owner_of_last).map(mention),
        _ => None,
    };
    Ddl::with("COMMENT", change.into_iter().collect()).in_manner(reach(comment.objtype()))
}

/// Whether an object is made for a table and has a name of its own.
pub(super) fn is_beside_tables(object: ObjectType) -> bool {
    matches!(object, ObjectType::ObjectIndex | ObjectType::ObjectSequence)
}

/// Whether a kind of object belongs to a database or to its server.
fn reach(object: ObjectType) -> Manner {
    match object {
        ObjectType::ObjectRole
        | ObjectType::ObjectDatabase
        | ObjectType::ObjectTablespace
        | ObjectType::ObjectParameterAcl => Manner::OncePerServer,
        _ => Manner::Together,
    }
}

fn mention(change: Change) -> Change {
    match change {
        Change::Alter(table) => Change::Mention(table),
        Change::Create { .. }
        | Change::Mention(_)
        | Change::Drop(_)
        | Change::Truncate(_)
        | Change::Rename(_)
        | Change::Column { .. }
        | Change::Unique { .. } => change,
    }
}

fn grant(grant: &GrantStmt) -> Ddl {
    let tag = if grant.is_grant { "GRANT" } else { "REVOKE" };
    let mut ddl = Ddl::new(tag).in_manner(reach(grant.objtype()));
    if grant.objtype() == ObjectType::ObjectTable {
        let tables = ranges(&grant.objects).map(names::table);
        ddl.changes.extend(tables.map(Change::Mention));
    }
    ddl
}

fn create_schema(create: &CreateSchemaStmt) -> Ddl {
    let ddl = Ddl::new("CREATE SCHEMA");
    if create.schema_elts.is_empty() {
        ddl
    } else {
        ddl.objecting(SCHEMA_ELEMENTS)
    }
}

fn statistics(relations: &[Node]) -> Ddl {
    let tables = ranges(relations).map(names::table);
    Ddl::with("CREATE STATISTICS", tables.map(Change::Alter).collect())
}
