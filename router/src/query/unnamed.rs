//! Where the names of an INSERT's columns would stand that it leaves out, and how many it fills.
//!
//! An INSERT without names fills its table's columns in their order. Whoever knows that order can
//! write the names into the text; this only says where.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{InsertStmt, Node, RangeVar, SelectStmt, SetOperation};

use super::names;

/// The place of a list of columns that is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unnamed {
    /// Where it would stand in the query string, in bytes.
    pub at: usize,
    /// How many columns each row fills; none when that is seen only by who knows other tables.
    pub width: Option<usize>,
}

/// The place in an INSERT without names; none when there is none to be found.
pub(super) fn of(insert: &InsertStmt, sql: &str) -> Option<Unnamed> {
    if !insert.cols.is_empty() {
        return None;
    }
    let at = after_target(sql, insert.relation.as_ref()?)?;
    let width = match insert.select_stmt.as_deref().map(|query| &query.node) {
        Some(Some(NodeEnum::SelectStmt(select))) => width(select),
        Some(_) | None => None,
    };
    // A query may have no columns at all, and a list of names needs one.
    (width != Some(0)).then_some(Unnamed { at, width })
}

/// How many columns a query has.
fn width(select: &SelectStmt) -> Option<usize> {
    if let Some(first) = select.values_lists.first() {
        let Some(NodeEnum::List(row)) = &first.node else {
            return None;
        };
        return count(&row.items, Some);
    }
    match select.op() {
        SetOperation::SetopNone | SetOperation::Undefined => {
            count(&select.target_list, |node| match &node.node {
                Some(NodeEnum::ResTarget(target)) => target.val.as_deref(),
                _ => None,
            })
        }
        // All branches have as many.
        SetOperation::SetopUnion | SetOperation::SetopIntersect | SetOperation::SetopExcept => {
            width(select.larg.as_deref()?)
        }
    }
}

/// None when one of the expressions stands for several columns.
fn count<'a>(nodes: &'a [Node], value: impl Fn(&'a Node) -> Option<&'a Node>) -> Option<usize> {
    let mut each = nodes.iter().map(value);
    each.all(|value| value.is_some_and(|value| !names::is_star(value)))
        .then_some(nodes.len())
}

/// Where a table's name stands, with its schema, if a query in parentheses may stand there.
pub(super) fn place_of(sql: &str, relation: &RangeVar) -> Option<Range<usize>> {
    let begin = usize::try_from(relation.location).ok()?;
    let before = sql.get(..begin)?.trim_end();
    let word = before.rfind(|c: char| !c.is_ascii_alphanumeric());
    let word = before.get(word.map_or(0, |at| at + 1)..)?;
    // `TABLE t` is a query by itself.
    if word.eq_ignore_ascii_case("table") {
        return None;
    }
    let reader = behind_name(sql, relation)?;
    Some(begin..sql.len() - reader.rest.len())
}

fn behind_name<'a>(sql: &'a str, relation: &RangeVar) -> Option<Reader<'a>> {
    let begin = usize::try_from(relation.location).ok()?;
    let mut reader = Reader {
        rest: sql.get(begin..)?,
    };
    let before = [&relation.catalogname, &relation.schemaname];
    for _ in before.iter().filter(|name| !name.is_empty()) {
        reader.name()?;
        reader.dot()?;
    }
    reader.name()?;
    Some(reader)
}

/// The place after an INSERT's table and its alias.
fn after_target(sql: &str, relation: &RangeVar) -> Option<usize> {
    let mut reader = behind_name(sql, relation)?;
    if relation.alias.is_some() {
        let word = reader.name()?;
        word.eq_ignore_ascii_case("as").then_some(())?;
        reader.name()?;
    }
    Some(sql.len() - reader.rest.len())
}

/// Reads names. Whatever is rare in them makes the place one that is not found.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// The next name, after white space and comments.
    fn name(&mut self) -> Option<&'a str> {
        self.skip_space()?;
        let bytes = self.rest.as_bytes();
        let length = if bytes.first() == Some(&b'"') {
            quoted_length(bytes)?
        } else {
            let is_part = |byte: &u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || !byte.is_ascii()
            };
            bytes.iter().take_while(|byte| is_part(byte)).count()
        };
        let (name, rest) = self.rest.split_at_checked(length)?;
        // U&"..." may be followed by a word about its escapes.
        if name.is_empty() || (name.eq_ignore_ascii_case("u") && rest.starts_with('&')) {
            return None;
        }
        self.rest = rest;
        Some(name)
    }

    fn dot(&mut self) -> Option<()> {
        self.skip_space()?;
        self.rest = self.rest.strip_prefix('.')?;
        Some(())
    }

    fn skip_space(&mut self) -> Option<()> {
        loop {
            // Those that PostgreSQL's lexer takes for space.
            let space = |c| matches!(c, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c');
            self.rest = self.rest.trim_start_matches(space);
            if let Some(line) = self.rest.strip_prefix("--") {
                let end = line.find(['\n', '\r'])?;
                self.rest = line.get(end..)?;
            } else if self.rest.starts_with("/*") {
                self.rest = after_comment(self.rest)?;
            } else {
                return Some(());
            }
        }
    }
}

/// The length of the quoted name that `bytes` begins with.
fn quoted_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        at += memchr::memchr(b'"', bytes.get(at..)?)? + 1;
        if bytes.get(at) != Some(&b'"') {
            return Some(at);
        }
        at += 1;
    }
}

/// What follows the comment that `text` begins with; comments nest.
fn after_comment(text: &str) -> Option<&str> {
    let mut rest = text.get(2..)?;
    let mut depth = 1_usize;
    while depth > 0 {
        let at = rest.find(['/', '*'])?;
        rest = rest.get(at..)?;
        let mut step = 1;
        if rest.starts_with("/*") {
            (depth, step) = (depth + 1, 2);
        } else if rest.starts_with("*/") {
            (depth, step) = (depth - 1, 2);
        }
        rest = rest.get(step..)?;
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use crate::query::{Class, Unnamed, WriteKind, analyze};

    fn unnamed(sql: &str) -> Option<Unnamed> {
        let analysis = analyze(sql).unwrap();
        let Class::Insert(data) = &analysis.statements[0].class else {
            panic!("{sql} is no INSERT");
        };
        let mut inserts = data.writes.iter().filter_map(|write| match &write.kind {
            WriteKind::Insert(insert) => Some(insert.unnamed.clone()),
            WriteKind::Update(_) | WriteKind::Delete | WriteKind::Merge => None,
        });
        inserts.next().unwrap()
    }

    #[test]
    fn the_names_would_stand_after_the_table_and_its_alias() {
        for (sql, width) in [
            ("INSERT INTO t| VALUES (1, 'x'), (2, 'y')", Some(2)),
            ("insert into app.t| select a, b, c from u", Some(3)),
            ("INSERT INTO db.app . t| SELECT * FROM u", None),
            ("INSERT INTO t| SELECT u.*, 1 FROM u", None),
            ("INSERT INTO t| VALUES ((f(1)).*, 1)", None),
            ("INSERT INTO t| TABLE u", None),
            ("INSERT INTO t AS x| VALUES (1)", Some(1)),
            ("INSERT INTO \"a \"\"b\"| VALUES (1)", Some(1)),
            ("INSERT INTO/* ( */größe|/* 'x' */VALUES (1)", Some(1)),
            (
                "INSERT INTO -- a\n s /* b /* c */ */ . t| (VALUES (1))",
                Some(1),
            ),
            (
                "INSERT INTO t /* AS y */ as -- z\r\n x| VALUES (1)",
                Some(1),
            ),
            ("INSERT INTO t| OVERRIDING SYSTEM VALUE VALUES (1)", Some(1)),
            ("INSERT INTO t| SELECT 1, 2 UNION ALL SELECT 3, 4", Some(2)),
            ("INSERT INTO t|(SELECT 1, 2 LIMIT 1)", Some(2)),
            ("INSERT INTO t| DEFAULT VALUES", None),
            (
                "WITH a AS (SELECT 'ü, (') INSERT INTO t| SELECT 1 FROM a",
                Some(1),
            ),
        ] {
            let at = sql.find('|').unwrap();
            let found = unnamed(&sql.replace('|', ""));
            assert_eq!(found, Some(Unnamed { at, width }), "{sql}");
        }
    }

    #[test]
    fn no_place_is_named_where_it_is_not_sure() {
        for sql in [
            "INSERT INTO t (a) VALUES (1)",
            "INSERT INTO t SELECT FROM u",
            "INSERT INTO U&\"t\" VALUES (1)",
            "INSERT INTO U&\"!0074\" UESCAPE '!' VALUES (1)",
        ] {
            assert_eq!(unnamed(sql), None, "{sql}");
        }
    }
}
