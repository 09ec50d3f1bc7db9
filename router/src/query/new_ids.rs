//! `sharding.next_id()` in the VALUES of an INSERT: the router writes an id in the place of each
//! call, so that it may be the key that the row is routed by.

use std::ops::Range;

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, Token};

use super::names;
use super::parse::{self, MAX_STATEMENT_BYTES};

/// The places of the calls in a text that is one INSERT of VALUES, if each is all that a value is;
/// none where there is no call, or one anywhere else.
#[must_use]
pub fn new_ids(sql: &str) -> Option<Vec<Range<usize>>> {
    may_have_one(sql.as_bytes()).then_some(())?;
    let calls = calls(sql)?;
    let wanted = values(sql)?;
    let same = calls.len() == wanted.len()
        && calls.iter().all(|call| wanted.contains(&call.start))
        && !calls.is_empty();
    same.then_some(calls)
}

/// Whether the name of the function is in a text, in letters of any case. Most texts have no call,
/// and are not to pay for those that have one: few have an underscore behind such a word.
fn may_have_one(text: &[u8]) -> bool {
    const BEFORE: &[u8] = b"next";
    const BEHIND: &[u8] = b"_id";
    memchr::memchr_iter(b'_', text).any(|at| {
        let is = |place: Option<&[u8]>, word: &[u8]| {
            place.is_some_and(|place| place.eq_ignore_ascii_case(word))
        };
        let before = at.checked_sub(BEFORE.len());
        is(before.and_then(|from| text.get(from..at)), BEFORE)
            && is(text.get(at..at + BEHIND.len()), BEHIND)
    })
}

/// The text with an id in each place.
#[must_use]
pub fn with_ids(sql: &str, places: &[Range<usize>], ids: impl Iterator<Item = i64>) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut from = 0;
    for (place, id) in places.iter().zip(ids) {
        out.push_str(sql.get(from..place.start).unwrap_or_default());
        out.push_str(&id.to_string());
        from = place.end;
    }
    out.push_str(sql.get(from..).unwrap_or_default());
    out
}

/// Whatever reads `sharding.next_id()`.
fn calls(sql: &str) -> Option<Vec<Range<usize>>> {
    let scanned = pg_query::scan(sql).ok()?;
    let comment = |token: Token| matches!(token, Token::SqlComment | Token::CComment);
    let tokens: Vec<_> = scanned
        .tokens
        .iter()
        .filter(|it| !comment(it.token()))
        .collect();
    let text = |at: usize| {
        let token = tokens.get(at)?;
        let (start, end) = (usize::try_from(token.start), usize::try_from(token.end));
        sql.get(start.ok()?..end.ok()?)
    };
    let is = |at: usize, word: &str| {
        text(at).is_some_and(|text| {
            text.eq_ignore_ascii_case(word) || text.strip_prefix('"') == Some(&format!("{word}\""))
        })
    };
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        let words = ["sharding", ".", "next_id", "(", ")"];
        if !words
            .iter()
            .enumerate()
            .all(|(step, word)| is(at + step, word))
        {
            continue;
        }
        let last = tokens.get(at + 4)?;
        found.push(usize::try_from(token.start).ok()?..usize::try_from(last.end).ok()?);
    }
    Some(found)
}

/// Where the values begin that are such a call.
fn values(sql: &str) -> Option<Vec<usize>> {
    let tree = parse::parse(sql, MAX_STATEMENT_BYTES).ok()?;
    let [raw] = tree.stmts.as_slice() else {
        return None;
    };
    let Some(NodeEnum::InsertStmt(insert)) = &raw.stmt.as_ref()?.node else {
        return None;
    };
    let Some(NodeEnum::SelectStmt(select)) = &insert.select_stmt.as_ref()?.node else {
        return None;
    };
    let rows = select.values_lists.iter();
    let items = rows.filter_map(|row| match &row.node {
        Some(NodeEnum::List(list)) => Some(&list.items),
        _ => None,
    });
    Some(items.flatten().filter_map(call_at).collect())
}

fn call_at(value: &Node) -> Option<usize> {
    let Some(NodeEnum::FuncCall(call)) = &value.node else {
        return None;
    };
    let parts = names::parts(&call.funcname)?;
    let plain = parts.as_slice() == ["sharding", "next_id"] && call.args.is_empty();
    let plain = plain && !call.agg_star && call.over.is_none() && call.agg_filter.is_none();
    plain.then(|| usize::try_from(call.location).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(sql: &str) -> Option<String> {
        let places = new_ids(sql)?;
        Some(with_ids(sql, &places, 1..))
    }

    #[test]
    fn each_value_gets_an_id_of_its_own() {
        assert_eq!(
            written("insert into t values (sharding.next_id(), 'next_id', Sharding . NEXT_ID ( ))")
                .as_deref(),
            Some("insert into t values (1, 'next_id', 2)")
        );
        assert_eq!(
            written("insert into t (a) values (sharding.next_id()), (/* sharding.next_id() */ 3)")
                .as_deref(),
            Some("insert into t (a) values (1), (/* sharding.next_id() */ 3)")
        );
    }

    #[test]
    fn calls_anywhere_else_are_left() {
        for sql in [
            "insert into t values (sharding.next_id() + 1)",
            "insert into t values ((select sharding.next_id()))",
            "insert into t select sharding.next_id() from s",
            "insert into t values (sharding.next_id()) on conflict do update set a = sharding.next_id()",
            "insert into t values (1) returning sharding.next_id()",
            "select sharding.next_id()",
            "insert into t values (1)",
        ] {
            assert_eq!(written(sql), None, "{sql}");
        }
    }
}
