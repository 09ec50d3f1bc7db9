//! Aggregates of sub-queries that may be the outer level's: PostgreSQL gives an aggregate to the level
//! that its columns are of, which their names alone do not always tell.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt};

use super::tree::{self, refused};
use crate::query;
use crate::route::Refusal;

/// Refuses aggregates of sub-queries that may belong to the level around them: only one whose
/// columns are all qualified by what its own level reads is surely its own.
pub(super) fn check_aggregates(select: &SelectStmt) -> Result<(), Refusal> {
    let clauses = select
        .target_list
        .iter()
        .filter_map(|item| tree::target_of(item).map(|it| it.0));
    let clauses = clauses
        .chain(select.having_clause.as_deref())
        .chain(select.sort_clause.iter());
    for clause in clauses {
        let mut stray = false;
        tree::any(clause, &mut |node| {
            if let Some(NodeEnum::SubLink(link)) = &node.node {
                stray |= link.subselect.as_deref().is_some_and(has_stray_aggregate);
            }
            false
        });
        if stray {
            let mut refusal = refused(
                "an aggregate of a sub-query whose columns are not qualified is not supported over \
                 several shards",
            );
            refusal.hint = Some("write the table's name or alias before its columns".to_owned());
            return Err(refusal);
        }
    }
    Ok(())
}

fn has_stray_aggregate(query: &Node) -> bool {
    let Some(NodeEnum::SelectStmt(inner)) = &query.node else {
        return true;
    };
    if tree::is_set_operation(inner) {
        let mut copy = inner.as_ref().clone();
        let mut sides = Vec::new();
        tree::leaves(&mut copy, &mut sides);
        return sides.iter().any(|side| {
            has_stray_aggregate(&tree::node(NodeEnum::SelectStmt(Box::new((*side).clone()))))
        });
    }
    let own = own_names(&inner.from_clause);
    let mut correlated = false;
    if let Some(condition) = inner.where_clause.as_deref() {
        tree::any(condition, &mut |node| {
            if let Some(NodeEnum::ColumnRef(column)) = &node.node {
                correlated |= column.fields.len() > 1 && !is_of(node, &own);
            }
            false
        });
    }
    if correlated {
        // Were the aggregate the outer level's, that column would have to be grouped by.
        return false;
    }
    let mut stray = false;
    for item in &inner.target_list {
        let Some((value, _)) = tree::target_of(item) else {
            continue;
        };
        tree::any(value, &mut |node| {
            if let Some(NodeEnum::FuncCall(call)) = &node.node
                && query::is_aggregate(call)
            {
                stray |= call.args.iter().any(|arg| !is_of(arg, &own));
            }
            false
        });
    }
    stray
}

/// Whether every column of an expression is qualified by one of these names.
fn is_of(value: &Node, own: &[String]) -> bool {
    let foreign = |node: &Node| match &node.node {
        Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
            [.., qualifier, _] => {
                let qualifier = tree::string(qualifier).unwrap_or("");
                !own.iter().any(|name| name == qualifier)
            }
            _ => true,
        },
        Some(NodeEnum::SubLink(_)) => true,
        _ => false,
    };
    !tree::any(value, &mut { foreign })
}

fn own_names(items: &[Node]) -> Vec<String> {
    let mut names = Vec::new();
    for item in items {
        let alias =
            |alias: Option<&pg_query::protobuf::Alias>| alias.map(|it| it.aliasname.clone());
        match &item.node {
            Some(NodeEnum::RangeVar(it)) => {
                names.push(alias(it.alias.as_ref()).unwrap_or_else(|| it.relname.clone()));
            }
            Some(NodeEnum::RangeSubselect(it)) => names.extend(alias(it.alias.as_ref())),
            Some(NodeEnum::RangeFunction(it)) => names.extend(alias(it.alias.as_ref())),
            Some(NodeEnum::JoinExpr(it)) => {
                let sides = [it.larg.as_deref(), it.rarg.as_deref()];
                for side in sides.into_iter().flatten() {
                    names.extend(own_names(std::slice::from_ref(side)));
                }
            }
            _ => {}
        }
    }
    names
}
