//! Walks expressions, so that no table, function or parameter in them goes unseen. A kind of node
//! that is not known here makes the statement opaque.

use pg_query::NodeEnum;
use pg_query::protobuf::{FuncCall, Node, SubLink, TypeName, WindowDef, XmlExpr};

use super::builder::{Builder, Place};
use super::{ScopeId, functions, names, types};

const UNKNOWN: &str = "an expression that is not understood";

impl<'a> Builder<'a> {
    /// Walks an expression that stands at a place.
    pub(super) fn expression(&mut self, node: &'a Node, at: Place) {
        // DISTINCT and array subscripts have empty nodes.
        let Some(inner) = &node.node else { return };
        match inner {
            NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::SetToDefault(_)
            | NodeEnum::SqlvalueFunction(_)
            | NodeEnum::MergeSupportFunc(_)
            | NodeEnum::AStar(_)
            | NodeEnum::String(_) => {}
            NodeEnum::ColumnRef(it) => {
                if let Some(column) = names::place(it) {
                    self.tells_place(column);
                }
            }
            NodeEnum::AExpr(it) => {
                self.optional(it.lexpr.as_deref(), at);
                self.optional(it.rexpr.as_deref(), at);
            }
            NodeEnum::BoolExpr(it) => self.each(&it.args, at),
            NodeEnum::TypeCast(it) => self.cast(it.arg.as_deref(), it.type_name.as_ref(), at),
            NodeEnum::FuncCall(it) => self.function_call(it, at),
            NodeEnum::SubLink(it) => {
                self.sub_link(it, at);
            }
            NodeEnum::List(it) => self.each(&it.items, at),
            NodeEnum::RowExpr(it) => self.each(&it.args, at),
            NodeEnum::AArrayExpr(it) => self.each(&it.elements, at),
            NodeEnum::ResTarget(it) => {
                self.each(&it.indirection, at);
                self.optional(it.val.as_deref(), at);
            }
            NodeEnum::CaseExpr(it) => {
                self.optional(it.arg.as_deref(), at);
                self.each(&it.args, at);
                self.optional(it.defresult.as_deref(), at);
            }
            NodeEnum::CaseWhen(it) => {
                self.optional(it.expr.as_deref(), at);
                self.optional(it.result.as_deref(), at);
            }
            NodeEnum::CoalesceExpr(it) => self.each(&it.args, at),
            NodeEnum::MinMaxExpr(it) => self.each(&it.args, at),
            NodeEnum::NullTest(it) => self.optional(it.arg.as_deref(), at),
            NodeEnum::BooleanTest(it) => self.optional(it.arg.as_deref(), at),
            other => self.rarer_expression(other, at),
        }
    }

    fn rarer_expression(&mut self, node: &'a NodeEnum, at: Place) {
        match node {
            NodeEnum::AIndirection(it) => {
                self.optional(it.arg.as_deref(), at);
                self.each(&it.indirection, at);
            }
            NodeEnum::AIndices(it) => {
                self.optional(it.lidx.as_deref(), at);
                self.optional(it.uidx.as_deref(), at);
            }
            NodeEnum::CollateClause(it) => self.optional(it.arg.as_deref(), at),
            NodeEnum::NamedArgExpr(it) => self.optional(it.arg.as_deref(), at),
            NodeEnum::MultiAssignRef(it) => self.optional(it.source.as_deref(), at),
            NodeEnum::SortBy(it) => self.optional(it.node.as_deref(), at),
            NodeEnum::WindowDef(it) => self.window(it, at),
            NodeEnum::GroupingSet(it) => self.each(&it.content, at),
            NodeEnum::GroupingFunc(it) => self.each(&it.args, at),
            NodeEnum::IndexElem(it) => self.optional(it.expr.as_deref(), at),
            NodeEnum::XmlExpr(it) => self.xml(it, at),
            NodeEnum::XmlSerialize(it) => {
                self.cast(it.expr.as_deref(), it.type_name.as_ref(), at);
            }
            NodeEnum::RangeTableFuncCol(it) => {
                self.optional(it.colexpr.as_deref(), at);
                self.optional(it.coldefexpr.as_deref(), at);
            }
            // A cursor lives on one backend and may stand in any table.
            NodeEnum::CurrentOfExpr(_) => self.opaque("WHERE CURRENT OF"),
            other => {
                if !self.json_expression(other, at) {
                    self.opaque(UNKNOWN);
                }
            }
        }
    }

    /// Walks expressions.
    pub(super) fn each(&mut self, nodes: &'a [Node], at: Place) {
        for node in nodes {
            self.expression(node, at);
        }
    }

    /// Walks an expression that may be left out.
    pub(super) fn optional(&mut self, node: Option<&'a Node>, at: Place) {
        if let Some(node) = node {
            self.expression(node, at);
        }
    }

    /// Walks a sub-query and gives its scope.
    pub(super) fn sub_link(&mut self, link: &'a SubLink, at: Place) -> Option<ScopeId> {
        self.optional(link.testexpr.as_deref(), at);
        let query = link.subselect.as_deref()?;
        Some(self.query(query, Some(at)))
    }

    fn cast(&mut self, arg: Option<&'a Node>, type_name: Option<&'a TypeName>, at: Place) {
        let is_table_name = |it: &TypeName| {
            let name = it.names.last().and_then(names::text);
            name == Some("regclass") && it.array_bounds.is_empty()
        };
        match arg.map(|arg| &arg.node) {
            // The name of a row's table is the same on every shard.
            Some(Some(NodeEnum::ColumnRef(column)))
                if names::place(column) == Some("tableoid")
                    && type_name.is_some_and(is_table_name) => {}
            _ => self.optional(arg, at),
        }
        if let Some(type_name) = type_name {
            // The number of another type is each shard's own, and so is the type of a table's rows.
            if types::oid(type_name).is_none() {
                self.looks_up_objects();
            }
            self.each(&type_name.typmods, at);
        }
    }

    fn function_call(&mut self, call: &'a FuncCall, at: Place) {
        if let Some(unsafe_call) = functions::classify(call) {
            self.call(unsafe_call);
        }
        if functions::looks_up_objects(call) {
            self.looks_up_objects();
        }
        self.aggregates += usize::from(functions::is_aggregate(call));
        self.each(&call.args, at);
        self.each(&call.agg_order, at);
        self.optional(call.agg_filter.as_deref(), at);
        if let Some(window) = &call.over {
            self.windows += 1;
            self.window(window, at);
        }
    }

    pub(super) fn window(&mut self, window: &'a WindowDef, at: Place) {
        self.each(&window.partition_clause, at);
        self.each(&window.order_clause, at);
        self.optional(window.start_offset.as_deref(), at);
        self.optional(window.end_offset.as_deref(), at);
    }

    fn xml(&mut self, xml: &'a XmlExpr, at: Place) {
        self.each(&xml.named_args, at);
        self.each(&xml.args, at);
    }
}
