//! An INSERT of a query's rows, taken apart: the query by itself, and the INSERT with other rows in
//! its place.

use pg_query::NodeEnum;
use pg_query::protobuf::{
    InsertStmt, Node, OnConflictAction, OverridingKind, ParseResult, RawStmt, SelectStmt,
    SetOperation, TypeCast, a_const,
};

use super::{names, parse};

/// The version that the tree's reader and writer agree on; it is not looked at.
const VERSION: i32 = 170_000;

/// The two parts.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Without its query and its WITH.
    insert: InsertStmt,
    /// With the WITH of both.
    query: SelectStmt,
}

/// An output of the query that is an untyped constant: it is of the type of the column that it is
/// for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untyped {
    /// Its item in the query's list.
    item: usize,
    /// Its place among the outputs.
    place: FromEnd,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FromEnd {
    /// So many are before it.
    Before(usize),
    /// So many come after it; `*` stands somewhere before it.
    After(usize),
}

impl Untyped {
    /// Its place among so many outputs, counted from 0.
    #[must_use]
    pub fn place(self, outputs: usize) -> Option<usize> {
        match self.place {
            FromEnd::Before(place) => Some(place),
            FromEnd::After(after) => outputs.checked_sub(after + 1),
        }
    }
}

impl Pulled {
    /// Takes the text of a single INSERT, or of an EXPLAIN of one, apart; none when it has no query, or one that can't be
    /// taken out of it.
    #[must_use]
    pub fn read(sql: &str, max_bytes: usize) -> Option<Self> {
        let mut tree = parse::parse(sql, max_bytes).ok()?;
        let mut stmts = tree.stmts.drain(..);
        let (Some(raw), None) = (stmts.next(), stmts.next()) else {
            return None;
        };
        let insert = match raw.stmt?.node? {
            NodeEnum::InsertStmt(insert) => insert,
            NodeEnum::ExplainStmt(explain) => match explain.query?.node? {
                NodeEnum::InsertStmt(insert) => insert,
                _ => return None,
            },
            _ => return None,
        };
        let mut insert = *insert;
        let NodeEnum::SelectStmt(query) = insert.select_stmt.take()?.node? else {
            return None;
        };
        let mut query = *query;
        let around = insert.with_clause.take();
        match (around, &query.with_clause) {
            (None, _) => {}
            (Some(around), None) => query.with_clause = Some(around),
            // Names of the one may hide those of the other.
            (Some(_), Some(_)) => return None,
        }
        query.values_lists.is_empty().then_some(())?;
        Some(Self { insert, query })
    }

    /// Whether rows that are there already are changed.
    #[must_use]
    pub fn updates(&self) -> bool {
        let clause = self.insert.on_conflict_clause.as_ref();
        clause.is_some_and(|it| it.action() == OnConflictAction::OnconflictUpdate)
    }

    /// Whether values that the query gives are left out for those of identity columns.
    #[must_use]
    pub fn drops_values(&self) -> bool {
        self.insert.r#override() == OverridingKind::OverridingUserValue
    }

    /// The outputs that are untyped constants; none when their places are not known.
    #[must_use]
    pub fn untyped(&self) -> Option<Vec<Untyped>> {
        if !matches!(
            self.query.op(),
            SetOperation::SetopNone | SetOperation::Undefined
        ) {
            return Some(Vec::new());
        }
        let items = &self.query.target_list;
        let stars: Vec<usize> = (0..items.len())
            .filter(|at| items.get(*at).and_then(value_of).is_none_or(is_many))
            .collect();
        let untyped = (0..items.len()).filter(|at| {
            let value = items.get(*at).and_then(value_of);
            value.is_some_and(is_untyped)
        });
        let place = |item: usize| {
            let before = stars.iter().all(|star| *star > item);
            let after = stars.iter().all(|star| *star < item);
            let place = match (before, after) {
                (true, _) => FromEnd::Before(item),
                (false, true) => FromEnd::After(items.len() - item - 1),
                (false, false) => return None,
            };
            Some(Untyped { item, place })
        };
        untyped.map(place).collect()
    }

    /// The text of the query by itself, with constants cast to these types.
    #[must_use]
    pub fn query(&self, casts: &[(Untyped, String)]) -> Option<String> {
        let mut query = self.query.clone();
        for (untyped, type_name) in casts {
            let item = query.target_list.get_mut(untyped.item)?;
            let Some(NodeEnum::ResTarget(target)) = &mut item.node else {
                return None;
            };
            let constant = target.val.take()?;
            target.val = Some(Box::new(cast(*constant, type_name)?));
        }
        text(NodeEnum::SelectStmt(Box::new(query)))
    }

    /// The text of the INSERT with another query in the place of its own.
    #[must_use]
    pub fn insert(&self, rows: &str) -> Option<String> {
        let mut tree = parse::parse(rows, usize::MAX).ok()?;
        let raw = tree.stmts.pop()?;
        let mut insert = self.insert.clone();
        insert.select_stmt = raw.stmt;
        text(NodeEnum::InsertStmt(Box::new(insert)))
    }
}

fn text(node: NodeEnum) -> Option<String> {
    let tree = ParseResult {
        version: VERSION,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(Node { node: Some(node) })),
            ..RawStmt::default()
        }],
    };
    tree.deparse(pg_query::DeparseOptions::default()).ok()
}

fn value_of(item: &Node) -> Option<&Node> {
    match &item.node {
        Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
        _ => None,
    }
}

/// Whether it may stand for several columns.
fn is_many(value: &Node) -> bool {
    names::is_star(value)
}

/// Whether it is a string without a type, or NULL.
fn is_untyped(value: &Node) -> bool {
    match &value.node {
        Some(NodeEnum::AConst(constant)) => {
            constant.isnull || matches!(constant.val, Some(a_const::Val::Sval(_)))
        }
        _ => false,
    }
}

fn cast(value: Node, type_name: &str) -> Option<Node> {
    let mut tree = parse::parse(&format!("SELECT NULL::{type_name}"), usize::MAX).ok()?;
    let Some(NodeEnum::SelectStmt(mut select)) = tree.stmts.pop()?.stmt?.node else {
        return None;
    };
    let Some(NodeEnum::ResTarget(target)) = select.target_list.pop()?.node else {
        return None;
    };
    let Some(NodeEnum::TypeCast(known)) = target.val?.node else {
        return None;
    };
    let cast = TypeCast {
        arg: Some(Box::new(value)),
        ..*known
    };
    Some(Node {
        node: Some(NodeEnum::TypeCast(Box::new(cast))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::MAX_STATEMENT_BYTES;

    fn read(sql: &str) -> Pulled {
        Pulled::read(sql, MAX_STATEMENT_BYTES).unwrap()
    }

    #[test]
    fn a_query_is_taken_out_of_its_insert() {
        let pulled = read(
            "WITH w AS (SELECT 1 AS a) INSERT INTO s.t AS x (k, v) OVERRIDING SYSTEM VALUE \
             SELECT a, 'v' FROM w WHERE a > $1 ON CONFLICT (k) DO UPDATE SET v = excluded.v \
             WHERE x.v <> $2 RETURNING k",
        );
        assert!(pulled.updates());
        assert!(!pulled.drops_values());
        let casts: Vec<_> = pulled.untyped().unwrap();
        assert_eq!(casts[0].place(2), Some(1));
        let casts = [(casts[0], "character varying".to_owned())];
        assert_eq!(
            pulled.query(&casts).unwrap(),
            "WITH w AS (SELECT 1 AS a) SELECT a, 'v'::varchar FROM w WHERE a > $1"
        );
        assert_eq!(
            pulled.insert("SELECT u.c0 FROM ROWS FROM (pg_catalog.unnest($3)) AS u(c0)"),
            Some(
                "INSERT INTO s.t AS x (k, v) OVERRIDING SYSTEM VALUE SELECT u.c0 FROM ROWS FROM \
                 (pg_catalog.unnest($3) ) u(c0) ON CONFLICT (k) DO UPDATE SET v = excluded.v \
                 WHERE x.v <> $2 RETURNING k"
                    .to_owned()
            )
        );
    }

    #[test]
    fn constants_are_found_beside_a_star() {
        let places = |sql: &str| {
            let untyped = read(sql).untyped();
            untyped.map(|all| all.iter().map(|it| it.place(6)).collect::<Vec<_>>())
        };
        let sql = "INSERT INTO t (k) SELECT NULL, 1, t.*, 'a', 'b'::text FROM t";
        assert_eq!(places(sql), Some(vec![Some(0), Some(4)]));
        let sql = "INSERT INTO t (k) SELECT a.*, 'x', b.* FROM a, b";
        assert_eq!(places(sql), None);
        let sql = "INSERT INTO t (k) SELECT 'x' UNION SELECT 'y'";
        assert_eq!(places(sql), Some(vec![]));
    }

    #[test]
    fn what_has_no_query_of_its_own_is_left_alone() {
        for sql in [
            "INSERT INTO t (k) VALUES (1)",
            "INSERT INTO t DEFAULT VALUES",
            "WITH a AS (SELECT 1) INSERT INTO t (k) WITH b AS (SELECT 2) SELECT * FROM b",
            "SELECT 1",
            "INSERT INTO t (k) SELECT 1; SELECT 2",
        ] {
            assert!(Pulled::read(sql, MAX_STATEMENT_BYTES).is_none(), "{sql}");
        }
    }
}
