//! Reads names out of the tree: tables, columns, operators. Case has been folded by the parser.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{self, Node, RangeVar};

use super::{ColumnRef, Qualifier, TableRef};

/// The text of a name's part.
pub(super) fn text(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(string)) => Some(&string.sval),
        _ => None,
    }
}

/// The texts of a list of names.
pub(super) fn texts(nodes: &[Node]) -> Vec<String> {
    nodes.iter().filter_map(text).map(str::to_owned).collect()
}

/// The parts of a dotted name; none when one of them is not a name, such as `*`.
pub(super) fn parts(nodes: &[Node]) -> Option<Vec<&str>> {
    nodes.iter().map(text).collect()
}

/// A table as written in FROM or as a target. The database before it can only be the present one.
pub(super) fn table(range: &RangeVar) -> TableRef {
    TableRef {
        schema: (!range.schemaname.is_empty()).then(|| range.schemaname.clone()),
        name: range.relname.clone(),
    }
}

/// A table as written in DROP and COMMENT: a list of names.
pub(super) fn table_of_list(node: &Node) -> Option<TableRef> {
    let Some(NodeEnum::List(list)) = &node.node else {
        return None;
    };
    table_of_parts(&parts(&list.items)?)
}

/// A table from the parts of its dotted name.
pub(super) fn table_of_parts(parts: &[&str]) -> Option<TableRef> {
    let (name, before) = parts.split_last()?;
    Some(TableRef {
        schema: before.last().map(|schema| (*schema).to_owned()),
        name: (*name).to_owned(),
    })
}

/// A column as written; none for `*`.
pub(super) fn column(column: &protobuf::ColumnRef, among: Range<usize>) -> Option<ColumnRef> {
    let parts = parts(&column.fields)?;
    let (name, before) = parts.split_last()?;
    Some(ColumnRef {
        qualifier: qualifier(before),
        name: (*name).to_owned(),
        among,
    })
}

/// Whether a column reference ends in `*`, and what stands before it.
pub(super) fn star(column: &protobuf::ColumnRef) -> Option<Option<Qualifier>> {
    let (last, before) = column.fields.split_last()?;
    if !matches!(last.node, Some(NodeEnum::AStar(_))) {
        return None;
    }
    Some(qualifier(&parts(before)?))
}

/// Whether an expression stands for any number of columns: `t.*`, `(row).*`.
pub(super) fn is_star(value: &Node) -> bool {
    match &value.node {
        Some(NodeEnum::ColumnRef(column)) => ends_in_star(&column.fields),
        Some(NodeEnum::AIndirection(it)) => ends_in_star(&it.indirection),
        _ => false,
    }
}

fn ends_in_star(nodes: &[Node]) -> bool {
    let last = nodes.last().and_then(|node| node.node.as_ref());
    matches!(last, Some(NodeEnum::AStar(_)))
}

fn qualifier(parts: &[&str]) -> Option<Qualifier> {
    table_of_parts(parts).map(|table| Qualifier {
        schema: table.schema,
        name: table.name,
    })
}

/// Whether an operator's name is that of PostgreSQL's own equality.
pub(super) fn is_equality(operator: &[Node]) -> bool {
    matches!(
        parts(operator).as_deref(),
        Some(["="] | ["pg_catalog", "="])
    )
}

/// The columns in which PostgreSQL says where it keeps a row, and who wrote it.
const PLACES: [&str; 6] = ["cmax", "cmin", "ctid", "tableoid", "xmax", "xmin"];

/// Which of them a column is.
pub(super) fn place(column: &protobuf::ColumnRef) -> Option<&'static str> {
    let name = column.fields.last().and_then(text)?;
    PLACES.into_iter().find(|place| *place == name)
}

/// The function that makes rows of arrays.
pub(super) const UNNEST: &str = "unnest";

/// The arrays that a call of unnest makes rows of.
pub(super) fn unnested(node: &Node) -> Option<&[Node]> {
    let Some(NodeEnum::FuncCall(call)) = &node.node else {
        return None;
    };
    let is_plain = call.over.is_none() && !call.func_variadic && !call.args.is_empty();
    match parts(&call.funcname)?.as_slice() {
        [UNNEST] | ["pg_catalog", UNNEST] if is_plain => Some(&call.args),
        _ => None,
    }
}
