//! A query that reads nothing but what one query within it makes of the rows of several shards, as
//! `SELECT count(*) FROM (SELECT .. LIMIT 10) x`: the inner one is planned for itself, and the last
//! query is the outer one over what comes of it.
//!
//! So each shard is still asked once, and all that is answered is of one snapshot of it.

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt, SubLink, SubLinkType};
use topology::Snapshot;

use super::sql::{Hole, Sql};
use super::tree::{self, not_understood};
use super::{Finish, Manner, Program};
use crate::query::{self, Class, Data, Source, TableRef};
use crate::route::Refusal;

/// How many queries within one are looked at.
const MAX_SPOTS: usize = 16;

/// Plans such a query; none when it is no such one.
pub(super) fn plan(
    text: &str,
    snapshot: (&Snapshot, &[&str]),
    manner: Manner,
) -> Result<Option<Program>, Refusal> {
    let whole = tree::parse(text)?;
    let Some(named) = named(&whole) else {
        return Ok(None);
    };
    for at in 0..MAX_SPOTS {
        let mut outer = whole.clone();
        let Some(spot) = spots(&mut outer).into_iter().nth(at) else {
            break;
        };
        let inner = std::mem::replace(spot, stand_in()?);
        let outer = tree::text(outer)?;
        if !reads_only_the_stand_in(&outer) {
            continue;
        }
        return around(&tree::text(inner)?, outer, &named, snapshot, manner)?
            .map(|program| {
                Ok(Program {
                    original: tree::text(whole)?,
                    ..program
                })
            })
            .transpose();
    }
    Ok(None)
}

/// The names of a query's WITH; none when the query is of a kind that is not looked into.
fn named(whole: &SelectStmt) -> Option<Vec<String>> {
    let is_plain = !tree::is_set_operation(whole)
        && whole.into_clause.is_none()
        && whole.locking_clause.is_empty()
        && whole.values_lists.is_empty();
    let with = whole.with_clause.as_ref();
    if !is_plain || with.is_some_and(|with| with.recursive) {
        return None;
    }
    let ctes = with.into_iter().flat_map(|with| &with.ctes);
    ctes.map(|cte| match &cte.node {
        Some(NodeEnum::CommonTableExpr(cte)) => Some(cte.ctename.clone()),
        _ => None,
    })
    .collect()
}

/// What stands where the inner query stood.
fn stand_in() -> Result<SelectStmt, Refusal> {
    tree::parse(&format!("SELECT * FROM {} vg_inner", Hole::Partial))
}

/// The outer query over the plan of the inner one.
fn around(
    inner: &str,
    outer: String,
    named: &[String],
    snapshot: (&Snapshot, &[&str]),
    manner: Manner,
) -> Result<Option<Program>, Refusal> {
    let analysis = query::analyze(inner).map_err(|_| not_understood())?;
    let Some(data) = only_query(&analysis.statements) else {
        return Ok(None);
    };
    // By itself it would take the name of a WITH around it for a table's.
    let is_named = |table: &TableRef| table.schema.is_none() && named.contains(&table.name);
    if tables(data).any(is_named) {
        return Ok(None);
    }
    let inner = super::plan(inner, data, snapshot, manner)?;
    Ok(Some(Program {
        original: String::new(),
        shards: inner.shards.clone(),
        keys: inner.keys.clone(),
        key_type: inner.key_type,
        finish: Finish::Around {
            outer: Sql(outer),
            inner: Box::new(inner),
        },
    }))
}

/// What a text reads that is one query without calls that matter to where it runs.
fn only_query(statements: &[query::Statement]) -> Option<&Data> {
    let [statement] = statements else {
        return None;
    };
    match &statement.class {
        Class::Select(data) if statement.functions.is_empty() => Some(data),
        _ => None,
    }
}

fn tables(data: &Data) -> impl Iterator<Item = &TableRef> {
    let entries = data.scopes.iter().flat_map(|scope| &scope.entries);
    entries.filter_map(|entry| match &entry.source {
        Source::Table(table) => Some(table),
        Source::Rows(_) | Source::Opaque => None,
    })
}

fn reads_only_the_stand_in(outer: &str) -> bool {
    let Ok(analysis) = query::analyze(outer) else {
        return false;
    };
    let Some(data) = only_query(&analysis.statements) else {
        return false;
    };
    let partial = Hole::Partial.to_string();
    let is_whole = data.opaque.is_none() && data.writes.is_empty() && !data.locks_rows;
    is_whole && tables(data).all(|table| table.schema.is_none() && table.name == partial)
}

/// The queries right within a query that know nothing of its rows.
fn spots(outer: &mut SelectStmt) -> Vec<&mut SelectStmt> {
    let mut found = Vec::new();
    let is_bare = outer.from_clause.is_empty();
    for item in &mut outer.from_clause {
        of_from(item, &mut found);
    }
    for cte in outer.with_clause.iter_mut().flat_map(|with| &mut with.ctes) {
        if let Some(NodeEnum::CommonTableExpr(cte)) = &mut cte.node {
            found.extend(cte.ctequery.as_deref_mut().and_then(select_of));
        }
    }
    if is_bare {
        let mut links = Vec::new();
        for value in outer.target_list.iter_mut().filter_map(tree::target_mut) {
            of_expression(value, &mut links);
        }
        found.extend(links.into_iter().filter_map(of_link));
    }
    found
}

fn of_from<'n>(item: &'n mut Node, found: &mut Vec<&'n mut SelectStmt>) {
    match &mut item.node {
        Some(NodeEnum::RangeSubselect(inner)) if !inner.lateral => {
            found.extend(inner.subquery.as_deref_mut().and_then(select_of));
        }
        Some(NodeEnum::JoinExpr(join)) => {
            let sides = [join.larg.as_deref_mut(), join.rarg.as_deref_mut()];
            for side in sides.into_iter().flatten() {
                of_from(side, found);
            }
        }
        _ => {}
    }
}

fn of_expression<'n>(node: &'n mut Node, found: &mut Vec<&'n mut SubLink>) {
    if matches!(node.node, Some(NodeEnum::SubLink(_))) {
        if let Some(NodeEnum::SubLink(link)) = &mut node.node {
            found.push(link);
        }
        return;
    }
    for child in tree::children(node).into_iter().flatten() {
        of_expression(child, found);
    }
}

/// `EXISTS (SELECT ..)` needs one row, of any columns.
fn of_link(link: &mut SubLink) -> Option<&mut SelectStmt> {
    let exists = link.sub_link_type() == SubLinkType::ExistsSublink;
    let inner = select_of(link.subselect.as_deref_mut()?)?;
    if exists && inner.limit_count.is_none() {
        inner.limit_count = Some(Box::new(tree::integer(1)));
        inner.limit_option = LimitOption::Count.into();
    }
    if exists && inner.target_list.is_empty() && !tree::is_set_operation(inner) {
        inner.target_list.push(tree::target(tree::integer(1), ""));
    }
    Some(inner)
}

fn select_of(node: &mut Node) -> Option<&mut SelectStmt> {
    match &mut node.node {
        Some(NodeEnum::SelectStmt(select)) => Some(select),
        _ => None,
    }
}
