//! Reads FROM: what each item is, which of them an outer join may leave empty, and what the
//! conditions of joins restrict.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{
    Alias, JoinExpr, JoinType, Node, RangeFunction, RangeSubselect, RangeTableFunc,
    RangeTableSample, RangeVar,
};

use super::builder::{Builder, Place};
use super::{ColumnRef, Entry, Fact, Joined, Merged, Outputs, ScopeId, Source, Test, names};

impl<'a> Builder<'a> {
    /// Reads the items of a FROM, USING or the like into a scope.
    pub(super) fn read_from(&mut self, scope: ScopeId, items: &'a [Node]) {
        for item in items {
            self.read_from_item(scope, item);
        }
    }

    /// Reads one item; gives the entries that it made.
    pub(super) fn read_from_item(&mut self, scope: ScopeId, item: &'a Node) -> Range<usize> {
        let start = self.entries(scope);
        match &item.node {
            Some(NodeEnum::RangeVar(it)) => self.relation(scope, it),
            Some(NodeEnum::RangeSubselect(it)) => self.derived_table(scope, it),
            Some(NodeEnum::JoinExpr(it)) => self.join(scope, it),
            Some(NodeEnum::RangeFunction(it)) => self.table_function(scope, it),
            Some(NodeEnum::RangeTableSample(it)) => self.sample(scope, it),
            Some(NodeEnum::RangeTableFunc(it)) => self.xml_table(scope, it),
            Some(NodeEnum::JsonTable(it)) => {
                let at = self.inside(scope);
                self.json_table(it, at);
                self.opaque_entry(scope, it.alias.as_ref(), "json_table");
            }
            _ => self.opaque("an item of FROM that is not understood"),
        }
        start..self.entries(scope)
    }

    /// Adds a table as an entry, a target for one.
    pub(super) fn target(&mut self, scope: ScopeId, range: &RangeVar) {
        // A CTE can't be written to: its name does not hide the table's here.
        self.relation_entry(scope, range, Source::Table(names::table(range)), false);
    }

    fn relation(&mut self, scope: ScopeId, range: &'a RangeVar) {
        let (source, renamed) = self.source(range);
        if let Source::Table(table) = &source {
            self.reads(table, range);
        }
        self.relation_entry(scope, range, source, renamed);
    }

    fn relation_entry(&mut self, scope: ScopeId, range: &RangeVar, source: Source, renamed: bool) {
        let alias = range.alias.as_ref();
        self.add_entry(
            scope,
            Entry {
                name: Some(alias_name(alias).unwrap_or_else(|| range.relname.clone())),
                aliased: alias.is_some(),
                renamed: renamed || renames(alias),
                columns: column_names(alias),
                nullable: false,
                hidden_by: None,
                source,
            },
        );
    }

    fn opaque_entry(&mut self, scope: ScopeId, alias: Option<&Alias>, name: &str) {
        self.add_entry(
            scope,
            Entry {
                name: Some(alias_name(alias).unwrap_or_else(|| name.to_owned())),
                aliased: alias.is_some(),
                renamed: renames(alias),
                columns: Vec::new(),
                nullable: false,
                hidden_by: None,
                source: Source::Opaque,
            },
        );
    }

    fn derived_table(&mut self, scope: ScopeId, item: &'a RangeSubselect) {
        let parent = if item.lateral {
            self.inside(scope)
        } else {
            Place::outside(scope)
        };
        let Some(query) = item.subquery.as_deref() else {
            return self.opaque("a sub-select that is not understood");
        };
        let rows = self.query(query, Some(parent));
        let alias = item.alias.as_ref();
        self.add_entry(
            scope,
            Entry {
                name: alias_name(alias),
                aliased: alias.is_some(),
                renamed: renames(alias),
                columns: column_names(alias),
                nullable: false,
                hidden_by: None,
                source: Source::Rows(rows),
            },
        );
    }

    fn table_function(&mut self, scope: ScopeId, item: &'a RangeFunction) {
        // A function in FROM sees what is left of it, with or without LATERAL.
        let at = self.inside(scope);
        let mut name = "";
        for function in &item.functions {
            // Each is a list of the call and its column definitions, which hold only types.
            let Some(NodeEnum::List(list)) = &function.node else {
                self.opaque("a table function that is not understood");
                continue;
            };
            let Some(call) = list.items.first() else {
                continue;
            };
            if let Some(NodeEnum::FuncCall(call)) = &call.node {
                name = call.funcname.last().and_then(names::text).unwrap_or("");
            }
            self.expression(call, at);
        }
        match unnested(item) {
            Some(arrays) => self.arrays(scope, item, arrays, at),
            None => self.opaque_entry(scope, item.alias.as_ref(), name),
        }
    }

    /// The rows of unnest, which calls its only column as it is called itself.
    fn arrays(&mut self, scope: ScopeId, item: &RangeFunction, arrays: &[Node], at: Place) {
        let rows = self.open(Some(at));
        let columns = arrays.iter().map(|node| self.literals.array_column(node));
        let columns = columns.collect();
        self.set_outputs(rows, Outputs::Arrays(columns));
        let alias = item.alias.as_ref();
        let name = alias_name(alias).unwrap_or_else(|| names::UNNEST.to_owned());
        let mut columns = column_names(alias);
        if columns.is_empty() && arrays.len() == 1 {
            columns.push(name.clone());
        }
        self.add_entry(
            scope,
            Entry {
                name: Some(name),
                aliased: alias.is_some(),
                renamed: true,
                columns,
                nullable: false,
                hidden_by: None,
                source: Source::Rows(rows),
            },
        );
    }

    fn sample(&mut self, scope: ScopeId, item: &'a RangeTableSample) {
        let at = self.inside(scope);
        self.each(&item.args, at);
        self.optional(item.repeatable.as_deref(), at);
        match item.relation.as_deref() {
            Some(relation) => {
                let before = self.read_count();
                self.read_from_item(scope, relation);
                self.only_tables_since(before);
            }
            None => self.opaque("a sample that is not understood"),
        }
    }

    fn xml_table(&mut self, scope: ScopeId, item: &'a RangeTableFunc) {
        let at = self.inside(scope);
        self.optional(item.docexpr.as_deref(), at);
        self.optional(item.rowexpr.as_deref(), at);
        self.each(&item.namespaces, at);
        self.each(&item.columns, at);
        self.opaque_entry(scope, item.alias.as_ref(), "xmltable");
    }

    fn join(&mut self, scope: ScopeId, join: &'a JoinExpr) {
        let (Some(left), Some(right)) = (join.larg.as_deref(), join.rarg.as_deref()) else {
            return self.opaque("a join that is not understood");
        };
        let left = self.read_from_item(scope, left);
        let right = self.read_from_item(scope, right);
        let (joined, restricts) = match join.jointype() {
            JoinType::JoinInner => (Joined::Inner, Some(left.start..right.end)),
            JoinType::JoinLeft => (Joined::Left, Some(right.clone())),
            JoinType::JoinRight => (Joined::Right, Some(left.clone())),
            JoinType::JoinFull => (Joined::Full, None),
            _ => return self.opaque("a join that is not understood"),
        };
        if matches!(joined, Joined::Right | Joined::Full) {
            self.each_entry(scope, left.clone(), |entry| entry.nullable = true);
        }
        if matches!(joined, Joined::Left | Joined::Full) {
            self.each_entry(scope, right.clone(), |entry| entry.nullable = true);
        }
        if let Some(condition) = join.quals.as_deref() {
            let at = Place {
                scope,
                start: left.start,
                end: right.end,
            };
            match &restricts {
                Some(restricts) => self.condition(condition, at, restricts),
                None => self.expression(condition, at),
            }
        }
        let sides = Sides {
            joined,
            left,
            right,
            restricts,
        };
        self.merge_columns(scope, join, &sides);
        self.alias_join(scope, join, sides.left.start..sides.right.end);
    }

    fn merge_columns(&mut self, scope: ScopeId, join: &JoinExpr, sides: &Sides) {
        let merged = |name: Option<&str>| Merged {
            name: name.map(str::to_owned),
            joined: sides.joined,
            left: sides.left.clone(),
            right: sides.right.clone(),
        };
        if join.is_natural {
            self.add_merged(scope, merged(None));
        }
        for name in join.using_clause.iter().filter_map(names::text) {
            self.add_merged(scope, merged(Some(name)));
            let column = |among: &Range<usize>| ColumnRef {
                qualifier: None,
                name: name.to_owned(),
                among: among.clone(),
            };
            if let Some(restricts) = &sides.restricts {
                self.add_fact(
                    scope,
                    Fact {
                        test: Test::Same(column(&sides.left), column(&sides.right)),
                        restricts: restricts.clone(),
                    },
                );
            }
        }
    }

    fn alias_join(&mut self, scope: ScopeId, join: &JoinExpr, span: Range<usize>) {
        // `USING (...) AS x` names the merged columns and hides nothing.
        if let Some(alias) = &join.join_using_alias {
            self.opaque_entry(scope, Some(alias), "");
        }
        if let Some(alias) = &join.alias {
            let position = self.entries(scope);
            self.opaque_entry(scope, Some(alias), "");
            self.each_entry(scope, span.start..position, |entry| {
                entry.hidden_by.get_or_insert(position);
            });
        }
    }
}

/// The two sides of a join.
struct Sides {
    joined: Joined,
    left: Range<usize>,
    right: Range<usize>,
    /// The entries that the join's condition restricts; none for a full join.
    restricts: Option<Range<usize>>,
}

fn alias_name(alias: Option<&Alias>) -> Option<String> {
    alias.map(|alias| alias.aliasname.clone())
}

fn column_names(alias: Option<&Alias>) -> Vec<String> {
    let names = alias.into_iter().flat_map(|alias| &alias.colnames);
    names.filter_map(names::text).map(str::to_owned).collect()
}

/// The arrays, when an item is nothing but unnest.
fn unnested(item: &RangeFunction) -> Option<&[Node]> {
    let [function] = item.functions.as_slice() else {
        return None;
    };
    let Some(NodeEnum::List(list)) = &function.node else {
        return None;
    };
    let call = list.items.first()?;
    names::unnested(call).filter(|_| item.coldeflist.is_empty())
}

fn renames(alias: Option<&Alias>) -> bool {
    alias.is_some_and(|alias| !alias.colnames.is_empty())
}
