//! CREATE TABLE, ALTER TABLE and CREATE INDEX: columns, constraints and what they ask of a table
//! whose rows lie on several shards.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    self, AlterTableCmd, AlterTableStmt, AlterTableType, CollateClause, ColumnDef, ConstrType,
    CreateStmt, IndexElem, IndexStmt, Node, ObjectType, TypeName,
};

use super::super::builder::{Builder, Place};
use super::super::literal;
use super::super::{Family, TableRef, names};
use super::objects::is_beside_tables;
use super::queries::is_temporary;
use super::{Change, Constraint, Ddl, KeyColumnType, Manner, NewColumn, NewIndex, Objection, tags};

const SERIAL: &str = "a serial column";

const IDENTITY: &str = "an identity column";

const SEQUENCE_DEFAULT: &str = "a default from a sequence";

const IDENTITY_OPTIONS: Objection = Objection {
    what: "other options of an identity column than RESTART",
    hint: "each shard's sequence has values of its own: drop the identity and add another one",
    everywhere: false,
};

/// CREATE TABLE, CREATE FOREIGN TABLE.
pub(super) fn create(create: &CreateStmt, tag: &'static str) -> Ddl {
    let mut ddl = Ddl::new(tag);
    let Some(relation) = &create.relation else {
        return ddl;
    };
    let table = names::table(relation);
    let mut columns = Vec::new();
    let mut others = Vec::new();
    let mut open = !create.inh_relations.is_empty() || create.of_typename.is_some();
    for element in &create.table_elts {
        match &element.node {
            Some(NodeEnum::ColumnDef(column)) => {
                columns.push(new_column(column));
                self::column(&mut ddl, &table, column, &mut others);
            }
            Some(NodeEnum::Constraint(it)) => constraint(&table, it, None, &mut others),
            Some(NodeEnum::TableLikeClause(like)) => {
                open = true;
                others.extend(
                    like.relation
                        .as_ref()
                        .map(names::table)
                        .map(Change::Mention),
                );
            }
            _ => open = true,
        }
    }
    for node in &create.constraints {
        if let Some(NodeEnum::Constraint(it)) = &node.node {
            constraint(&table, it, None, &mut others);
        }
    }
    for node in &create.inh_relations {
        if let Some(NodeEnum::RangeVar(parent)) = &node.node {
            others.push(Change::Mention(names::table(parent)));
        }
    }
    if is_temporary(relation) {
        ddl.temporary = true;
    }
    ddl.changes.push(Change::Create {
        table,
        columns,
        open,
    });
    ddl.changes.extend(others);
    ddl
}

/// CREATE INDEX.
pub(super) fn index(index: &IndexStmt) -> Ddl {
    let mut ddl = Ddl::new("CREATE INDEX");
    let Some(table) = index.relation.as_ref().map(names::table) else {
        return ddl;
    };
    if index.concurrent {
        ddl.manner = Manner::IndexInTurn(NewIndex {
            name: (!index.idxname.is_empty()).then(|| index.idxname.clone()),
            table: table.clone(),
        });
    }
    ddl.changes.push(if index.unique {
        let columns = index.index_params.iter().filter_map(plain_index_column);
        Change::Unique {
            table,
            constraint: Constraint {
                kind: "a unique index",
                columns: columns.collect(),
            },
        }
    } else {
        Change::Alter(table)
    });
    ddl
}

/// ALTER TABLE and its like for views, indexes and so on.
pub(super) fn alter(alter: &AlterTableStmt) -> Ddl {
    let mut ddl = Ddl::new(tags::alter(alter.objtype()));
    let Some(relation) = &alter.relation else {
        return ddl;
    };
    // A type's attributes are no table's columns.
    if alter.objtype() == ObjectType::ObjectType {
        return ddl;
    }
    let table = names::table(relation);
    if is_beside_tables(alter.objtype()) {
        ddl.objects.push(table.clone());
    }
    ddl.changes.push(Change::Alter(table.clone()));
    for node in &alter.cmds {
        if let Some(NodeEnum::AlterTableCmd(command)) = &node.node {
            alter_command(&mut ddl, &table, command);
        }
    }
    ddl
}

fn alter_command(ddl: &mut Ddl, table: &TableRef, command: &AlterTableCmd) {
    let column_change = |verb: &'static str| Change::Column {
        table: table.clone(),
        column: command.name.clone(),
        verb,
    };
    match command.subtype() {
        AlterTableType::AtDropColumn => ddl.changes.push(column_change("drop")),
        AlterTableType::AtAlterColumnType => {
            ddl.changes.push(column_change("change the type of"));
        }
        AlterTableType::AtAddIdentity => ddl.draws = Some(IDENTITY),
        AlterTableType::AtSetIdentity if !only_restarts(command.def.as_deref()) => {
            ddl.object(IDENTITY_OPTIONS);
        }
        _ => {}
    }
    let mut others = Vec::new();
    match command.def.as_deref().map(|def| &def.node) {
        Some(Some(NodeEnum::ColumnDef(column))) => {
            self::column(ddl, table, column, &mut others);
        }
        Some(Some(NodeEnum::Constraint(it))) => constraint(table, it, None, &mut others),
        Some(Some(NodeEnum::RangeVar(parent))) => {
            others.push(Change::Mention(names::table(parent)));
        }
        Some(Some(NodeEnum::PartitionCmd(partition))) => {
            others.extend(partition.name.as_ref().map(names::table).map(Change::Alter));
            if partition.concurrent {
                ddl.manner = Manner::InTurn;
            }
        }
        Some(Some(_)) if command.subtype() == AlterTableType::AtColumnDefault => {
            if command.def.as_deref().is_some_and(draws_from_sequence) {
                ddl.draws = Some(SEQUENCE_DEFAULT);
            }
        }
        Some(_) | None => {}
    }
    ddl.changes.append(&mut others);
}

/// Whether the options of an identity column leave its values as they are but for the next one.
fn only_restarts(options: Option<&Node>) -> bool {
    let Some(Some(NodeEnum::List(list))) = options.map(|node| &node.node) else {
        return false;
    };
    list.items.iter().all(|node| match &node.node {
        Some(NodeEnum::DefElem(option)) => {
            ["restart", "generated"].contains(&option.defname.as_str())
        }
        _ => false,
    })
}

/// What a column's definition asks for besides the column.
fn column(ddl: &mut Ddl, table: &TableRef, column: &ColumnDef, others: &mut Vec<Change>) {
    if column.type_name.as_ref().is_some_and(is_serial) {
        ddl.draws = Some(SERIAL);
    }
    if column
        .raw_default
        .as_deref()
        .is_some_and(draws_from_sequence)
    {
        ddl.draws = Some(SEQUENCE_DEFAULT);
    }
    for node in &column.constraints {
        let Some(NodeEnum::Constraint(it)) = &node.node else {
            continue;
        };
        match it.contype() {
            ConstrType::ConstrIdentity => ddl.draws = Some(IDENTITY),
            ConstrType::ConstrDefault
                if it.raw_expr.as_deref().is_some_and(draws_from_sequence) =>
            {
                ddl.draws = Some(SEQUENCE_DEFAULT);
            }
            _ => constraint(table, it, Some(&column.colname), others),
        }
    }
}

/// A constraint of a table, or of one of its columns.
fn constraint(
    table: &TableRef,
    constraint: &protobuf::Constraint,
    column: Option<&str>,
    changes: &mut Vec<Change>,
) {
    let (kind, columns) = match constraint.contype() {
        ConstrType::ConstrPrimary => ("a primary key", key_columns(constraint, column)),
        ConstrType::ConstrUnique => ("a unique constraint", key_columns(constraint, column)),
        ConstrType::ConstrExclusion => ("an exclusion constraint", excluded_columns(constraint)),
        ConstrType::ConstrForeign => {
            changes.extend(
                constraint
                    .pktable
                    .as_ref()
                    .map(names::table)
                    .map(Change::Mention),
            );
            return;
        }
        _ => return,
    };
    // USING INDEX names no columns: the index, unique already, was looked at when it was made.
    if constraint.indexname.is_empty() {
        changes.push(Change::Unique {
            table: table.clone(),
            constraint: Constraint { kind, columns },
        });
    }
}

fn key_columns(constraint: &protobuf::Constraint, column: Option<&str>) -> Vec<String> {
    let mut columns = match column {
        Some(column) => vec![column.to_owned()],
        None => names::texts(&constraint.keys),
    };
    // WITHOUT OVERLAPS compares the last column otherwise than by equality.
    if constraint.without_overlaps {
        columns.pop();
    }
    columns
}

/// The columns that an exclusion constraint compares by equality.
fn excluded_columns(constraint: &protobuf::Constraint) -> Vec<String> {
    let columns = constraint.exclusions.iter().filter_map(|node| {
        let Some(NodeEnum::List(pair)) = &node.node else {
            return None;
        };
        let [element, operator] = pair.items.as_slice() else {
            return None;
        };
        let Some(NodeEnum::List(operator)) = &operator.node else {
            return None;
        };
        names::is_equality(&operator.items)
            .then(|| plain_index_column(element))
            .flatten()
    });
    columns.collect()
}

/// An index's column that is compared by its own type's equality.
fn plain_index_column(node: &Node) -> Option<String> {
    let Some(NodeEnum::IndexElem(element)) = &node.node else {
        return None;
    };
    let IndexElem {
        name, collation, ..
    } = element.as_ref();
    (!name.is_empty() && collation.is_empty()).then(|| name.clone())
}

fn new_column(column: &ColumnDef) -> NewColumn {
    let has_own_collation = column
        .coll_clause
        .as_deref()
        .is_some_and(|it| !is_bytewise_equality(it));
    let key_type = match &column.type_name {
        Some(type_name) if !has_own_collation => key_type(type_name),
        Some(_) | None => KeyColumnType::Other,
    };
    NewColumn {
        name: column.colname.clone(),
        key_type,
    }
}

/// Whether a collation surely calls only equal bytes equal. PostgreSQL's own ones do; others may
/// be nondeterministic, so that one key has many spellings.
fn is_bytewise_equality(collation: &CollateClause) -> bool {
    matches!(
        names::parts(&collation.collname).as_deref(),
        Some(["C" | "POSIX" | "default" | "ucs_basic"] | ["pg_catalog", _])
    )
}

fn key_type(type_name: &TypeName) -> KeyColumnType {
    if !type_name.array_bounds.is_empty() {
        return KeyColumnType::Other;
    }
    if is_serial(type_name) {
        return KeyColumnType::Family(Family::Integer);
    }
    if let Some(family) = literal::family(type_name) {
        return KeyColumnType::Family(family);
    }
    match names::parts(&type_name.names).as_deref() {
        Some(["pg_catalog", "varchar" | "bpchar"] | ["varchar" | "bpchar"]) => {
            KeyColumnType::CutText
        }
        _ => KeyColumnType::Other,
    }
}

fn is_serial(type_name: &TypeName) -> bool {
    matches!(
        names::parts(&type_name.names).as_deref(),
        Some(["serial" | "serial2" | "serial4" | "serial8" | "bigserial" | "smallserial"])
    )
}

fn draws_from_sequence(default: &Node) -> bool {
    // Places of nodes do not matter here, so the text is not needed.
    let mut builder = Builder::new("");
    let scope = builder.open(None);
    builder.expression(default, Place::outside(scope));
    let (_, calls) = builder.finish();
    calls.iter().any(|call| call.name == "nextval")
}
