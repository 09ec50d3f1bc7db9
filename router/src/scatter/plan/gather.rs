//! Queries that make one row of several: what each shard works out for its rows, and the query over
//! these partial rows that PostgreSQL itself answers, on one shard.
//!
//! Two ways. *Partial*: shards group and aggregate, and the last query aggregates their aggregates.
//! *Raw*: shards hand out the columns that are needed, and the last query is the client's own.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, SelectStmt};

use super::sql::{Hole, Sql};
use super::tree::{self, not_understood, refused};
use super::{Manner, Names};
use crate::query;
use crate::route::Refusal;
use crate::route::spread::Leaf;

/// The two queries.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What each shard is asked.
    pub(super) shards: SelectStmt,
    /// What the last query is.
    pub(super) last: Sql,
    /// Partial columns that sum up for an average.
    pub(super) sums: Vec<usize>,
}

/// Why there is no such plan.
pub(super) enum Stopped {
    /// Not this way.
    Otherwise(Refusal),
    /// Not at all.
    Refused(Refusal),
}

impl From<Refusal> for Stopped {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// A column of the partial rows.
struct Column {
    text: String,
    value: Node,
    grouped: bool,
}

struct Gatherer<'a> {
    select: &'a SelectStmt,
    leaf: &'a Leaf,
    manner: Manner,
    /// Whether shards aggregate.
    partial: bool,
    columns: Vec<Column>,
    sums: Vec<usize>,
    /// Columns that are neither grouped by nor aggregated. PostgreSQL, which is asked first whether
    /// the query is one, takes such a column only where what is grouped by decides it.
    decided: Vec<usize>,
}

/// Shards aggregate.
pub(super) fn partial(
    select: &SelectStmt,
    leaf: &Leaf,
    manner: Manner,
) -> Result<Gathered, Stopped> {
    Gatherer::new(select, leaf, manner, true).run()
}

/// Shards hand out columns.
pub(super) fn raw(select: &SelectStmt, leaf: &Leaf, manner: Manner) -> Result<Gathered, Stopped> {
    Gatherer::new(select, leaf, manner, false).run()
}

impl<'a> Gatherer<'a> {
    fn new(select: &'a SelectStmt, leaf: &'a Leaf, manner: Manner, partial: bool) -> Self {
        Self {
            select,
            leaf,
            manner,
            partial,
            columns: Vec::new(),
            sums: Vec::new(),
            decided: Vec::new(),
        }
    }

    fn run(mut self) -> Result<Gathered, Stopped> {
        let mut last = self.select.clone();
        for item in &mut last.group_clause {
            self.group(item)?;
        }
        for item in &mut last.target_list {
            let value = tree::target_mut(item).ok_or_else(not_understood)?;
            self.finish(value)?;
        }
        if let Some(having) = last.having_clause.as_deref_mut() {
            self.finish(having)?;
        }
        for item in &mut last.distinct_clause {
            if item.node.is_some() && tree::position(item).is_none() {
                self.named_or_finished(item)?;
            }
        }
        for item in &mut last.window_clause {
            self.inside(item)?;
        }
        for item in &mut last.sort_clause {
            let Some(NodeEnum::SortBy(sort)) = &mut item.node else {
                return Err(not_understood().into());
            };
            let by = sort.node.as_deref_mut().ok_or_else(not_understood)?;
            if tree::position(by).is_none() {
                self.named_or_finished(by)?;
            }
        }
        let mut source = tree::parse(&format!("SELECT FROM {} p", Hole::Partial))?;
        last.from_clause = std::mem::take(&mut source.from_clause);
        last.group_clause
            .extend(self.decided.iter().map(|at| tree::partial(*at)));
        last.where_clause = None;
        last.with_clause = None;
        Ok(Gathered {
            shards: self.shards(),
            last: Sql(tree::text(last)?),
            sums: self.sums,
        })
    }

    /// What each shard is asked.
    fn shards(&self) -> SelectStmt {
        let mut targets: Vec<Node> = Vec::with_capacity(self.columns.len());
        let mut groups = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            targets.push(tree::target(column.value.clone(), &format!("c{at}")));
            if column.grouped {
                groups.push(tree::integer(at + 1));
            }
        }
        if targets.is_empty() {
            targets.push(tree::target(tree::integer(1), "c0"));
        }
        SelectStmt {
            target_list: targets,
            from_clause: self.select.from_clause.clone(),
            where_clause: self.select.where_clause.clone(),
            with_clause: self.select.with_clause.clone(),
            group_clause: groups,
            ..tree::empty()
        }
    }

    /// The number of the partial column that holds a value.
    fn column(&mut self, value: &Node, grouped: bool) -> Result<usize, Refusal> {
        let text = tree::expression_text(value)?;
        if let Some(at) = self.columns.iter().position(|known| known.text == text) {
            if let Some(known) = self.columns.get_mut(at) {
                known.grouped |= grouped;
            }
            return Ok(at);
        }
        self.columns.push(Column {
            text,
            value: value.clone(),
            grouped,
        });
        Ok(self.columns.len() - 1)
    }

    /// An item of GROUP BY.
    fn group(&mut self, item: &mut Node) -> Result<(), Stopped> {
        match &mut item.node {
            Some(NodeEnum::GroupingSet(sets)) => {
                for item in &mut sets.content {
                    self.group(item)?;
                }
                return Ok(());
            }
            Some(NodeEnum::RowExpr(row)) => {
                for item in &mut row.args {
                    self.group(item)?;
                }
                return Ok(());
            }
            Some(NodeEnum::List(list)) => {
                for item in &mut list.items {
                    self.group(item)?;
                }
                return Ok(());
            }
            _ => {}
        }
        let by_position = match tree::position(item) {
            Some(position) => Some(position),
            None => self.output_of_group(item),
        };
        if let Some(position) = by_position {
            let targets = &self.select.target_list;
            let at = position.checked_sub(1).and_then(|at| targets.get(at));
            let before = targets.iter().take(position);
            let stars = before
                .filter_map(tree::target_of)
                .any(|(value, _)| tree::is_star(value));
            let value = at.and_then(tree::target_of).map(|(value, _)| value);
            let Some(value) = value.filter(|_| !stars) else {
                return Err(not_understood().into());
            };
            if !self.partial {
                *item = tree::integer(position);
                return Ok(());
            }
            *item = value.clone();
        }
        if !self.partial {
            return self.finish(item);
        }
        self.check_group(item)?;
        let at = self.column(item, true)?;
        *item = tree::partial(at);
        Ok(())
    }

    fn check_group(&self, item: &Node) -> Result<(), Stopped> {
        let gathers = |node: &Node| match &node.node {
            Some(NodeEnum::FuncCall(call)) => query::is_aggregate(call) || call.over.is_some(),
            _ => false,
        };
        if tree::any(item, &mut { gathers }) {
            return Err(not_understood().into());
        }
        if is_volatile(item) {
            return Err(
                refused("GROUP BY a volatile function is not the same on every shard").into(),
            );
        }
        if tells_time(item) {
            // Grouped by once, on one shard.
            return Err(Stopped::Otherwise(clock()));
        }
        Ok(())
    }

    /// Where a name in GROUP BY stands that is an output's, if names are taken so.
    fn output_of_group(&self, item: &Node) -> Option<usize> {
        let name = tree::bare_name(item).filter(|_| self.manner.names == Names::Outputs)?;
        let named = |item: &Node| tree::target_of(item).is_some_and(|(_, own)| own == name);
        let at = self.select.target_list.iter().position(named)?;
        Some(at + 1)
    }

    /// An item of ORDER BY or DISTINCT ON: an output by its name comes before a column.
    fn named_or_finished(&mut self, item: &mut Node) -> Result<(), Stopped> {
        if let Some(name) = tree::bare_name(item) {
            let named = |item: &Node| tree::output_name(item).is_some_and(|own| own == name);
            if let Some(at) = self.select.target_list.iter().position(named) {
                *item = tree::integer(at + 1);
                return Ok(());
            }
        }
        self.finish(item)
    }

    /// Replaces what comes from shards by partial columns.
    fn finish(&mut self, item: &mut Node) -> Result<(), Stopped> {
        let is_value = !matches!(
            item.node,
            Some(NodeEnum::AConst(_) | NodeEnum::SortBy(_) | NodeEnum::WindowDef(_)) | None
        );
        if self.partial && is_value {
            let grouped = self.columns.iter().any(|column| column.grouped);
            let text = if grouped {
                tree::expression_text(item)?
            } else {
                String::new()
            };
            let known = |column: &Column| column.grouped && column.text == text;
            if let Some(at) = self.columns.iter().position(known) {
                *item = tree::partial(at);
                return Ok(());
            }
        }
        match &item.node {
            Some(NodeEnum::FuncCall(call)) if self.partial && query::is_aggregate(call) => {
                let call = call.as_ref().clone();
                *item = self.aggregate(&call)?;
                Ok(())
            }
            Some(NodeEnum::ColumnRef(_)) if tree::is_star(item) => Err(refused(
                "* beside window functions or aggregates is not supported over several shards",
            )
            .into()),
            Some(NodeEnum::ColumnRef(_)) if self.partial && !self.manner.decides => {
                Err(Stopped::Refused(refused(
                    "a column that is neither grouped by nor aggregated is not supported over \
                     several shards",
                )))
            }
            Some(NodeEnum::ColumnRef(_)) => self.plain_column(item),
            Some(NodeEnum::SubLink(_)) => Err(refused(
                "a sub-query beside window functions or aggregates is not supported over several \
                 shards",
            )
            .into()),
            _ => self.inside(item),
        }
    }

    fn plain_column(&mut self, item: &mut Node) -> Result<(), Stopped> {
        let is_source = |name| self.leaf.sources.iter().any(|source| source == name);
        if tree::bare_name(item).is_some_and(is_source) {
            return Err(refused(
                "a whole row as a value beside window functions or aggregates is not supported \
                 over several shards",
            )
            .into());
        }
        let has_sets = || {
            let mut groups = self.select.group_clause.iter();
            groups.any(|item| matches!(item.node, Some(NodeEnum::GroupingSet(_))))
        };
        if self.partial && has_sets() {
            return Err(refused(
                "a column that is neither grouped by nor aggregated is not supported beside \
                 grouping sets over several shards",
            )
            .into());
        }
        let at = self.column(item, self.partial)?;
        if self.partial && !self.decided.contains(&at) {
            self.decided.push(at);
        }
        *item = tree::partial(at);
        Ok(())
    }

    fn inside(&mut self, item: &mut Node) -> Result<(), Stopped> {
        let children = tree::children(item).ok_or_else(not_understood)?;
        for child in children {
            self.finish(child)?;
        }
        Ok(())
    }

    /// The aggregate of the shards' aggregates.
    fn aggregate(&mut self, call: &FuncCall) -> Result<Node, Stopped> {
        let name = aggregate_name(call).ok_or_else(|| {
            Stopped::Otherwise(refused("an aggregate that is not PostgreSQL's own"))
        })?;
        let simple = call.agg_order.is_empty() && !call.agg_within_group && !call.func_variadic;
        let otherwise = || {
            Stopped::Otherwise(refused(format!(
                "aggregate {name} can't be put together from several shards"
            )))
        };
        if !simple || !is_put_together(name) {
            return Err(otherwise());
        }
        let is_of_keys = name == "count" && call.args.iter().all(|arg| self.is_key(arg));
        let is_plain = matches!(name, "min" | "max" | "bool_and" | "bool_or" | "every");
        // No key is on two shards.
        if call.agg_distinct && !is_plain && !is_of_keys {
            return self.distinct_aggregate(call);
        }
        let own = Node {
            node: Some(NodeEnum::FuncCall(Box::new(call.clone()))),
        };
        let value = match name {
            "count" => {
                let at = self.column(&own, false)?;
                format!("COALESCE(pg_catalog.sum(p.c{at}), 0)::pg_catalog.int8")
            }
            "sum" => {
                let at = self.column(&own, false)?;
                format!("pg_catalog.sum(p.c{at})::{}", Hole::Type(at))
            }
            "avg" => self.average(call)?,
            _ => {
                let at = self.column(&own, false)?;
                format!("pg_catalog.{name}(p.c{at})")
            }
        };
        Ok(tree::expression(&value)?)
    }

    /// Whether an expression is surely the anchor's key.
    fn is_key(&self, value: &Node) -> bool {
        let Some(NodeEnum::ColumnRef(column)) = &value.node else {
            return false;
        };
        let names: Option<Vec<&str>> = column.fields.iter().map(tree::string).collect();
        let is_alone = self.leaf.path.len() == 1;
        match names.as_deref() {
            Some([name]) => is_alone && self.leaf.sources.len() == 1 && *name == self.leaf.column,
            Some([source, name]) => {
                is_alone && *source == self.leaf.anchor && *name == self.leaf.column
            }
            Some(_) | None => false,
        }
    }

    /// An average of its sums and counts.
    fn average(&mut self, call: &FuncCall) -> Result<String, Stopped> {
        let with_name = |name: &str, call: &FuncCall| -> Result<Node, Refusal> {
            let template = tree::expression(&format!("pg_catalog.{name}()"))?;
            let Some(NodeEnum::FuncCall(template)) = template.node else {
                return Err(not_understood());
            };
            Ok(tree::node(NodeEnum::FuncCall(Box::new(FuncCall {
                funcname: template.funcname,
                ..call.clone()
            }))))
        };
        let count = self.column(&with_name("count", call)?, false)?;
        // Which column it will be is written into it, so that it is one of its own.
        let at = self.columns.len();
        let widen = tree::expression(&format!("{}(1)", Hole::Widen(at)))?;
        let Some(NodeEnum::FuncCall(mut widen)) = widen.node else {
            return Err(not_understood().into());
        };
        widen.args.clone_from(&call.args);
        let widened = FuncCall {
            args: vec![tree::node(NodeEnum::FuncCall(widen))],
            ..call.clone()
        };
        let sum = self.column(&with_name("sum", &widened)?, false)?;
        self.sums.push(sum);
        Ok(Hole::Average(sum, count).to_string())
    }

    /// Shards hand out the distinct values.
    fn distinct_aggregate(&mut self, call: &FuncCall) -> Result<Node, Stopped> {
        let mut last = call.clone();
        for arg in &mut last.args {
            if is_volatile(arg) {
                return Err(not_understood().into());
            }
            let at = self.column(arg, true)?;
            *arg = tree::partial(at);
        }
        if let Some(filter) = last.agg_filter.as_deref_mut() {
            let at = self.column(filter, true)?;
            *filter = tree::partial(at);
        }
        Ok(tree::node(NodeEnum::FuncCall(Box::new(last))))
    }
}

/// The name of an aggregate of PostgreSQL's own.
fn aggregate_name(call: &FuncCall) -> Option<&str> {
    let parts: Option<Vec<&str>> = call.funcname.iter().map(tree::string).collect();
    match parts?.as_slice() {
        ["pg_catalog", name] | [name] => Some(name),
        _ => None,
    }
}

fn is_put_together(name: &str) -> bool {
    matches!(
        name,
        "count"
            | "sum"
            | "avg"
            | "min"
            | "max"
            | "bool_and"
            | "bool_or"
            | "every"
            | "bit_and"
            | "bit_or"
            | "bit_xor"
    )
}

/// Whether an expression asks for the time, which is each shard's own.
pub(super) fn tells_time(item: &Node) -> bool {
    const CLOCKS: [&str; 3] = ["now", "statement_timestamp", "transaction_timestamp"];
    let test = |node: &Node| match &node.node {
        Some(NodeEnum::FuncCall(call)) => {
            let name = call.funcname.last().and_then(tree::string).unwrap_or("");
            CLOCKS.contains(&name) || (name == "age" && call.args.len() == 1)
        }
        Some(NodeEnum::SqlvalueFunction(value)) => {
            use pg_query::protobuf::SqlValueFunctionOp as Op;
            matches!(
                value.op(),
                Op::SvfopCurrentDate
                    | Op::SvfopCurrentTime
                    | Op::SvfopCurrentTimeN
                    | Op::SvfopCurrentTimestamp
                    | Op::SvfopCurrentTimestampN
                    | Op::SvfopLocaltime
                    | Op::SvfopLocaltimeN
                    | Op::SvfopLocaltimestamp
                    | Op::SvfopLocaltimestampN
            )
        }
        _ => false,
    };
    tree::any(item, &mut { test })
}

pub(super) fn clock() -> Refusal {
    refused("the time is another one on each shard")
}

/// Whether an expression gives another value each time it is asked.
pub(super) fn is_volatile(item: &Node) -> bool {
    const VOLATILE: [&str; 5] = [
        "clock_timestamp",
        "gen_random_uuid",
        "random",
        "random_normal",
        "timeofday",
    ];
    let test = |node: &Node| match &node.node {
        Some(NodeEnum::FuncCall(call)) => {
            let name = call.funcname.last().and_then(tree::string).unwrap_or("");
            VOLATILE.contains(&name)
        }
        _ => false,
    };
    tree::any(item, &mut { test })
}
