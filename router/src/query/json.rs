//! Walks the expressions of SQL/JSON, which have nodes of their own.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    JsonAggConstructor, JsonBehavior, JsonFuncExpr, JsonKeyValue, JsonTable, JsonTableColumn,
    JsonTablePathSpec, JsonValueExpr,
};

use super::builder::{Builder, Place};

impl<'a> Builder<'a> {
    /// Walks an expression of SQL/JSON; false when it is none.
    pub(super) fn json_expression(&mut self, node: &'a NodeEnum, at: Place) -> bool {
        match node {
            NodeEnum::JsonValueExpr(it) => self.json_value(Some(it), at),
            NodeEnum::JsonArgument(it) => self.json_value(it.val.as_deref(), at),
            NodeEnum::JsonKeyValue(it) => self.json_pair(Some(it), at),
            NodeEnum::JsonIsPredicate(it) => self.optional(it.expr.as_deref(), at),
            NodeEnum::JsonBehavior(it) => self.json_behaviour(Some(it), at),
            NodeEnum::JsonFuncExpr(it) => self.json_function(it, at),
            NodeEnum::JsonParseExpr(it) => self.json_value(it.expr.as_deref(), at),
            NodeEnum::JsonScalarExpr(it) => self.optional(it.expr.as_deref(), at),
            NodeEnum::JsonSerializeExpr(it) => self.json_value(it.expr.as_deref(), at),
            NodeEnum::JsonObjectConstructor(it) => self.each(&it.exprs, at),
            NodeEnum::JsonArrayConstructor(it) => self.each(&it.exprs, at),
            NodeEnum::JsonArrayQueryConstructor(it) => {
                if let Some(query) = it.query.as_deref() {
                    self.query(query, Some(at));
                }
            }
            NodeEnum::JsonObjectAgg(it) => {
                self.json_aggregate(it.constructor.as_deref(), at);
                self.json_pair(it.arg.as_deref(), at);
            }
            NodeEnum::JsonArrayAgg(it) => {
                self.json_aggregate(it.constructor.as_deref(), at);
                self.json_value(it.arg.as_deref(), at);
            }
            NodeEnum::JsonTableColumn(it) => self.json_column(it, at),
            _ => return false,
        }
        true
    }

    /// Walks the expressions of JSON_TABLE.
    pub(super) fn json_table(&mut self, table: &'a JsonTable, at: Place) {
        self.json_value(table.context_item.as_deref(), at);
        self.json_path(table.pathspec.as_deref(), at);
        self.each(&table.passing, at);
        self.each(&table.columns, at);
        self.json_behaviour(table.on_error.as_deref(), at);
    }

    fn json_column(&mut self, column: &'a JsonTableColumn, at: Place) {
        self.json_path(column.pathspec.as_deref(), at);
        self.each(&column.columns, at);
        self.json_behaviour(column.on_empty.as_deref(), at);
        self.json_behaviour(column.on_error.as_deref(), at);
    }

    fn json_function(&mut self, function: &'a JsonFuncExpr, at: Place) {
        self.json_value(function.context_item.as_deref(), at);
        self.optional(function.pathspec.as_deref(), at);
        self.each(&function.passing, at);
        self.json_behaviour(function.on_empty.as_deref(), at);
        self.json_behaviour(function.on_error.as_deref(), at);
    }

    fn json_value(&mut self, value: Option<&'a JsonValueExpr>, at: Place) {
        if let Some(value) = value {
            self.optional(value.raw_expr.as_deref(), at);
            self.optional(value.formatted_expr.as_deref(), at);
        }
    }

    fn json_pair(&mut self, pair: Option<&'a JsonKeyValue>, at: Place) {
        if let Some(pair) = pair {
            self.optional(pair.key.as_deref(), at);
            self.json_value(pair.value.as_deref(), at);
        }
    }

    fn json_behaviour(&mut self, behaviour: Option<&'a JsonBehavior>, at: Place) {
        if let Some(behaviour) = behaviour {
            self.optional(behaviour.expr.as_deref(), at);
        }
    }

    fn json_path(&mut self, path: Option<&'a JsonTablePathSpec>, at: Place) {
        if let Some(path) = path {
            self.optional(path.string.as_deref(), at);
        }
    }

    fn json_aggregate(&mut self, aggregate: Option<&'a JsonAggConstructor>, at: Place) {
        let Some(aggregate) = aggregate else { return };
        self.optional(aggregate.agg_filter.as_deref(), at);
        self.each(&aggregate.agg_order, at);
        if let Some(window) = &aggregate.over {
            self.windows += 1;
            self.window(window, at);
        }
    }
}
