//! What DECLARE, FETCH and MOVE say, for cursors that the router itself keeps.

use pg_query::NodeEnum;
use pg_query::protobuf::{FetchDirection, Node, ParseResult, RawStmt};

use super::parse::{self, MAX_STATEMENT_BYTES};

/// `CURSOR_OPT_BINARY` and `CURSOR_OPT_SCROLL` of `nodes/parsenodes.h`.
const BINARY: i32 = 0x01;
const SCROLL: i32 = 0x02;

/// A DECLARE CURSOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    /// Its query.
    pub query: String,
    /// Whether its rows are in binary form.
    pub binary: bool,
    /// Whether it goes backwards.
    pub scrolls: bool,
}

/// A FETCH or MOVE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fetched {
    /// What is passed over before.
    pub skip: Skip,
    /// How many rows forward; none is all.
    pub rows: Option<u64>,
    /// MOVE.
    pub moves: bool,
}

/// What a FETCH passes over before it hands rows out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// So many rows from where the cursor is.
    Rows(u64),
    /// All before the row of this number, counted from 1.
    Before(u64),
}

/// The DECLARE CURSOR that a text is.
#[must_use]
pub fn declared(sql: &str) -> Option<Declared> {
    let Some(NodeEnum::DeclareCursorStmt(declare)) = only(sql) else {
        return None;
    };
    let tree = ParseResult {
        version: 170_000,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(Node {
                node: declare.query?.node,
            })),
            ..RawStmt::default()
        }],
    };
    Some(Declared {
        query: tree.deparse(pg_query::DeparseOptions::default()).ok()?,
        binary: declare.options & BINARY != 0,
        scrolls: declare.options & SCROLL != 0,
    })
}

/// The FETCH or MOVE forward that a text is; none for one that goes elsewhere.
#[must_use]
pub fn fetched(sql: &str) -> Option<Fetched> {
    let Some(NodeEnum::FetchStmt(fetch)) = only(sql) else {
        return None;
    };
    let count = u64::try_from(fetch.how_many)
        .ok()
        .filter(|rows| *rows > 0)?;
    let (skip, rows) = match fetch.direction() {
        FetchDirection::FetchForward if fetch.how_many == i64::MAX => (Skip::Rows(0), None),
        FetchDirection::FetchForward => (Skip::Rows(0), Some(count)),
        FetchDirection::FetchRelative => (Skip::Rows(count - 1), Some(1)),
        FetchDirection::FetchAbsolute => (Skip::Before(count), Some(1)),
        FetchDirection::FetchBackward | FetchDirection::Undefined => return None,
    };
    Some(Fetched {
        skip,
        rows,
        moves: fetch.ismove,
    })
}

fn only(sql: &str) -> Option<NodeEnum> {
    let tree = parse::parse(sql, MAX_STATEMENT_BYTES).ok()?;
    let mut stmts = tree.stmts.into_iter();
    match (stmts.next(), stmts.next()) {
        (Some(raw), None) => raw.stmt?.node,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_goes_forward_only() {
        let rows = |sql| fetched(sql).map(|it| it.rows);
        assert_eq!(rows("FETCH c"), Some(Some(1)));
        assert_eq!(rows("FETCH FORWARD 10 FROM \"c\""), Some(Some(10)));
        assert_eq!(rows("FETCH ALL FROM c"), Some(None));
        assert_eq!(rows("FETCH FORWARD ALL IN c"), Some(None));
        for sql in [
            "FETCH PRIOR FROM c",
            "FETCH BACKWARD 2 FROM c",
            "FETCH BACKWARD ALL FROM c",
            "FETCH RELATIVE -1 FROM c",
            "FETCH RELATIVE 0 FROM c",
            "FETCH ABSOLUTE -1 FROM c",
            "FETCH 0 FROM c",
            "FETCH -1 FROM c",
            "FETCH LAST FROM c",
            "SELECT 1",
        ] {
            assert_eq!(fetched(sql), None, "{sql}");
        }
        assert!(fetched("MOVE 5 IN c").unwrap().moves);
        let skip = |sql| fetched(sql).map(|it| (it.skip, it.rows));
        assert_eq!(
            skip("FETCH RELATIVE 3 FROM c"),
            Some((Skip::Rows(2), Some(1)))
        );
        assert_eq!(
            skip("FETCH ABSOLUTE 3 FROM c"),
            Some((Skip::Before(3), Some(1)))
        );
        assert_eq!(skip("FETCH FIRST FROM c"), Some((Skip::Before(1), Some(1))));
    }

    #[test]
    fn a_declaration_has_a_query() {
        let cursor = declared("DECLARE c NO SCROLL CURSOR FOR SELECT a FROM t WHERE b = $1");
        let cursor = cursor.unwrap();
        assert_eq!(cursor.query, "SELECT a FROM t WHERE b = $1");
        assert!(!cursor.binary && !cursor.scrolls);
        assert!(
            declared("DECLARE c BINARY CURSOR FOR SELECT 1")
                .unwrap()
                .binary
        );
        assert!(
            declared("DECLARE c SCROLL CURSOR FOR SELECT 1")
                .unwrap()
                .scrolls
        );
    }
}
