//! Reads SELECT, VALUES, set operations and WITH into scopes.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    CommonTableExpr, Node, ResTarget, SelectStmt, SetOperation, WithClause, a_const,
};

use super::builder::{Builder, Place};
use super::literal::scalar_family;
use super::{ColumnRef, Family, Output, Outputs, ScopeId, Shape, Value, names, outputs};

/// What the level around a query does with its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handing {
    /// May sift them by conditions of its own, which then also hold for what the query reads, as
    /// far as the query lets them through.
    Sifted,
    /// Takes all of them, as INSERT does.
    Whole,
}

impl<'a> Builder<'a> {
    /// Reads any statement that can stand as a query: SELECT, or a write in a CTE.
    pub(super) fn query(&mut self, node: &'a Node, parent: Option<Place>) -> ScopeId {
        match &node.node {
            Some(NodeEnum::SelectStmt(it)) => self.select(it, parent, Handing::Sifted),
            Some(NodeEnum::InsertStmt(it)) => self.insert(it, parent),
            Some(NodeEnum::UpdateStmt(it)) => self.update(it, parent),
            Some(NodeEnum::DeleteStmt(it)) => self.delete(it, parent),
            Some(NodeEnum::MergeStmt(it)) => self.merge(it, parent),
            _ => {
                self.opaque("a query that is not understood");
                self.open(parent)
            }
        }
    }

    /// Reads a SELECT.
    pub(super) fn select(
        &mut self,
        select: &'a SelectStmt,
        parent: Option<Place>,
        handing: Handing,
    ) -> ScopeId {
        let scope = self.open(parent);
        let ctes = self.with(select.with_clause.as_ref(), scope);
        if select.into_clause.is_some() {
            self.opaque("SELECT INTO within a statement");
        }
        if !select.locking_clause.is_empty() {
            self.locks_rows();
        }
        let cuts = select.limit_count.is_some()
            || select.limit_offset.is_some()
            || !select.locking_clause.is_empty();
        let outputs = match select.op() {
            SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept => {
                self.set_operation(select, scope, handing)
            }
            SetOperation::SetopNone | SetOperation::Undefined
                if !select.values_lists.is_empty() =>
            {
                let mut rows = self.value_rows(&select.values_lists, Place::outside(scope));
                outputs::forget_mixed_types(&mut rows);
                Outputs::Values(rows)
            }
            SetOperation::SetopNone | SetOperation::Undefined => {
                self.plain_select(select, scope, handing)
            }
        };
        let at = self.inside(scope);
        if cuts {
            self.change_shape(scope, |shape| shape.cuts = true);
        }
        self.each(&select.sort_clause, at);
        self.optional(select.limit_offset.as_deref(), at);
        self.optional(select.limit_count.as_deref(), at);
        if handing == Handing::Whole || !cuts {
            self.set_outputs(scope, outputs);
        }
        self.leave_ctes(ctes);
        scope
    }

    fn plain_select(
        &mut self,
        select: &'a SelectStmt,
        scope: ScopeId,
        handing: Handing,
    ) -> Outputs {
        self.read_from(scope, &select.from_clause);
        let at = self.inside(scope);
        if let Some(condition) = select.where_clause.as_deref() {
            self.condition(condition, at, &at.range());
        }
        let (windows, aggregates) = (self.windows, std::mem::take(&mut self.aggregates));
        self.each(&select.target_list, at);
        self.each(&select.distinct_clause, at);
        self.each(&select.group_clause, at);
        self.optional(select.having_clause.as_deref(), at);
        self.each(&select.window_clause, at);
        // Both number or choose rows by looking at all of them, so that a condition from outside
        // does not hold for all rows that are read.
        let looks_around = self.windows != windows || is_distinct_on(&select.distinct_clause);
        let gathers = std::mem::replace(&mut self.aggregates, aggregates) > 0
            || !select.group_clause.is_empty()
            || select.having_clause.is_some();
        let shape = self.shape(select, at, (gathers, looks_around));
        self.change_shape(scope, |known| *known = shape);
        // Grouping sets put NULL in place of a column's value.
        if (looks_around && handing == Handing::Sifted) || has_grouping_sets(&select.group_clause) {
            return Outputs::Unknown;
        }
        let outputs = select.target_list.iter().map(|node| self.output(node, at));
        outputs
            .collect::<Option<_>>()
            .map_or(Outputs::Unknown, Outputs::List)
    }

    fn shape(
        &self,
        select: &'a SelectStmt,
        at: Place,
        (gathers, looks_around): (bool, bool),
    ) -> Shape {
        let plain = |node: &Node| match &node.node {
            Some(NodeEnum::ColumnRef(column)) => names::column(column, at.range()),
            _ => None,
        };
        let value = |node: &'a Node| match &node.node {
            Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
            _ => None,
        };
        let is_bare_star = |node: &Node| match &node.node {
            Some(NodeEnum::ColumnRef(column)) => names::star(column) == Some(None),
            _ => false,
        };
        let by_position = |node: &Node, targets: &'a [Node]| {
            let at = position(node)?.checked_sub(1)?;
            let before = targets.get(..=at)?;
            let stars = before.iter().filter_map(value).any(names::is_star);
            let at = before.last().and_then(value).filter(|_| !stars)?;
            plain(at)
        };
        let values = || select.target_list.iter().filter_map(value);
        let groups = match has_grouping_sets(&select.group_clause) {
            true => Vec::new(),
            false => {
                let by = |node| by_position(node, &select.target_list).or_else(|| plain(node));
                select.group_clause.iter().filter_map(by).collect()
            }
        };
        Shape {
            gathers,
            groups,
            distinct: !select.distinct_clause.is_empty(),
            listed: values().filter_map(plain).collect::<Vec<ColumnRef>>(),
            all_columns: values().any(is_bare_star),
            looks_around,
            ..Shape::default()
        }
    }

    fn set_operation(
        &mut self,
        select: &'a SelectStmt,
        scope: ScopeId,
        handing: Handing,
    ) -> Outputs {
        let (Some(left), Some(right)) = (select.larg.as_deref(), select.rarg.as_deref()) else {
            self.opaque("a set operation that is not understood");
            return Outputs::Unknown;
        };
        let parent = Some(Place::outside(scope));
        let left = self.select(left, parent, handing);
        let right = self.select(right, parent, handing);
        for branch in [left, right] {
            self.change_outputs(branch, outputs::forget_untyped);
        }
        self.change_shape(scope, |shape| shape.branches = vec![left, right]);
        Outputs::Branches(vec![left, right])
    }

    /// Reads and walks the rows of VALUES.
    pub(super) fn value_rows(&mut self, rows: &'a [Node], at: Place) -> Vec<Vec<Value>> {
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let Some(NodeEnum::List(list)) = &row.node else {
                self.opaque("a row of VALUES that is not understood");
                continue;
            };
            self.each(&list.items, at);
            // Where the values behind a row's columns end up is not known.
            let known = list.items.iter().take_while(|item| !names::is_star(item));
            all.push(known.map(|item| self.literals.value(item)).collect());
        }
        all
    }

    /// What one item of the target list hands out; none when it is not understood.
    fn output(&self, node: &Node, at: Place) -> Option<Output> {
        let Some(NodeEnum::ResTarget(target)) = &node.node else {
            return None;
        };
        let ResTarget { name, val, .. } = target.as_ref();
        let value = val.as_deref()?;
        let Some(NodeEnum::ColumnRef(column)) = &value.node else {
            if names::is_star(value) {
                return None;
            }
            if let Some([array]) = names::unnested(value) {
                return Some(Output::Array(self.literals.array_column(array)));
            }
            if let Some((column, family)) = cast_column(value, at) {
                return Some(Output::Cast(column, family));
            }
            return Some(Output::Value(self.literals.value(value)));
        };
        if let Some(qualifier) = names::star(column) {
            return Some(Output::Star(qualifier));
        }
        let column = names::column(column, at.range())?;
        let name = if name.is_empty() { &column.name } else { name };
        Some(Output::Column {
            name: name.clone(),
            column,
        })
    }

    /// Reads the CTEs of a WITH and brings them into sight; gives their names for leaving.
    pub(super) fn with(&mut self, clause: Option<&'a WithClause>, scope: ScopeId) -> Vec<&'a str> {
        let Some(clause) = clause else {
            return Vec::new();
        };
        let mut ctes: Vec<&'a CommonTableExpr> = Vec::with_capacity(clause.ctes.len());
        for node in &clause.ctes {
            match &node.node {
                Some(NodeEnum::CommonTableExpr(cte)) => ctes.push(cte),
                _ => self.opaque("a WITH that is not understood"),
            }
        }
        // In WITH RECURSIVE each sees all, itself too; else each sees those before it.
        if clause.recursive {
            for cte in &ctes {
                self.enter_recursive_cte(&cte.ctename);
            }
        }
        for cte in &ctes {
            let Some(query) = cte.ctequery.as_deref() else {
                self.opaque("a WITH that is not understood");
                continue;
            };
            let rows = self.query(query, Some(Place::outside(scope)));
            if !clause.recursive {
                self.enter_cte(&cte.ctename, rows, !cte.aliascolnames.is_empty());
            }
        }
        ctes.iter().map(|cte| cte.ctename.as_str()).collect()
    }
}

/// A column that is cast.
fn cast_column(node: &Node, at: Place) -> Option<(ColumnRef, Family)> {
    let Some(NodeEnum::TypeCast(cast)) = &node.node else {
        return None;
    };
    let Some(NodeEnum::ColumnRef(column)) = &cast.arg.as_deref()?.node else {
        return None;
    };
    let family = scalar_family(cast.type_name.as_ref()?)?;
    Some((names::column(column, at.range())?, family))
}

/// DISTINCT without ON is a list of one empty node.
fn is_distinct_on(clause: &[Node]) -> bool {
    clause.iter().any(|node| node.node.is_some())
}

/// The place of an output that a number in GROUP BY names, counted from 1.
fn position(node: &Node) -> Option<usize> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Ival(integer)) => usize::try_from(integer.ival).ok(),
            _ => None,
        },
        _ => None,
    }
}

fn has_grouping_sets(clause: &[Node]) -> bool {
    clause
        .iter()
        .any(|node| matches!(node.node, Some(NodeEnum::GroupingSet(_))))
}
