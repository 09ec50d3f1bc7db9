//! Reads conditions: which equalities hold for every row that passes. What it does not read is
//! only walked, so that a condition too many gives no fact, never a wrong one.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{AExpr, AExprKind, BoolExprType, Node, RowExpr, SubLink, SubLinkType};

use super::builder::{Builder, Place};
use super::{ColumnRef, Elements, Fact, Test, Value, names};

impl<'a> Builder<'a> {
    /// Walks a condition that every contributing row of the entries in `restricts` passes.
    pub(super) fn condition(&mut self, node: &'a Node, at: Place, restricts: &Range<usize>) {
        match &node.node {
            Some(NodeEnum::BoolExpr(it)) if it.boolop() == BoolExprType::AndExpr => {
                for arg in &it.args {
                    self.condition(arg, at, restricts);
                }
            }
            Some(NodeEnum::SubLink(link)) if is_membership(link) => {
                let rows = self.sub_link(link, at);
                let column = link.testexpr.as_deref().and_then(|test| column(test, at));
                if let (Some(column), Some(rows)) = (column, rows) {
                    self.fact(Test::AmongRows(column, rows), at, restricts);
                }
            }
            _ => {
                for test in self.tests(node, at) {
                    self.fact(test, at, restricts);
                }
                self.expression(node, at);
            }
        }
    }

    fn fact(&mut self, test: Test, at: Place, restricts: &Range<usize>) {
        self.add_fact(
            at.scope,
            Fact {
                test,
                restricts: restricts.clone(),
            },
        );
    }

    /// The tests that an expression without AND comes to.
    fn tests(&self, node: &Node, at: Place) -> Vec<Test> {
        match &node.node {
            Some(NodeEnum::AExpr(it)) if names::is_equality(&it.name) => {
                self.comparison(it, at).unwrap_or_default()
            }
            Some(NodeEnum::BoolExpr(it)) if it.boolop() == BoolExprType::OrExpr => {
                self.alternatives(&it.args, at).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// `a = 1 OR a IN (2, 3)`: one column among all values, or nothing.
    fn alternatives(&self, nodes: &[Node], at: Place) -> Option<Test> {
        let mut all: Option<(ColumnRef, Vec<Value>)> = None;
        for node in nodes {
            let mut tests = self.tests(node, at).into_iter();
            let (Some(Test::Among(column, values)), None) = (tests.next(), tests.next()) else {
                return None;
            };
            match &mut all {
                None => all = Some((column, values)),
                Some((first, known)) if *first == column => known.extend(values),
                Some(_) => return None,
            }
        }
        all.map(|(column, values)| Test::Among(column, values))
    }

    fn comparison(&self, expression: &AExpr, at: Place) -> Option<Vec<Test>> {
        let left = expression.lexpr.as_deref()?;
        let right = expression.rexpr.as_deref()?;
        match expression.kind() {
            AExprKind::AexprOp => match (row(left), row(right)) {
                (Some(left), Some(right)) => self.row_equality(left, right, at),
                (None, None) => Some(self.equality(left, right, at).into_iter().collect()),
                (Some(_), None) | (None, Some(_)) => None,
            },
            AExprKind::AexprIn => {
                let Some(NodeEnum::List(list)) = &right.node else {
                    return None;
                };
                match row(left) {
                    Some(left) => self.row_membership(left, &list.items, at),
                    None => self.membership(left, &list.items, at).map(|it| vec![it]),
                }
            }
            AExprKind::AexprOpAny => {
                let column = column(left, at)?;
                match self.literals.elements(right)? {
                    Elements::Values(values) => among(column, values).map(|it| vec![it]),
                    Elements::Array(array) => Some(vec![Test::AmongArray(column, array)]),
                }
            }
            AExprKind::Undefined
            | AExprKind::AexprOpAll
            | AExprKind::AexprDistinct
            | AExprKind::AexprNotDistinct
            | AExprKind::AexprNullif
            | AExprKind::AexprLike
            | AExprKind::AexprIlike
            | AExprKind::AexprSimilar
            | AExprKind::AexprBetween
            | AExprKind::AexprNotBetween
            | AExprKind::AexprBetweenSym
            | AExprKind::AexprNotBetweenSym => None,
        }
    }

    fn equality(&self, left: &Node, right: &Node, at: Place) -> Option<Test> {
        match (column(left, at), column(right, at)) {
            (Some(left), Some(right)) => Some(Test::Same(left, right)),
            (Some(column), None) => among(column, vec![self.literals.value(right)]),
            (None, Some(column)) => among(column, vec![self.literals.value(left)]),
            (None, None) => None,
        }
    }

    fn row_equality(&self, left: &RowExpr, right: &RowExpr, at: Place) -> Option<Vec<Test>> {
        if left.args.len() != right.args.len() || has_star(left) || has_star(right) {
            return None;
        }
        let pairs = left.args.iter().zip(&right.args);
        // A row within the row compares by other rules; it is left alone.
        Some(
            pairs
                .filter_map(|(left, right)| self.equality(left, right, at))
                .collect(),
        )
    }

    fn membership(&self, left: &Node, items: &[Node], at: Place) -> Option<Test> {
        let column = column(left, at)?;
        let values = items.iter().map(|item| self.literals.value(item)).collect();
        among(column, values)
    }

    /// `(a, b) IN ((1, 2), (3, 4))`: each column among the values at its place.
    fn row_membership(&self, left: &RowExpr, items: &[Node], at: Place) -> Option<Vec<Test>> {
        let rows: Vec<&RowExpr> = items.iter().map(row).collect::<Option<_>>()?;
        let width = left.args.len();
        if has_star(left) || rows.iter().any(|it| it.args.len() != width || has_star(it)) {
            return None;
        }
        let mut tests = Vec::new();
        for (position, arg) in left.args.iter().enumerate() {
            let Some(column) = column(arg, at) else {
                continue;
            };
            let values = rows
                .iter()
                .filter_map(|it| it.args.get(position))
                .map(|item| self.literals.value(item))
                .collect();
            tests.extend(among(column, values));
        }
        Some(tests)
    }
}

/// No value at all, or one that is not known, says nothing.
fn among(column: ColumnRef, values: Vec<Value>) -> Option<Test> {
    let known = !values.is_empty() && !values.contains(&Value::Other);
    known.then_some(Test::Among(column, values))
}

/// Whether a sub-link is `... IN (SELECT ...)` or `... = ANY (SELECT ...)`.
fn is_membership(link: &SubLink) -> bool {
    link.sub_link_type() == SubLinkType::AnySublink
        && (link.oper_name.is_empty() || names::is_equality(&link.oper_name))
}

fn column(node: &Node, at: Place) -> Option<ColumnRef> {
    match &node.node {
        Some(NodeEnum::ColumnRef(column)) => names::column(column, at.range()),
        _ => None,
    }
}

fn row(node: &Node) -> Option<&RowExpr> {
    match &node.node {
        Some(NodeEnum::RowExpr(row)) => Some(row),
        _ => None,
    }
}

/// `t.*` in a row stands for an unknown number of columns, so that places can't be paired.
fn has_star(row: &RowExpr) -> bool {
    row.args.iter().any(|arg| match &arg.node {
        Some(NodeEnum::ColumnRef(column)) => names::star(column).is_some(),
        Some(NodeEnum::AIndirection(_)) => true,
        _ => false,
    })
}
