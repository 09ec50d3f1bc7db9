//! Hints in the comments of a query string: `/* shard_key = 'x' */`, `/* shard = 'shard-1' */`,
//! `/* consistency = 'eventual' */`, and what a CREATE TABLE is to be registered as.
//! What a hint means for a statement is decided in [`crate::route`].
//!
//! A comment is read as a list of `name = value`; names that are not ours are somebody else's and
//! passed over. A comment that does not begin like that is prose.

use pg_query::protobuf::Token;

use super::{Statement, SyntaxError};

/// Where the author of a statement, or of a session, wants it to run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hints {
    /// The shard key that it works on, in its text form.
    pub shard_key: Option<String>,
    /// The id of the shard that it runs on.
    pub shard: Option<String>,
    /// How fresh a read must be, one of [`CONSISTENCIES`].
    pub consistency: Option<String>,
    /// Whether a transaction may write on several shards, `on` or `off`; of a session only.
    pub cross_shard_writes: Option<String>,
    /// What becomes of new tables that are not said to be anything; of a session only.
    pub new_tables: Option<String>,
    /// The encoding of the client, as PostgreSQL shows it; of a session only.
    pub client_encoding: Option<String>,
    /// What a new table is to be registered as, one of [`TABLE_KINDS`].
    pub table_kind: Option<String>,
    /// The group of a new table.
    pub table_group: Option<String>,
}

/// What the names of hints begin with.
pub const HINTS: [&str; 3] = ["shard", "consistency", "table_"];

/// The words for what a table is.
pub(super) const TABLE_KINDS: [&str; 3] = ["sharded", "reference", "unsharded"];

/// The words for how fresh a read must be.
pub const CONSISTENCIES: [&str; 2] = ["strong", "eventual"];

impl Hints {
    /// Whether no place is hinted at.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shard_key.is_none() && self.shard.is_none()
    }

    /// Whether those of a CREATE TABLE say what the table is, and not where it runs.
    #[must_use]
    pub fn registers(&self) -> bool {
        self.shard_key.is_some() || self.table_kind.is_some()
    }

    /// The place of a hint of this name.
    fn named(&mut self, name: &str) -> Option<&mut Option<String>> {
        if name.eq_ignore_ascii_case("shard_key") {
            Some(&mut self.shard_key)
        } else if name.eq_ignore_ascii_case("shard") {
            Some(&mut self.shard)
        } else if name.eq_ignore_ascii_case("consistency") {
            Some(&mut self.consistency)
        } else if name.eq_ignore_ascii_case("table_kind") {
            Some(&mut self.table_kind)
        } else if name.eq_ignore_ascii_case("table_group") {
            Some(&mut self.table_group)
        } else {
            None
        }
    }
}

/// Gives each statement the hints of its comments. One behind the last statement is that one's.
///
/// # Errors
/// [`SyntaxError::Hint`] when a hint can't be read, or two of a statement contradict.
pub(super) fn attach(sql: &str, statements: &mut [Statement]) -> Result<(), SyntaxError> {
    if !may_hold_hints(sql) {
        return Ok(());
    }
    for comment in comments(sql)? {
        let at = statements
            .iter()
            .position(|statement| comment.start < statement.location.end)
            .unwrap_or(statements.len().saturating_sub(1));
        if let Some(statement) = statements.get_mut(at) {
            read(comment.text, &mut statement.hints)?;
        }
    }
    Ok(())
}

/// The number of the last parameter of a text, 0 when it has none.
#[must_use]
pub fn parameters(sql: &str) -> u16 {
    let Ok(scanned) = pg_query::scan(sql) else {
        return 0;
    };
    let numbers = scanned.tokens.iter().filter_map(|token| {
        let text = (token.token() == Token::Param).then(|| slice(sql, token.start, token.end));
        text.flatten()?.strip_prefix('$')?.parse().ok()
    });
    numbers.max().unwrap_or(0)
}

/// Whether a text is worth the scanner: most have no comment at all.
fn may_hold_hints(sql: &str) -> bool {
    let holds = |word: &[u8]| {
        let mut windows = sql.as_bytes().windows(word.len());
        windows.any(|window| window.eq_ignore_ascii_case(word))
    };
    (sql.contains("/*") || sql.contains("--"))
        && [&b"shard"[..], b"consistency", b"table_"]
            .into_iter()
            .any(holds)
}

struct Comment<'a> {
    start: usize,
    text: &'a str,
}

/// What stands in the comments, found by PostgreSQL's own scanner: a literal or a quoted name that
/// looks like a comment is none.
fn comments(sql: &str) -> Result<Vec<Comment<'_>>, SyntaxError> {
    let scanned = pg_query::scan(sql).map_err(|error| SyntaxError::Hint {
        message: format!("comments can't be read for hints: {error}"),
    })?;
    let mut found = Vec::new();
    for token in &scanned.tokens {
        let text = slice(sql, token.start, token.end);
        let text = match (token.token(), text) {
            (Token::CComment, Some(text)) => text
                .strip_prefix("/*")
                .and_then(|text| text.strip_suffix("*/")),
            (Token::SqlComment, Some(text)) => text.strip_prefix("--"),
            _ => None,
        };
        if let (Some(text), Ok(start)) = (text, usize::try_from(token.start)) {
            found.push(Comment { start, text });
        }
    }
    Ok(found)
}

fn slice(sql: &str, start: i32, end: i32) -> Option<&str> {
    sql.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// Adds the hints of one comment.
fn read(comment: &str, hints: &mut Hints) -> Result<(), SyntaxError> {
    let mut rest = comment.trim();
    let mut ours = false;
    while !rest.is_empty() {
        let Some((name, after)) = name_and_sign(rest) else {
            return unreadable_when(ours, comment);
        };
        let place = hints.named(name);
        ours |= place.is_some();
        let Some((value, after)) = value(after.trim_start()) else {
            return unreadable_when(ours, comment);
        };
        rest = after.trim_start_matches(is_separator);
        if !after.is_empty() && rest.len() == after.len() {
            return unreadable_when(ours, comment);
        }
        if name.eq_ignore_ascii_case("consistency") && !CONSISTENCIES.contains(&value.as_str()) {
            return unreadable_when(ours, comment);
        }
        if name.eq_ignore_ascii_case("table_kind") && !TABLE_KINDS.contains(&value.as_str()) {
            return unreadable_when(ours, comment);
        }
        match place {
            Some(Some(known)) if *known != value => return Err(contradicting(name)),
            Some(place) => *place = Some(value),
            None => {}
        }
    }
    Ok(())
}

fn is_separator(character: char) -> bool {
    character.is_whitespace() || matches!(character, ',' | ';')
}

/// `name =` and what follows.
fn name_and_sign(text: &str) -> Option<(&str, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let after = text.trim_start_matches(is_part);
    let name = text.strip_suffix(after).filter(|name| !name.is_empty())?;
    Some((name, after.trim_start().strip_prefix('=')?))
}

/// A value in quotes, in which a quote is doubled, or a bare word; and what follows.
fn value(text: &str) -> Option<(String, &str)> {
    let Some(mut rest) = text.strip_prefix('\'') else {
        let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '+' | '.' | ':');
        let after = text.trim_start_matches(is_part);
        let word = text.strip_suffix(after).filter(|word| !word.is_empty())?;
        return Some((word.to_owned(), after));
    };
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        match after.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

/// A comment that names one of our hints must be readable; another one is not ours to judge.
fn unreadable_when(ours: bool, comment: &str) -> Result<(), SyntaxError> {
    if !ours {
        return Ok(());
    }
    let shown: String = comment.trim().chars().take(80).collect();
    Err(SyntaxError::Hint {
        message: format!("the hint in comment \"{shown}\" can't be read"),
    })
}

fn contradicting(name: &str) -> SyntaxError {
    SyntaxError::Hint {
        message: format!("the statement has several hints {name} that contradict each other"),
    }
}

#[cfg(test)]
mod tests;
