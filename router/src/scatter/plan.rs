//! Pure: how a query over the rows of several shards is answered. What each shard is asked, and how
//! the answers are put together.
//!
//! Whether a shard can answer for its own rows is found out by [`crate::route::spread`]; here the
//! texts are written. They have holes for what only execution knows (see [`sql`]).

use pg_query::protobuf::{LimitOption, Node, SelectStmt, SortByDir, SortByNulls};
use topology::{KeyType, Snapshot};

use crate::query::Data;
use crate::route::Refusal;
use crate::route::spread::{self, Leaf, Spread};

pub mod around;
mod bound;
mod gather;
mod nested;
mod sets;
pub mod sql;
mod strays;
#[cfg(test)]
mod tests;
mod tree;

pub use bound::Bound;
use bound::bound;
use gather::{Gathered, Stopped, is_volatile};
use sql::{Hole, Sql};
use strays::check_aggregates;
pub use tree::check_numbers;
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

/// How a query is read where its text alone leaves it open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Manner {
    /// What names in GROUP BY stand for.
    pub names: Names,
    /// Whether a column that is neither grouped by nor aggregated is taken to be decided by what is
    /// grouped by, as those of a table are by its primary key.
    pub decides: bool,
}

impl Manner {
    /// All of them, the likelier ones first.
    const ALL: [Self; 4] = [
        Self::of(Names::Columns, false),
        Self::of(Names::Outputs, false),
        Self::of(Names::Columns, true),
        Self::of(Names::Outputs, true),
    ];

    const fn of(names: Names, decides: bool) -> Self {
        Self { names, decides }
    }
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
    /// A query over what another one makes of the shards' rows gives the answer.
    Around {
        /// The other one.
        inner: Box<Program>,
        /// The query; its hole is for the rows of the other one.
        outer: Sql,
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
    pub fn facts(&self) -> Vec<(&'static str, String)> {
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
            Finish::Around { inner, outer } => {
                let mut facts = inner.facts().into_iter();
                let then = facts.find(|(name, _)| *name == "Then");
                let then = then.map(|(_, text)| text).unwrap_or_default();
                format!("{then}; of that one shard is asked: {}", plain(outer))
            }
        };
        vec![("Each Shard", plain(&self.shards)), ("Then", finish)]
    }

    /// The program whose query the shards are asked.
    #[must_use]
    pub fn asked(&self) -> &Self {
        match &self.finish {
            Finish::Around { inner, .. } => inner.asked(),
            Finish::Rows { .. } | Finish::Distinct { .. } | Finish::Last { .. } => self,
        }
    }

    /// The same as lines.
    #[must_use]
    pub fn describe(&self) -> Vec<String> {
        let facts = self.facts().into_iter();
        let line = |(name, value): (&str, String)| match name {
            "Each Shard" => format!("Each shard: {value}"),
            name => format!("{name}: {value}"),
        };
        facts.map(line).collect()
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

/// Plans a query, the text of which is one statement: a SELECT, or a COPY or EXPLAIN of one.
///
/// # Errors
/// Why it can't be answered by shards each for itself.
pub fn plan(
    text: &str,
    data: &Data,
    (snapshot, search_path): (&Snapshot, &[&str]),
    manner: Manner,
) -> Result<Program, Refusal> {
    if text.contains(sql::MARK) {
        return Err(not_understood());
    }
    check_numbers(text)?;
    let spread = match spread::spread(data, snapshot, search_path) {
        Ok(spread) => spread,
        Err(refusal) => {
            let nested = nested::plan(text, (snapshot, search_path), manner)?;
            return nested.ok_or(refusal);
        }
    };
    let select = tree::parse(text)?;
    if select.into_clause.is_some() || !select.values_lists.is_empty() {
        return Err(not_understood());
    }
    let Spread { key_type, leaves } = &spread;
    let own_text = tree::text(select.clone())?;
    let (mut shards, finish) = match leaves.as_slice() {
        [leaf] if !tree::is_set_operation(&select) => single(select, leaf, manner)?,
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
    first_of(&Manner::ALL, text, data, snapshot)
}

/// As [`plan`], where names in GROUP BY are those of outputs.
///
/// # Errors
/// As [`plan`].
pub fn by_outputs(
    text: &str,
    data: &Data,
    snapshot: (&Snapshot, &[&str]),
) -> Result<Program, Refusal> {
    let manners = [false, true].map(|decides| Manner::of(Names::Outputs, decides));
    first_of(&manners, text, data, snapshot)
}

fn first_of(
    manners: &[Manner],
    text: &str,
    data: &Data,
    snapshot: (&Snapshot, &[&str]),
) -> Result<Program, Refusal> {
    let mut first = None;
    for manner in manners {
        match plan(text, data, snapshot, *manner) {
            Ok(program) => return Ok(program),
            Err(refusal) => first = first.or(Some(refusal)),
        }
    }
    Err(first.unwrap_or_else(not_understood))
}

fn single(
    select: SelectStmt,
    leaf: &Leaf,
    manner: Manner,
) -> Result<(SelectStmt, Finish), Refusal> {
    let shape = &leaf.shape;
    check_aggregates(&select)?;
    let gathers = shape.gathers && !leaf.groups_by_key;
    let makes_one = shape.distinct && !leaf.selects_key;
    let mut values = select.target_list.iter().filter_map(tree::target_of);
    // Rows with the time in them are equal only if one shard tells it.
    let asks_once = makes_one && values.any(|(value, _)| gather::tells_time(value));
    if gathers || shape.looks_around || asks_once {
        let gathered = if gathers {
            match gather::partial(&select, leaf, manner) {
                Err(Stopped::Otherwise(_)) => gather::raw(&select, leaf, manner),
                planned => planned,
            }
        } else {
            gather::raw(&select, leaf, manner)
        };
        let Gathered { shards, last, sums } = gathered.map_err(|stopped| match stopped {
            Stopped::Otherwise(refusal) | Stopped::Refused(refusal) => refusal,
        })?;
        return Ok((shards, Finish::Last { sql: last, sums }));
    }
    if makes_one {
        return distinct(select);
    }
    rows(select)
}

/// A set operation: all of UNION ALL, or UNION at the top.
fn union(mut select: SelectStmt, leaves: &[Leaf]) -> Result<(SelectStmt, Finish), Refusal> {
    let distinct_at_top = !select.all;
    let mut sides = Vec::new();
    tree::leaves(&mut select, &mut sides);
    let mut tells_time = false;
    for side in sides {
        check_aggregates(side)?;
        let mut values = side.target_list.iter().filter_map(tree::target_of);
        tells_time |= values.any(|(value, _)| gather::tells_time(value));
    }
    if !is_union(&select, distinct_at_top) {
        return sets::plan(select, leaves);
    }
    if distinct_at_top && tells_time {
        return Err(gather::clock());
    }
    for leaf in leaves {
        let shape = &leaf.shape;
        let apart = shape.looks_around
            || (shape.gathers && !leaf.groups_by_key)
            || (shape.distinct && !leaf.selects_key && !distinct_at_top);
        if apart {
            return Err(self::apart());
        }
    }
    if distinct_at_top {
        distinct(select)
    } else {
        rows(select)
    }
}

fn apart() -> Refusal {
    refused(
        "aggregates, window functions and DISTINCT in a side of a set operation are not supported \
         over several shards without the shard key",
    )
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
