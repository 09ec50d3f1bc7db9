//! Reads INSERT, UPDATE, DELETE and MERGE into scopes and writes. The target is the first entry.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    DeleteStmt, InsertStmt, MergeStmt, Node, OnConflictClause, RangeVar, ReturningClause,
    SelectStmt, UpdateStmt,
};

use super::builder::{Builder, Place};
use super::select::Handing;
use super::{Insert, NewRows, ScopeId, WriteKind, unnamed};

impl<'a> Builder<'a> {
    pub(super) fn insert(&mut self, insert: &'a InsertStmt, parent: Option<Place>) -> ScopeId {
        let scope = self.open(parent);
        let ctes = self.with(insert.with_clause.as_ref(), scope);
        self.write_target(scope, insert.relation.as_ref());
        let rows = self.new_rows(insert.select_stmt.as_deref(), scope);
        let at = self.inside(scope);
        // The columns may have subscripts, which are expressions.
        self.each(&insert.cols, at);
        let updates = match &insert.on_conflict_clause {
            Some(clause) => self.on_conflict(clause, at),
            None => Vec::new(),
        };
        self.returning(insert.returning_clause.as_ref(), at);
        let columns = (!insert.cols.is_empty()).then(|| target_names(&insert.cols));
        let unnamed = unnamed::of(insert, self.sql());
        self.add_write(
            scope,
            WriteKind::Insert(Insert {
                columns,
                unnamed,
                rows,
                updates,
            }),
        );
        self.leave_ctes(ctes);
        scope
    }

    fn new_rows(&mut self, query: Option<&'a Node>, scope: ScopeId) -> NewRows {
        let parent = Place::outside(scope);
        match query.map(|query| &query.node) {
            None => NewRows::Defaults,
            Some(Some(NodeEnum::SelectStmt(select))) if is_plain_values(select) => {
                NewRows::Values(self.value_rows(&select.values_lists, parent))
            }
            Some(Some(NodeEnum::SelectStmt(select))) => {
                NewRows::Query(self.select(select, Some(parent), Handing::Whole))
            }
            Some(_) => {
                self.opaque("an INSERT that is not understood");
                NewRows::Defaults
            }
        }
    }

    fn on_conflict(&mut self, clause: &'a OnConflictClause, at: Place) -> Vec<String> {
        if let Some(infer) = &clause.infer {
            self.each(&infer.index_elems, at);
            self.optional(infer.where_clause.as_deref(), at);
        }
        self.each(&clause.target_list, at);
        self.optional(clause.where_clause.as_deref(), at);
        target_names(&clause.target_list)
    }

    pub(super) fn update(&mut self, update: &'a UpdateStmt, parent: Option<Place>) -> ScopeId {
        let scope = self.open(parent);
        let ctes = self.with(update.with_clause.as_ref(), scope);
        self.write_target(scope, update.relation.as_ref());
        self.read_from(scope, &update.from_clause);
        let at = self.inside(scope);
        if let Some(condition) = update.where_clause.as_deref() {
            self.condition(condition, at, &at.range());
        }
        self.each(&update.target_list, at);
        self.returning(update.returning_clause.as_ref(), at);
        self.add_write(scope, WriteKind::Update(target_names(&update.target_list)));
        self.leave_ctes(ctes);
        scope
    }

    pub(super) fn delete(&mut self, delete: &'a DeleteStmt, parent: Option<Place>) -> ScopeId {
        let scope = self.open(parent);
        let ctes = self.with(delete.with_clause.as_ref(), scope);
        self.write_target(scope, delete.relation.as_ref());
        self.read_from(scope, &delete.using_clause);
        let at = self.inside(scope);
        if let Some(condition) = delete.where_clause.as_deref() {
            self.condition(condition, at, &at.range());
        }
        self.returning(delete.returning_clause.as_ref(), at);
        self.add_write(scope, WriteKind::Delete);
        self.leave_ctes(ctes);
        scope
    }

    /// Rows that do not match contribute too, so that the condition gives no facts.
    pub(super) fn merge(&mut self, merge: &'a MergeStmt, parent: Option<Place>) -> ScopeId {
        let scope = self.open(parent);
        let ctes = self.with(merge.with_clause.as_ref(), scope);
        self.write_target(scope, merge.relation.as_ref());
        match merge.source_relation.as_deref() {
            Some(source) => {
                self.read_from_item(scope, source);
            }
            None => self.opaque("a MERGE that is not understood"),
        }
        let at = self.inside(scope);
        self.optional(merge.join_condition.as_deref(), at);
        for node in &merge.merge_when_clauses {
            let Some(NodeEnum::MergeWhenClause(clause)) = &node.node else {
                self.opaque("a MERGE that is not understood");
                continue;
            };
            self.optional(clause.condition.as_deref(), at);
            self.each(&clause.target_list, at);
            self.each(&clause.values, at);
        }
        self.returning(merge.returning_clause.as_ref(), at);
        self.add_write(scope, WriteKind::Merge);
        self.leave_ctes(ctes);
        scope
    }

    fn write_target(&mut self, scope: ScopeId, relation: Option<&'a RangeVar>) {
        match relation {
            Some(relation) => self.target(scope, relation),
            None => self.opaque("a write without a target"),
        }
    }

    /// Walks RETURNING. It hands out no origins: a condition on the rows that a write returns does
    /// not restrict what it writes.
    fn returning(&mut self, clause: Option<&'a ReturningClause>, at: Place) {
        if let Some(clause) = clause {
            self.each(&clause.exprs, at);
        }
    }
}

/// VALUES with nothing around it.
fn is_plain_values(select: &SelectStmt) -> bool {
    !select.values_lists.is_empty()
        && select.sort_clause.is_empty()
        && select.limit_count.is_none()
        && select.limit_offset.is_none()
        && select.locking_clause.is_empty()
        && select.with_clause.is_none()
}

fn target_names(targets: &[Node]) -> Vec<String> {
    targets
        .iter()
        .filter_map(|node| match &node.node {
            Some(NodeEnum::ResTarget(target)) => Some(target.name.clone()),
            _ => None,
        })
        .collect()
}
