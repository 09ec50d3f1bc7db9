//! INTERSECT, EXCEPT, and UNION within other set operations: each shard gives the rows of all sides,
//! each with the number of its side, and a last query does to them what the client's does.

use pg_query::protobuf::{LimitOption, Node, SelectStmt, SetOperation};

use super::bound::bound;
use super::sql::{Hole, Sql};
use super::tree::{self, not_understood, refused};
use super::{Finish, gather};
use crate::route::Refusal;
use crate::route::spread::Leaf;

/// What shards are asked, and the last query.
pub(super) fn plan(
    mut select: SelectStmt,
    leaves: &[Leaf],
) -> Result<(SelectStmt, Finish), Refusal> {
    // What is counted in them are numbers and expressions, as everywhere.
    bound(select.limit_count.as_deref(), "LIMIT")?;
    bound(select.limit_offset.as_deref(), "OFFSET")?;
    let only_distinct = has_only_distinct(&select);
    if leaves.iter().any(|leaf| is_apart(leaf, only_distinct)) {
        return Err(super::apart());
    }
    let mut last = select.clone();
    let mut sides = Vec::new();
    tree::leaves(&mut last, &mut sides);
    let columns = names(sides.first().ok_or_else(not_understood)?)?;
    for (number, side) in sides.into_iter().enumerate() {
        if names(side)?.len() != columns.len() {
            return Err(not_understood());
        }
        *side = of_side(number, &columns)?;
    }
    forget_with(&mut last);
    let mut sides = Vec::new();
    tree::leaves(&mut select, &mut sides);
    for (number, side) in sides.into_iter().enumerate() {
        let number = tree::target(tree::integer(number), "vg_side");
        side.target_list.push(number);
    }
    unite(&mut select);
    select.limit_count = None;
    select.limit_offset = None;
    select.limit_option = LimitOption::Default.into();
    let finish = Finish::Last {
        sql: Sql(tree::text(last)?),
        sums: Vec::new(),
    };
    Ok((select, finish))
}

/// Whether a shard by itself can't give a side's rows.
fn is_apart(leaf: &Leaf, only_distinct: bool) -> bool {
    let shape = &leaf.shape;
    shape.looks_around
        || (shape.gathers && !leaf.groups_by_key)
        || (shape.distinct && !leaf.selects_key && !only_distinct)
}

/// Whether no operation minds how often a row is there.
fn has_only_distinct(select: &SelectStmt) -> bool {
    if !tree::is_set_operation(select) {
        return true;
    }
    let sides = [&select.larg, &select.rarg];
    !select.all && sides.into_iter().flatten().all(|it| has_only_distinct(it))
}

/// What the outputs of a side are called; none may stand for several.
fn names(side: &SelectStmt) -> Result<Vec<String>, Refusal> {
    let name = |item: &Node| {
        let (value, _) = tree::target_of(item).ok_or_else(not_understood)?;
        if tree::is_star(value) {
            return Err(refused(
                "* in a side of INTERSECT or EXCEPT is not supported over several shards",
            )
            .hint("name the columns"));
        }
        if gather::tells_time(value) {
            return Err(gather::clock());
        }
        Ok(tree::output_name(item).unwrap_or_else(|| "?column?".to_owned()))
    };
    side.target_list.iter().map(name).collect()
}

/// The partial rows of one side.
fn of_side(number: usize, columns: &[String]) -> Result<SelectStmt, Refusal> {
    let count = columns.len();
    let text = format!(
        "SELECT FROM {} p WHERE p.c{count} OPERATOR(pg_catalog.=) {number}",
        Hole::Partial
    );
    let mut side = tree::parse(&text)?;
    let targets = columns.iter().enumerate();
    side.target_list = targets
        .map(|(at, name)| tree::target(tree::partial(at), name))
        .collect();
    Ok(side)
}

/// All rows of all sides.
fn unite(select: &mut SelectStmt) {
    if !tree::is_set_operation(select) {
        return;
    }
    select.op = SetOperation::SetopUnion.into();
    select.all = true;
    select.sort_clause.clear();
    let sides = [&mut select.larg, &mut select.rarg];
    for side in sides.into_iter().flatten() {
        unite(side);
    }
}

fn forget_with(select: &mut SelectStmt) {
    select.with_clause = None;
    let sides = [&mut select.larg, &mut select.rarg];
    for side in sides.into_iter().flatten() {
        forget_with(side);
    }
}
