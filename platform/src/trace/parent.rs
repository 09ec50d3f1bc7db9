//! Whose request it is within: the header `traceparent` of W3C Trace Context, and the comment that
//! sqlcommenter writes behind a statement.

use http::HeaderMap;
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId};

use super::remote;

/// A span of another process.
#[derive(Debug, Clone, PartialEq)]
pub struct Parent(pub(super) SpanContext);

impl Parent {
    /// Reads `00-<trace id>-<span id>-<flags>`; a later version may have more behind it.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().split('-');
        let (version, trace) = (digits(parts.next()?, 2)?, digits(parts.next()?, 32)?);
        let (span, flags) = (digits(parts.next()?, 16)?, digits(parts.next()?, 2)?);
        let has_more = parts.next().is_some();
        if version == "ff" || (version == "00" && has_more) {
            return None;
        }
        let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
        let trace = TraceId::from_hex(trace).ok()?;
        remote(
            trace,
            SpanId::from_hex(span).ok()?,
            flags & TraceFlags::SAMPLED,
        )
        .map(Self)
    }

    /// Of a request's headers.
    #[must_use]
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        Self::parse(headers.get("traceparent")?.to_str().ok()?)
    }
}

/// As many hexadecimal digits in lower case, as the standard wants them.
fn digits(text: &str, count: usize) -> Option<&str> {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    (text.len() == count && text.bytes().all(is_digit)).then_some(text)
}

const NAME: &str = "traceparent='";

/// The parent that a comment of a statement names: `/*..traceparent='00-..'..*/`.
#[must_use]
pub fn commented(sql: &str) -> Option<Parent> {
    let (before, behind) = sql.rsplit_once(NAME)?;
    let begun = before.rfind("/*")?;
    if before.get(begun..)?.contains("*/") {
        return None;
    }
    Parent::parse(behind.split_once('\'')?.0)
}

/// A statement without the comment behind it that names its parent, so that statements which differ
/// in nothing else are one to whoever remembers texts. A comment that names anything that begins
/// with one of `kept` stays.
#[must_use]
pub fn without_comment<'a>(sql: &'a str, kept: &[&str]) -> &'a str {
    // The usual case pays for this comparison only.
    if !sql.ends_with("*/") {
        return sql;
    }
    let Some((before, comment)) = sql.rsplit_once("/*") else {
        return sql;
    };
    let names_other = |name: &&str| comment.contains(*name);
    if !comment.contains(NAME) || kept.iter().any(names_other) {
        return sql;
    }
    before.trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_as_the_standard_says() {
        let parent = Parent::parse(GIVEN).unwrap();
        let trace = parent.0.trace_id().to_string();
        assert_eq!(trace, "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(parent.0.is_sampled() && parent.0.is_remote());
        let later = GIVEN.replace("00-4b", "01-4b") + "-more";
        assert!(Parent::parse(&later).is_some());
        let zeros = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        let upper = GIVEN.to_uppercase();
        let more = format!("{GIVEN}-more");
        for wrong in [
            "",
            "00",
            zeros,
            &upper,
            &more,
            &GIVEN.replace("00-4b", "ff-4b"),
        ] {
            assert_eq!(Parent::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_statement_names_its_parent_in_a_comment_only() {
        let commented_one = format!("SELECT 1 /*action='a',traceparent='{GIVEN}'*/");
        assert_eq!(commented(&commented_one), Parent::parse(GIVEN));
        let first = format!("/* traceparent='{GIVEN}' */ SELECT 1");
        assert_eq!(commented(&first), Parent::parse(GIVEN));
        let literal = format!("/* a */ SELECT \"traceparent='{GIVEN}'\"");
        assert_eq!(commented(&literal), None);
        assert_eq!(commented("SELECT 1"), None);
    }

    #[test]
    fn texts_that_differ_in_the_parent_only_become_one() {
        let one = format!("SELECT 1 /*traceparent='{GIVEN}'*/");
        assert_eq!(without_comment(&one, &["shard"]), "SELECT 1");
        let hint = format!("SELECT 1 /*shard='a',traceparent='{GIVEN}'*/");
        assert_eq!(without_comment(&hint, &["shard"]), hint);
        for other in ["SELECT 1", "SELECT 1 /* why */", "*/"] {
            assert_eq!(without_comment(other, &["shard"]), other);
        }
    }
}
