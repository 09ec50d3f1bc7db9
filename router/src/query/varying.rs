//! What may give another value on each server that runs the same statement: clocks, random numbers,
//! and what a server or a session is.

use pg_query::protobuf::Token;

/// Functions of PostgreSQL's own whose value depends on when, where or by whom they are called.
const FUNCTIONS: &[&str] = &[
    "age",
    "clock_timestamp",
    "current_query",
    "current_setting",
    "gen_random_uuid",
    "inet_client_addr",
    "inet_client_port",
    "inet_server_addr",
    "inet_server_port",
    "nextval",
    "now",
    "random",
    "setseed",
    "statement_timestamp",
    "timeofday",
    "transaction_timestamp",
    "version",
];

/// Families of such functions.
const FAMILIES: &[&str] = &[
    "pg_", "txid_", "lo_", "has_", "ts_debug", "query_to", "table_to",
];

/// Words that are such values by themselves.
const WORDS: &[&str] = &[
    "current_date",
    "current_time",
    "current_timestamp",
    "default",
    "localtime",
    "localtimestamp",
];

/// Strings that a cast to a time reads by the clock.
const TIMES: &[&str] = &["now", "today", "tomorrow", "yesterday"];

/// The first such thing in a text; an answer too many is harmless.
#[must_use]
pub fn varying(sql: &str) -> Option<String> {
    let Ok(scanned) = pg_query::scan(sql) else {
        return Some("text that can't be read".to_owned());
    };
    scanned.tokens.iter().find_map(|token| {
        let (start, end) = (usize::try_from(token.start), usize::try_from(token.end));
        let text = sql.get(start.ok()?..end.ok()?)?.to_ascii_lowercase();
        let is_varying = match token.token() {
            Token::Sconst => {
                let inner = text.trim_matches('\'').trim();
                TIMES.iter().any(|time| inner.starts_with(time))
            }
            _ => {
                let name = text.trim_matches('"');
                FUNCTIONS.contains(&name)
                    || WORDS.contains(&name)
                    || FAMILIES.iter().any(|family| name.starts_with(family))
            }
        };
        is_varying.then_some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_and_dice_are_found() {
        for sql in [
            "INSERT INTO t VALUES (now())",
            "INSERT INTO t VALUES (CURRENT_TIMESTAMP)",
            "UPDATE t SET a = pg_catalog.\"random\"()",
            "UPDATE t SET a = 'now'::timestamptz",
            "UPDATE t SET a = DEFAULT",
            "DELETE FROM t WHERE a < pg_postmaster_start_time()",
        ] {
            assert!(varying(sql).is_some(), "{sql}");
        }
        for sql in [
            "INSERT INTO t (a, b) VALUES (1, upper('x'))",
            "UPDATE t SET a = $1 WHERE b = 'knows'",
        ] {
            assert_eq!(varying(sql), None, "{sql}");
        }
    }
}
