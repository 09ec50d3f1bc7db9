//! PREPARE and EXECUTE: the parts of their texts that a parse tree does not give, and the types
//! that PREPARE names.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, Token};

use super::{Class, Value, types};

/// A PREPARE by SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlPrepare {
    /// The statement's name.
    pub name: String,
    /// The object ids of the types that are named for its parameters; 0 leaves one open, and none
    /// stands for a type that is not one of PostgreSQL's own.
    pub types: Vec<Option<u32>>,
    /// The statement that is prepared.
    pub inner: Box<Class>,
}

/// An EXECUTE by SQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqlExecute {
    /// The statement's name.
    pub name: String,
    /// What its parameters are to be.
    pub arguments: Vec<Value>,
}

/// Where in a text that is one PREPARE the statement begins that is prepared.
#[must_use]
pub fn prepared_body(sql: &str) -> Option<Range<usize>> {
    let mut words = words(sql)?;
    words.find(|(token, _)| *token == Token::Prepare)?;
    let mut depth = 0_usize;
    for (token, place) in words {
        match token {
            Token::Ascii40 => depth += 1,
            Token::Ascii41 => depth = depth.checked_sub(1)?,
            Token::As if depth == 0 => return Some(place.end..sql.len()),
            _ => {}
        }
    }
    None
}

/// Where in a text that is one EXECUTE, or EXPLAIN of one, the name of the statement stands.
#[must_use]
pub fn executed_name(sql: &str) -> Option<Range<usize>> {
    let mut words = words(sql)?;
    executed(&mut words)?;
    match words.next()? {
        // Its escapes may be told of in the words behind it.
        (Token::Uident, _) => None,
        (_, place) => Some(place),
    }
}

/// What stands in a text that is one EXPLAIN of an EXECUTE before the latter.
#[must_use]
pub fn before_execute(sql: &str) -> Option<&str> {
    let execute = executed(&mut words(sql)?)?;
    sql.get(..execute.start)
}

/// The place of the word EXECUTE.
fn executed(words: &mut impl Iterator<Item = (Token, Range<usize>)>) -> Option<Range<usize>> {
    let mut depth = 0_usize;
    loop {
        match words.next()? {
            (Token::Ascii40, _) => depth += 1,
            (Token::Ascii41, _) => depth = depth.checked_sub(1)?,
            (Token::Execute, place) if depth == 0 => return Some(place),
            _ => {}
        }
    }
}

/// The words of a text with their places, without comments.
fn words(sql: &str) -> Option<impl Iterator<Item = (Token, Range<usize>)>> {
    let tokens = pg_query::scan(sql).ok()?.tokens;
    let words = tokens.into_iter().filter_map(|word| {
        let place = usize::try_from(word.start).ok()?..usize::try_from(word.end).ok()?;
        Some((word.token(), place))
    });
    Some(words.filter(|(token, _)| !matches!(token, Token::SqlComment | Token::CComment)))
}

/// The id of a type that PREPARE names.
pub(super) fn type_oid(node: &Node) -> Option<u32> {
    let Some(NodeEnum::TypeName(name)) = &node.node else {
        return None;
    };
    types::oid(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::analyze;

    fn class(sql: &str) -> Class {
        analyze(sql).unwrap().statements.remove(0).class
    }

    #[test]
    fn the_body_of_prepare_stands_behind_its_as() {
        for (sql, body) in [
            ("PREPARE p AS SELECT 1 AS a", " SELECT 1 AS a"),
            (
                "/* AS */ prepare \"as\" (int, numeric(1, 2)) as insert into t values ($1)",
                " insert into t values ($1)",
            ),
            (
                "PREPARE p -- AS\n AS/* AS */VALUES (1)",
                "/* AS */VALUES (1)",
            ),
            ("SELECT 1 AS a", ""),
        ] {
            let found = prepared_body(sql).and_then(|range| sql.get(range));
            assert_eq!(found.unwrap_or_default(), body, "{sql}");
        }
    }

    #[test]
    fn the_name_behind_execute_is_found() {
        for (sql, name) in [
            ("EXECUTE p(1, 'x')", Some("p")),
            (
                "/* EXECUTE a */ execute \"P 1\" ('execute b')",
                Some("\"P 1\""),
            ),
            ("EXPLAIN (ANALYZE, COSTS off) EXECUTE /* c */ p", Some("p")),
            ("EXECUTE U&\"p\"", None),
            ("SELECT 1", None),
        ] {
            let found = executed_name(sql).and_then(|range| sql.get(range));
            assert_eq!(found, name, "{sql}");
        }
    }

    #[test]
    fn types_of_postgresql_have_the_ids_that_it_gives_them() {
        let sql = "PREPARE p (int, integer[], bigint, varchar(5), character varying, text[], uuid, \
                   numeric(5, 2), timestamp with time zone, double precision, char(3), \
                   pg_catalog.int8, unknown, mood, public.text, boolean, box) AS SELECT 1";
        let Class::SqlPrepare(prepare) = class(sql) else {
            panic!("{sql}");
        };
        let expected = [
            23, 1007, 20, 1043, 1043, 1009, 2950, 1700, 1184, 701, 1042, 20, 0,
        ];
        let expected = expected.map(Some).into_iter();
        let expected: Vec<_> = expected.chain([None, None, Some(16), Some(603)]).collect();
        assert_eq!(prepare.types, expected);
        assert!(matches!(*prepare.inner, Class::Select(_)));
    }

    #[test]
    fn arguments_are_read_as_values() {
        let Class::SqlExecute(execute) = class("EXECUTE p (1, 'x', NULL, 1 + 1, -5)") else {
            panic!("it is an EXECUTE");
        };
        let expected = [
            Value::Integer("1".to_owned()),
            Value::Text("x".to_owned()),
            Value::Null,
            Value::Other,
            Value::Integer("-5".to_owned()),
        ];
        assert_eq!(execute.arguments, expected);
    }
}
