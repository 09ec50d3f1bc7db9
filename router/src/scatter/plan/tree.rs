//! The parts of a query's tree that planning looks at and changes.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    AConst, Alias, BoolExpr, BoolExprType, ColumnRef, FuncCall, Integer, LimitOption, Node,
    ParseResult, RawStmt, ResTarget, SelectStmt, SetOperation, SortBy, String as Name, WindowDef,
    a_const,
};

use crate::query;
use crate::route::Refusal;

/// The version that the tree's reader and writer agree on; it is not looked at.
pub(super) const VERSION: i32 = 170_000;

/// A refusal of this module's own.
pub(super) fn refused(message: impl Into<String>) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: message.into(),
        hint: None,
    }
}

pub(super) fn not_understood() -> Refusal {
    refused("a part of the statement is not understood where it would run on several shards")
}

/// Refuses numbers that servers before PostgreSQL 16 read as a number and an alias, such as `0x10`
/// and `1_000`: written anew they would be others.
///
/// # Errors
/// The [`Refusal`].
pub fn check_numbers(sql: &str) -> Result<(), Refusal> {
    let tokens = pg_query::scan(sql).map_err(|_| not_understood())?.tokens;
    for token in tokens {
        if !matches!(
            token.token(),
            pg_query::protobuf::Token::Iconst | pg_query::protobuf::Token::Fconst
        ) {
            continue;
        }
        let start = usize::try_from(token.start).unwrap_or(0);
        let end = usize::try_from(token.end).unwrap_or(0);
        let number = sql.get(start..end).ok_or_else(not_understood)?;
        if !number
            .bytes()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'))
        {
            return Err(refused(
                "a number that is not decimal is not supported over several shards",
            ));
        }
    }
    Ok(())
}

/// A node.
pub(super) fn node(of: NodeEnum) -> Node {
    Node { node: Some(of) }
}

/// The query of a text of one SELECT.
pub(super) fn parse(sql: &str) -> Result<SelectStmt, Refusal> {
    let tree = query::tree(sql, query::MAX_STATEMENT_BYTES).map_err(|error| Refusal {
        sqlstate: error.sqlstate(),
        message: error.to_string(),
        hint: None,
    })?;
    let mut stmts = tree.stmts.into_iter();
    let (Some(raw), None) = (stmts.next(), stmts.next()) else {
        return Err(not_understood());
    };
    match raw.stmt.and_then(|stmt| stmt.node) {
        Some(NodeEnum::SelectStmt(select)) => Ok(*select),
        Some(NodeEnum::CopyStmt(copy)) => match copy.query.and_then(|query| query.node) {
            Some(NodeEnum::SelectStmt(select)) => Ok(*select),
            _ => Err(not_understood()),
        },
        Some(NodeEnum::ExplainStmt(explain)) => match explain.query.and_then(|it| it.node) {
            Some(NodeEnum::SelectStmt(select)) => Ok(*select),
            _ => Err(not_understood()),
        },
        _ => Err(not_understood()),
    }
}

/// A query of nothing. The writer of texts aborts at an enumeration's value 0, which is none.
pub(super) fn empty() -> SelectStmt {
    SelectStmt {
        op: SetOperation::SetopNone.into(),
        limit_option: LimitOption::Default.into(),
        ..SelectStmt::default()
    }
}

/// The text of a query.
pub(super) fn text(select: SelectStmt) -> Result<String, Refusal> {
    let stmt = RawStmt {
        stmt: Some(Box::new(node(NodeEnum::SelectStmt(Box::new(select))))),
        ..RawStmt::default()
    };
    let tree = ParseResult {
        version: VERSION,
        stmts: vec![stmt],
    };
    pg_query::deparse(&tree, Default::default()).map_err(|_| not_understood())
}

/// The text of an expression, equal for equal expressions.
pub(super) fn expression_text(expression: &Node) -> Result<String, Refusal> {
    let select = SelectStmt {
        target_list: vec![target(expression.clone(), "")],
        ..empty()
    };
    text(select)
}

/// An expression as SQL.
pub(super) fn expression_sql(expression: &Node) -> Result<String, Refusal> {
    let text = expression_text(expression)?;
    let own = text.strip_prefix("SELECT ").map(str::to_owned);
    own.ok_or_else(not_understood)
}

/// The expression that a text is.
pub(super) fn expression(sql: &str) -> Result<Node, Refusal> {
    let mut select = parse(&format!("SELECT {sql}"))?;
    match select.target_list.pop().and_then(|it| it.node) {
        Some(NodeEnum::ResTarget(target)) => target.val.map(|it| *it).ok_or_else(not_understood),
        _ => Err(not_understood()),
    }
}

/// An item of a target list; an empty name is none.
pub(super) fn target(value: Node, name: &str) -> Node {
    node(NodeEnum::ResTarget(Box::new(ResTarget {
        name: name.to_owned(),
        val: Some(Box::new(value)),
        ..ResTarget::default()
    })))
}

/// A column.
pub(super) fn column(parts: &[&str]) -> Node {
    let name = |part: &&str| {
        node(NodeEnum::String(Name {
            sval: (*part).to_owned(),
        }))
    };
    node(NodeEnum::ColumnRef(ColumnRef {
        fields: parts.iter().map(name).collect(),
        location: 0,
    }))
}

/// A column of the partial rows.
pub(super) fn partial(column_at: usize) -> Node {
    column(&["p", &format!("c{column_at}")])
}

/// An integer.
pub(super) fn integer(value: usize) -> Node {
    let ival = i32::try_from(value).unwrap_or(i32::MAX);
    node(NodeEnum::AConst(AConst {
        val: Some(a_const::Val::Ival(Integer { ival })),
        ..AConst::default()
    }))
}

/// The value and the name of an item of a target list.
pub(super) fn target_of(item: &Node) -> Option<(&Node, &str)> {
    match &item.node {
        Some(NodeEnum::ResTarget(target)) => Some((target.val.as_deref()?, &target.name)),
        _ => None,
    }
}

/// The value of an item of a target list.
pub(super) fn target_mut(item: &mut Node) -> Option<&mut Node> {
    match &mut item.node {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref_mut(),
        _ => None,
    }
}

/// What is ordered by.
pub(super) fn sort_of(item: &Node) -> Option<&SortBy> {
    match &item.node {
        Some(NodeEnum::SortBy(sort)) => Some(sort),
        _ => None,
    }
}

/// The integer that an item of GROUP BY or ORDER BY is.
pub(super) fn position(item: &Node) -> Option<usize> {
    match &item.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Ival(integer)) => usize::try_from(integer.ival).ok(),
            _ => None,
        },
        _ => None,
    }
}

/// The name that an expression is, without anything before it.
pub(super) fn bare_name(item: &Node) -> Option<&str> {
    match &item.node {
        Some(NodeEnum::ColumnRef(column)) => match column.fields.as_slice() {
            [only] => string(only),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn string(part: &Node) -> Option<&str> {
    match &part.node {
        Some(NodeEnum::String(name)) => Some(&name.sval),
        _ => None,
    }
}

/// Whether it stands for any number of columns.
pub(super) fn is_star(value: &Node) -> bool {
    let last = match &value.node {
        Some(NodeEnum::ColumnRef(column)) => column.fields.last(),
        Some(NodeEnum::AIndirection(it)) => it.indirection.last(),
        _ => None,
    };
    matches!(
        last.and_then(|it| it.node.as_ref()),
        Some(NodeEnum::AStar(_))
    )
}

/// The name that PostgreSQL gives to an output that has none of its own.
pub(super) fn output_name(item: &Node) -> Option<String> {
    let (value, name) = target_of(item)?;
    if name.is_empty() {
        figured_name(value)
    } else {
        Some(name.to_owned())
    }
}

fn figured_name(value: &Node) -> Option<String> {
    let last = |nodes: &[Node]| nodes.last().and_then(string).map(str::to_owned);
    match value.node.as_ref()? {
        NodeEnum::ColumnRef(column) => last(&column.fields),
        NodeEnum::FuncCall(call) => last(&call.funcname),
        NodeEnum::TypeCast(cast) => {
            let inner = cast.arg.as_deref().and_then(figured_name);
            inner.or_else(|| last(&cast.type_name.as_ref()?.names))
        }
        NodeEnum::CollateClause(clause) => clause.arg.as_deref().and_then(figured_name),
        NodeEnum::CoalesceExpr(_) => Some("coalesce".to_owned()),
        NodeEnum::CaseExpr(case) => {
            let inner = case.defresult.as_deref().and_then(figured_name);
            inner.or_else(|| Some("case".to_owned()))
        }
        NodeEnum::AArrayExpr(_) => Some("array".to_owned()),
        NodeEnum::RowExpr(_) => Some("row".to_owned()),
        _ => None,
    }
}

/// Adds a condition to a query's own level.
pub(super) fn and_where(select: &mut SelectStmt, condition: Node) {
    let all = match select.where_clause.take() {
        None => condition,
        Some(before) => node(NodeEnum::BoolExpr(Box::new(BoolExpr {
            boolop: BoolExprType::AndExpr.into(),
            args: vec![*before, condition],
            ..BoolExpr::default()
        }))),
    };
    select.where_clause = Some(Box::new(all));
}

/// Adds a condition to the level at which a path ends.
pub(super) fn and_at(
    select: &mut SelectStmt,
    path: &[usize],
    condition: Node,
) -> Result<(), Refusal> {
    let Some((first, rest)) = path.split_first() else {
        return Err(not_understood());
    };
    if rest.is_empty() {
        and_where(select, condition);
        return Ok(());
    }
    let mut at = *first;
    let item = entry(&mut select.from_clause, &mut at).ok_or_else(not_understood)?;
    let inner = match &mut item.node {
        Some(NodeEnum::RangeSubselect(inner)) => inner.subquery.as_deref_mut(),
        Some(NodeEnum::RangeVar(named)) => {
            let ctes = select
                .with_clause
                .iter_mut()
                .flat_map(|with| &mut with.ctes);
            let mut ctes = ctes.filter_map(|cte| match &mut cte.node {
                Some(NodeEnum::CommonTableExpr(cte)) => Some(cte),
                _ => None,
            });
            let cte = ctes.find(|cte| cte.ctename == named.relname);
            cte.and_then(|cte| cte.ctequery.as_deref_mut())
        }
        _ => None,
    };
    match inner.and_then(|inner| inner.node.as_mut()) {
        Some(NodeEnum::SelectStmt(inner)) => and_at(inner, rest, condition),
        _ => Err(not_understood()),
    }
}

/// The item of FROM that is an entry, as [`crate::query`] counts them.
fn entry<'n>(items: &'n mut [Node], at: &mut usize) -> Option<&'n mut Node> {
    for item in items {
        if let Some(found) = entry_in(item, at) {
            return Some(found);
        }
    }
    None
}

fn entry_in<'n>(item: &'n mut Node, at: &mut usize) -> Option<&'n mut Node> {
    match &item.node {
        Some(NodeEnum::JoinExpr(_)) => {}
        Some(NodeEnum::RangeTableSample(_)) => {
            let Some(NodeEnum::RangeTableSample(sample)) = &mut item.node else {
                return None;
            };
            return entry_in(sample.relation.as_deref_mut()?, at);
        }
        _ => {
            if *at == 0 {
                return Some(item);
            }
            *at -= 1;
            return None;
        }
    }
    let Some(NodeEnum::JoinExpr(join)) = &mut item.node else {
        return None;
    };
    let named = |alias: &Option<Alias>| usize::from(alias.is_some());
    let own = named(&join.join_using_alias) + named(&join.alias);
    if let Some(found) = join.larg.as_deref_mut().and_then(|side| entry_in(side, at)) {
        return Some(found);
    }
    if let Some(found) = join.rarg.as_deref_mut().and_then(|side| entry_in(side, at)) {
        return Some(found);
    }
    // The join's own names hold no table.
    *at = at.checked_sub(own)?;
    None
}

/// Whether a query is a set operation.
pub(super) fn is_set_operation(select: &SelectStmt) -> bool {
    !matches!(
        select.op(),
        SetOperation::SetopNone | SetOperation::Undefined
    )
}

/// The sides of a query's set operations, from left to right.
pub(super) fn leaves<'n>(select: &'n mut SelectStmt, found: &mut Vec<&'n mut SelectStmt>) {
    if !is_set_operation(select) {
        found.push(select);
        return;
    }
    if let Some(left) = select.larg.as_deref_mut() {
        leaves(left, found);
    }
    if let Some(right) = select.rarg.as_deref_mut() {
        leaves(right, found);
    }
}

/// The expressions within an expression; none when it is of a kind that is not known here.
pub(super) fn children(node: &mut Node) -> Option<Vec<&mut Node>> {
    let mut all: Vec<&mut Node> = Vec::new();
    match node.node.as_mut()? {
        NodeEnum::AConst(_)
        | NodeEnum::ParamRef(_)
        | NodeEnum::SqlvalueFunction(_)
        | NodeEnum::ColumnRef(_)
        | NodeEnum::SetToDefault(_)
        | NodeEnum::String(_)
        | NodeEnum::AStar(_) => {}
        NodeEnum::AExpr(it) => {
            all.extend(it.lexpr.as_deref_mut());
            all.extend(it.rexpr.as_deref_mut());
        }
        NodeEnum::BoolExpr(it) => all.extend(&mut it.args),
        NodeEnum::TypeCast(it) => all.extend(it.arg.as_deref_mut()),
        NodeEnum::FuncCall(it) => of_call(it, &mut all),
        NodeEnum::CaseExpr(it) => {
            all.extend(it.arg.as_deref_mut());
            all.extend(&mut it.args);
            all.extend(it.defresult.as_deref_mut());
        }
        NodeEnum::CaseWhen(it) => {
            all.extend(it.expr.as_deref_mut());
            all.extend(it.result.as_deref_mut());
        }
        NodeEnum::CoalesceExpr(it) => all.extend(&mut it.args),
        NodeEnum::MinMaxExpr(it) => all.extend(&mut it.args),
        NodeEnum::NullTest(it) => all.extend(it.arg.as_deref_mut()),
        NodeEnum::BooleanTest(it) => all.extend(it.arg.as_deref_mut()),
        NodeEnum::AArrayExpr(it) => all.extend(&mut it.elements),
        NodeEnum::RowExpr(it) => all.extend(&mut it.args),
        NodeEnum::List(it) => all.extend(&mut it.items),
        NodeEnum::AIndirection(it) => {
            all.extend(it.arg.as_deref_mut());
            all.extend(&mut it.indirection);
        }
        NodeEnum::AIndices(it) => {
            all.extend(it.lidx.as_deref_mut());
            all.extend(it.uidx.as_deref_mut());
        }
        NodeEnum::CollateClause(it) => all.extend(it.arg.as_deref_mut()),
        NodeEnum::NamedArgExpr(it) => all.extend(it.arg.as_deref_mut()),
        NodeEnum::GroupingFunc(it) => all.extend(&mut it.args),
        NodeEnum::GroupingSet(it) => all.extend(&mut it.content),
        NodeEnum::SortBy(it) => all.extend(it.node.as_deref_mut()),
        NodeEnum::WindowDef(it) => of_window(it, &mut all),
        NodeEnum::SubLink(it) => all.extend(it.testexpr.as_deref_mut()),
        _ => return None,
    }
    Some(all)
}

fn of_call<'n>(call: &'n mut FuncCall, all: &mut Vec<&'n mut Node>) {
    all.extend(&mut call.args);
    all.extend(&mut call.agg_order);
    all.extend(call.agg_filter.as_deref_mut());
    if let Some(window) = call.over.as_deref_mut() {
        of_window(window, all);
    }
}

fn of_window<'n>(window: &'n mut WindowDef, all: &mut Vec<&'n mut Node>) {
    all.extend(&mut window.partition_clause);
    all.extend(&mut window.order_clause);
    all.extend(window.start_offset.as_deref_mut());
    all.extend(window.end_offset.as_deref_mut());
}

/// Whether a test holds for an expression or anything within it; sub-queries are left out.
pub(super) fn any(node: &Node, test: &mut dyn FnMut(&Node) -> bool) -> bool {
    if test(node) {
        return true;
    }
    let mut copy = node.clone();
    children(&mut copy)
        .unwrap_or_default()
        .into_iter()
        .any(|child| any(child, test))
}
