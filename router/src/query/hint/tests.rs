use super::super::analyze;
use super::*;

fn hints(sql: &str) -> Vec<(Option<String>, Option<String>)> {
    let statements = analyze(sql).unwrap().statements;
    let pair = |statement: Statement| (statement.hints.shard_key, statement.hints.shard);
    statements.into_iter().map(pair).collect()
}

fn key(sql: &str) -> Option<String> {
    hints(sql).remove(0).0
}

fn refused(sql: &str) -> bool {
    matches!(analyze(sql), Err(SyntaxError::Hint { .. }))
}

#[test]
fn a_hint_is_found_wherever_a_comment_may_stand() {
    for sql in [
        "/* shard_key = 'x' */ SELECT 1",
        "SELECT /*shard_key='x'*/ 1",
        "SELECT 1 /* SHARD_KEY=x */",
        "SELECT 1; /* shard_key = x */",
        "-- shard_key = 'x'\nSELECT 1",
        "SELECT 1 -- shard_key = x;",
        "/* app = 'web', shard_key = 'x', trace='a''b' */ SELECT 1",
        "/* shard_key = 'x' */ SELECT /* shard_key = x */ 1 /* by hand */",
    ] {
        assert_eq!(key(sql).as_deref(), Some("x"), "{sql}");
    }
}

#[test]
fn values_are_words_or_quoted() {
    for (text, value) in [
        ("-5", "-5"),
        ("'it''s'", "it's"),
        ("''", ""),
        ("'a, b; c'", "a, b; c"),
        ("'M\u{fc}nchen'", "M\u{fc}nchen"),
        (
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ),
    ] {
        let sql = format!("SELECT 1 /* shard_key = {text} */");
        assert_eq!(key(&sql).as_deref(), Some(value), "{sql}");
    }
}

#[test]
fn what_is_not_a_comment_holds_no_hint() {
    for sql in [
        "SELECT '/* shard_key = 5 */'",
        "SELECT $$ -- shard_key = 5\n$$",
        "SELECT 1 AS \"/* shard_key = 5 */\"",
        "SELECT E'\\'/* shard_key = 5 */'",
        "SELECT 1 /* by shard_key */",
        "SELECT 1 /* the shard_key = 5 is meant */",
        "SELECT 1 /* a /* shard_key = 5 */ */",
        "SELECT shard_key /* of the row */ FROM t",
    ] {
        assert_eq!(key(sql), None, "{sql}");
    }
}

#[test]
fn a_hint_that_cannot_be_read_is_refused() {
    for sql in [
        "SELECT 1 /* shard_key = */",
        "SELECT 1 /* shard_key = 'x */",
        "SELECT 1 /* shard_key = 5 or so */",
        "SELECT 1 /* shard_key = \"x\" */",
        "SELECT 1 /* shard_key = 'x'y */",
        "SELECT 1 /* shard = (a) */",
    ] {
        assert!(refused(sql), "{sql}");
    }
}

#[test]
fn contradicting_hints_are_refused() {
    assert!(refused("/* shard_key = 5 */ SELECT 1 /* shard_key = 6 */"));
    assert!(refused("SELECT 1 /* shard = a, shard = b */"));
    let both = hints("SELECT 1 /* shard = a, shard_key = 5 */");
    assert_eq!(both, [(Some("5".to_owned()), Some("a".to_owned()))]);
}

#[test]
fn each_statement_has_its_own_hints() {
    let sql = "/* shard_key = 1 */ SELECT 1 /* shard = a */; /* shard_key = 2 */ SELECT 2;";
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(hints(sql), [(text("1"), text("a")), (text("2"), None)]);
}

#[test]
fn the_last_parameter_is_found() {
    assert_eq!(parameters("SELECT $2, '$7', $1 /* $9 */"), 2);
    assert_eq!(parameters("SELECT 1"), 0);
}
