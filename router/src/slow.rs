//! Statements that took a shard long, in the log: their text with parameters in the places of
//! constants, since a log holds no values.

use std::time::Duration;

/// Most of a text that is logged.
const MAX_BYTES: usize = 2_000;

/// Logs one.
pub fn tell(took: Duration, sql: Option<&str>, trace_id: Option<&str>) {
    let statement = sql.map(without_constants);
    let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::warn!(
        took_ms = millis,
        statement = statement.as_deref(),
        trace_id,
        "slow statement"
    );
}

/// A text without its constants; nothing of one that can't be read.
fn without_constants(sql: &str) -> String {
    let text = pg_query::normalize(sql).unwrap_or_else(|_| "(not SQL)".to_owned());
    let end = text.floor_char_boundary(MAX_BYTES.min(text.len()));
    text.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_not_logged_and_long_texts_are_cut() {
        let text = without_constants("SELECT * FROM users WHERE name = 'secret' AND k = 17");
        assert_eq!(text, "SELECT * FROM users WHERE name = $1 AND k = $2");
        assert_eq!(without_constants("SELEC 'secret'"), "(not SQL)");
        let long = format!("SELECT a{}", ", b".repeat(2_000));
        assert_eq!(without_constants(&long).len(), MAX_BYTES);
    }
}
