//! Pure: how a query over the rows of several shards is answered. What each shard is asked, and how
//! the answers are put together.
//!
//! Whether a shard can answer for its own rows is found out by [`crate::route::spread`]; here the
//! texts are written. They have holes for what only execution knows (see [`sql`]).

use pg_query::NodeEnum;
use pg_query::protobuf::{LimitOption, Node, SelectStmt, SortByDir, SortByNulls, a_const};
use topology::{KeyType, Snapshot};

use crate::query::{self, Data};
use crate::route::Refusal;
use crate::route::spread::{self, Leaf, Spread};

pub mod around;
mod gather;
pub mod sql;
#[cfg(test)]
mod tests;
mod tree;

use gather::{Gathered, Stopped, is_volatile};
use sql::{Hole, Sql};
use tree::{not_understood, refused};
use wire::quote::ident;

/// What a name in GROUP BY stands for that may be a column or an output: PostgreSQL takes a column
/// where there is one, which is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Names {
    /// A column.
    Columns,
    /// An output.
    Outputs,
}

/// How a query is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The client's own text.
    pub original: String,
    /// What each shard is asked.
    pub shards: Sql,
    /// The key of each hole [`Hole::Own`], as SQL text.
    pub keys: Vec<String>,
    /// The type of the keys.
    pub key_type: KeyType,
    /// What becomes of the answers.
    pub finish: Finish,
}

/// What becomes of the shards' answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finish {
    /// Their rows are the answer, after they were merged by the last columns, one for each of these.
    Rows {
        /// By what; nothing is any order.
        order: Vec<Order>,
        /// LIMIT.
        limit: Bound,
        /// OFFSET.
        offset: Bound,
    },
    /// Equal rows of theirs are one.
    Distinct {
        /// The order, by outputs.
        order: Vec<(Output, Order)>,
        /// LIMIT and OFFSET as SQL text.
        tail: String,
    },
    /// A query over their rows gives the answer.
    Last {
        /// The query.
        sql: Sql,
        /// Partial columns that sum up for an average.
        sums: Vec<usize>,
    },
}

/// The direction of one column of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// DESC.
    pub descending: bool,
    /// NULLS FIRST.
    pub nulls_first: bool,
}

impl Program {
    /// What it does, for people: each shard's query, and what becomes of the answers.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let plain = |sql: &Sql| {
            sql.fill(|hole| match hole {
                Hole::Own(_) => "<rows of its own>".to_owned(),
                Hole::Limit => "<limit + offset>".to_owned(),
                Hole::Output(at) => format!("<column {at}>"),
                Hole::Partial => "<rows of all shards>".to_owned(),
                Hole::Type(at) => format!("<type of c{at}>"),
                Hole::Average(sum, count) => format!("sum(p.c{sum}) / sum(p.c{count})"),
                Hole::Widen(_) => String::new(),
            })
        };
        let finish = match &self.finish {
            Finish::Rows { order, .. } if order.is_empty() => {
                "rows are passed on as they come".to_owned()
            }
            Finish::Rows { order, .. } => {
                format!("sorted rows are merged by {} columns", order.len())
            }
            Finish::Distinct { .. } => "one shard makes equal rows one".to_owned(),
            Finish::Last { sql, .. } => format!("one shard is asked: {}", plain(sql)),
        };
        vec![
            format!("Each shard: {}", plain(&self.shards)),
            format!("Then: {finish}"),
        ]
    }
}

impl Order {
    /// As SQL text.
    #[must_use]
    pub fn sql(self) -> &'static str {
        match (self.descending, self.nulls_first) {
            (false, false) => "ASC NULLS LAST",
            (false, true) => "ASC NULLS FIRST",
            (true, false) => "DESC NULLS LAST",
            (true, true) => "DESC NULLS FIRST",
        }
    }
}

/// An output of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// By its place, counted from 0.
    At(usize),
    /// By its name.
    Named(String),
}

/// A LIMIT or OFFSET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// None.
    Open,
    /// A number.
    Number(i64),
    /// A parameter, counted from 0.
    Parameter(u16),
}

/// Plans a query, the text of which is one statement: a SELECT, or a COPY or EXPLAIN of one.
///
/// # Errors
/// Why it can't be answered by shards each for itself.
pub fn plan(
    text: &str,
    data: &Data,
    (snapshot, search_path): (&Snapshot, &[&str]),
    names: Names,
) -> Result<Program, Refusal> {
    if text.contains(sql::MARK) {
        return Err(not_understood());
    }
    tree::check_numbers(text)?;
    let spread = spread::spread(data, snapshot, search_path)?;
    let select = tree::parse(text)?;
    if select.into_clause.is_some() || !select.values_lists.is_empty() {
        return Err(not_understood());
    }
    let Spread { key_type, leaves } = &spread;
    let own_text = tree::text(select.clone())?;
    let (mut shards, finish) = match leaves.as_slice() {
        [leaf] if !tree::is_set_operation(&select) => single(select, leaf, names)?,
        _ => union(select, leaves)?,
    };
    let mut sides = Vec::new();
    tree::leaves(&mut shards, &mut sides);
    if sides.len() != leaves.len() {
        return Err(not_understood());
    }
    let mut keys = Vec::with_capacity(leaves.len());
    for (at, (side, leaf)) in sides.into_iter().zip(leaves).enumerate() {
        let hole = tree::column(&[&Hole::Own(at).to_string()]);
        tree::and_at(side, &leaf.path, hole)?;
        keys.push(format!("{}.{}", ident(&leaf.anchor), ident(&leaf.column)));
    }
    Ok(Program {
        original: own_text,
        shards: Sql(tree::text(shards)?),
        keys,
        key_type: *key_type,
        finish,
    })
}

/// As [`plan`], with whichever meaning of names the query has.
///
/// # Errors
/// As [`plan`].
pub fn either(text: &str, data: &Data, snapshot: (&Snapshot, &[&str])) -> Result<Program, Refusal> {
    plan(text, data, snapshot, Names::Columns).or_else(|refusal| {
        let other = plan(text, data, snapshot, Names::Outputs);
        other.map_err(|_| refusal)
    })
}

fn single(select: SelectStmt, leaf: &Leaf, names: Names) -> Result<(SelectStmt, Finish), Refusal> {
    let shape = &leaf.shape;
    check_aggregates(&select)?;
    let gathers = shape.gathers && !leaf.groups_by_key;
    if gathers || shape.looks_around {
        let with_window = shape.looks_around && !gathers;
        let gathered = if with_window {
            gather::raw(&select, leaf, names)
        } else {
            match gather::partial(&select, leaf, names) {
                Err(Stopped::Otherwise(_)) => gather::raw(&select, leaf, names),
                planned => planned,
            }
        };
        let Gathered { shards, last, sums } = gathered.map_err(|stopped| match stopped {
            Stopped::Otherwise(refusal) | Stopped::Refused(refusal) => refusal,
        })?;
        return Ok((shards, Finish::Last { sql: last, sums }));
    }
    if shape.distinct && !leaf.selects_key {
        return distinct(select);
    }
    rows(select)
}

/// A set operation: all of UNION ALL, or UNION at the top.
fn union(mut select: SelectStmt, leaves: &[Leaf]) -> Result<(SelectStmt, Finish), Refusal> {
    let distinct_at_top = !select.all;
    if !is_union(&select, distinct_at_top) {
        return Err(refused(
            "INTERSECT, EXCEPT, and UNION within UNION ALL are not supported over several shards",
        ));
    }
    let mut sides = Vec::new();
    tree::leaves(&mut select, &mut sides);
    for side in sides {
        check_aggregates(side)?;
    }
    for leaf in leaves {
        let shape = &leaf.shape;
        let apart = shape.looks_around
            || (shape.gathers && !leaf.groups_by_key)
            || (shape.distinct && !leaf.selects_key && !distinct_at_top);
        if apart {
            return Err(refused(
                "aggregates, window functions and DISTINCT in a side of a UNION are not supported \
                 over several shards without the shard key",
            ));
        }
    }
    if distinct_at_top {
        distinct(select)
    } else {
        rows(select)
    }
}

fn is_union(select: &SelectStmt, distinct: bool) -> bool {
    use pg_query::protobuf::SetOperation;
    if !tree::is_set_operation(select) {
        return true;
    }
    let sides = [&select.larg, &select.rarg];
    let mut sides = sides.into_iter().flatten();
    select.op() == SetOperation::SetopUnion
        && (distinct || select.all)
        && sides.all(|side| is_union(side, distinct))
}

/// Rows that are the answer as they come.
fn rows(mut select: SelectStmt) -> Result<(SelectStmt, Finish), Refusal> {
    if select.limit_option() == LimitOption::WithTies {
        return Err(refused(
            "FETCH FIRST ... WITH TIES is not supported over several shards",
        ));
    }
    let limit = bound(select.limit_count.as_deref(), "LIMIT")?;
    let offset = bound(select.limit_offset.as_deref(), "OFFSET")?;
    let mut order = Vec::with_capacity(select.sort_clause.len());
    let sorts = select.sort_clause.clone();
    let set_operation = tree::is_set_operation(&select);
    let mut sides = Vec::new();
    tree::leaves(&mut select, &mut sides);
    for (at, item) in sorts.iter().enumerate() {
        order.push(direction(item)?);
        let by = tree::sort_of(item).and_then(|sort| sort.node.as_deref());
        let by = by.ok_or_else(not_understood)?;
        let place = match sides.first() {
            Some(first) => place_of(by, &first.target_list),
            None => return Err(not_understood()),
        };
        for side in &mut sides {
            let value = match &place {
                Place::Expression if set_operation => return Err(not_understood()),
                Place::Expression => by.clone(),
                Place::Known(at) => {
                    let item = side.target_list.get(*at).and_then(tree::target_of);
                    match item {
                        Some((value, _)) if !tree::is_star(value) => value.clone(),
                        Some(_) => return Err(behind_star()),
                        // A shard says what is wrong with it.
                        None => tree::integer(1),
                    }
                }
                Place::Late(_) if set_operation => return Err(behind_star()),
                Place::Late(at) => tree::column(&[&Hole::Output(*at).to_string()]),
            };
            if is_volatile(&value) {
                return Err(refused(
                    "ORDER BY a volatile function is not supported over several shards",
                ));
            }
            side.target_list
                .push(tree::target(value, &format!("vg_order_{at}")));
        }
    }
    if limit != Bound::Open {
        let hole = tree::column(&[&Hole::Limit.to_string()]);
        select.limit_count = Some(Box::new(hole));
        select.limit_option = LimitOption::Count.into();
    }
    select.limit_offset = None;
    Ok((
        select,
        Finish::Rows {
            order,
            limit,
            offset,
        },
    ))
}

fn behind_star() -> Refusal {
    refused("ORDER BY a column by its place behind * is not supported here over several shards")
}

/// What an item of ORDER BY is.
enum Place {
    /// An output at this place, counted from 0.
    Known(usize),
    /// An output at this place, counted from 1, that `*` stands for.
    Late(usize),
    /// An expression.
    Expression,
}

fn place_of(by: &Node, targets: &[Node]) -> Place {
    let star = targets
        .iter()
        .position(|item| tree::target_of(item).is_some_and(|(value, _)| tree::is_star(value)));
    if let Some(position) = tree::position(by) {
        return match star {
            Some(star) if position > star => Place::Late(position),
            Some(_) | None => Place::Known(position.wrapping_sub(1)),
        };
    }
    let Some(name) = tree::bare_name(by) else {
        return Place::Expression;
    };
    let named = |item: &Node| tree::output_name(item).is_some_and(|own| own == name);
    targets
        .iter()
        .position(named)
        .map_or(Place::Expression, Place::Known)
}

/// Rows of which equal ones are one.
fn distinct(mut select: SelectStmt) -> Result<(SelectStmt, Finish), Refusal> {
    let mut first = select.clone();
    let mut sides = Vec::new();
    tree::leaves(&mut first, &mut sides);
    let targets = sides
        .first()
        .map(|side| side.target_list.clone())
        .unwrap_or_default();
    let mut order = Vec::new();
    for item in std::mem::take(&mut select.sort_clause) {
        let direction = direction(&item)?;
        let by = tree::sort_of(&item).and_then(|sort| sort.node.as_deref());
        let by = by.ok_or_else(not_understood)?;
        let output = match place_of(by, &targets) {
            Place::Known(at) => Output::At(at),
            Place::Late(position) => Output::At(position - 1),
            Place::Expression => match tree::bare_name(by) {
                Some(name) => Output::Named(name.to_owned()),
                None => Output::At(same_expression(by, &targets)?),
            },
        };
        order.push((output, direction));
    }
    let tail = tail(&select)?;
    select.limit_count = None;
    select.limit_offset = None;
    select.limit_option = LimitOption::Default.into();
    Ok((select, Finish::Distinct { order, tail }))
}

fn same_expression(by: &Node, targets: &[Node]) -> Result<usize, Refusal> {
    let wanted = tree::expression_text(by)?;
    for (at, item) in targets.iter().enumerate() {
        if let Some((value, _)) = tree::target_of(item) {
            if tree::is_star(value) {
                break;
            }
            if tree::expression_text(value)? == wanted {
                return Ok(at);
            }
        }
    }
    Err(not_understood())
}

/// LIMIT and OFFSET as SQL text.
fn tail(select: &SelectStmt) -> Result<String, Refusal> {
    let mut only = tree::parse("SELECT 1")?;
    only.limit_count.clone_from(&select.limit_count);
    only.limit_offset.clone_from(&select.limit_offset);
    only.limit_option = select.limit_option;
    if select.limit_option() == LimitOption::WithTies {
        return Err(refused(
            "FETCH FIRST ... WITH TIES is not supported over several shards",
        ));
    }
    let text = tree::text(only)?;
    Ok(text.strip_prefix("SELECT 1").unwrap_or_default().to_owned())
}

fn direction(item: &Node) -> Result<Order, Refusal> {
    let sort = tree::sort_of(item).ok_or_else(not_understood)?;
    let descending = match sort.sortby_dir() {
        SortByDir::SortbyDesc => true,
        SortByDir::SortbyUsing => {
            return Err(refused(
                "ORDER BY ... USING is not supported over several shards",
            ));
        }
        SortByDir::Undefined | SortByDir::SortbyDefault | SortByDir::SortbyAsc => false,
    };
    let nulls_first = match sort.sortby_nulls() {
        SortByNulls::SortbyNullsFirst => true,
        SortByNulls::SortbyNullsLast => false,
        SortByNulls::Undefined | SortByNulls::SortbyNullsDefault => descending,
    };
    Ok(Order {
        descending,
        nulls_first,
    })
}

fn bound(node: Option<&Node>, word: &str) -> Result<Bound, Refusal> {
    let Some(node) = node else {
        return Ok(Bound::Open);
    };
    let unknown = || {
        let mut refusal = refused(format!(
            "{word} of an expression is not supported over several shards"
        ));
        refusal.hint = Some(format!("give {word} a number or a parameter"));
        refusal
    };
    match &node.node {
        Some(NodeEnum::AConst(constant)) if constant.isnull => Ok(Bound::Open),
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Ival(integer)) => Ok(Bound::Number(integer.ival.into())),
            Some(a_const::Val::Fval(float)) => {
                float.fval.parse().map(Bound::Number).map_err(|_| unknown())
            }
            _ => Err(unknown()),
        },
        Some(NodeEnum::ParamRef(parameter)) => {
            let index = parameter.number.checked_sub(1);
            let index = index.and_then(|index| u16::try_from(index).ok());
            index.map(Bound::Parameter).ok_or_else(unknown)
        }
        _ => Err(unknown()),
    }
}

/// Refuses aggregates of sub-queries that may belong to the level around them: only one whose
/// columns are all qualified by what its own level reads is surely its own.
fn check_aggregates(select: &SelectStmt) -> Result<(), Refusal> {
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
