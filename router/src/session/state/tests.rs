use super::*;

fn preamble(begin: &str) -> Preamble {
    Preamble::new(begin)
}

#[test]
fn a_comment_at_the_end_of_a_statement_does_not_swallow_the_next() {
    let mut preamble = preamble("BEGIN -- work");
    assert!(preamble.savepoint("a", "SAVEPOINT a"));
    assert_eq!(preamble.sql(), "BEGIN -- work\n;SAVEPOINT a");
}

#[test]
fn going_back_to_a_savepoint_keeps_it_and_forgets_what_came_after() {
    let mut preamble = preamble("BEGIN");
    assert!(preamble.savepoint("a", "SAVEPOINT a"));
    assert!(preamble.push("SET x = 1"));
    assert!(preamble.savepoint("b", "SAVEPOINT b"));
    assert!(preamble.rollback_to("a"));
    assert_eq!(preamble.sql(), "BEGIN\n;SAVEPOINT a");
    assert!(preamble.has_savepoint("a") && !preamble.has_savepoint("b"));
    assert!(!preamble.rollback_to("b"));
}

#[test]
fn the_innermost_savepoint_of_a_name_is_meant() {
    let mut preamble = preamble("BEGIN");
    assert!(preamble.savepoint("a", "SAVEPOINT a"));
    assert!(preamble.push("SET x = 1"));
    assert!(preamble.savepoint("a", "SAVEPOINT a"));
    assert!(preamble.release("a", "RELEASE a"));
    assert!(preamble.rollback_to("a"));
    assert_eq!(preamble.sql(), "BEGIN\n;SAVEPOINT a");
}

#[test]
fn a_preamble_does_not_grow_without_end() {
    let mut preamble = preamble("BEGIN");
    let taken = (0..1_000)
        .take_while(|_| preamble.push("SET x = 1"))
        .count();
    assert_eq!(taken, Preamble::MAX_STATEMENTS - 1);
}

#[test]
fn a_status_byte_says_what_it_was_made_of() {
    for status in [b'I', b'T', b'E'] {
        assert_eq!(Transaction::from_status(status).status(), status);
    }
}

#[test]
fn a_refusal_fails_a_block_and_nothing_else() {
    let pending = Transaction::Pending(preamble("BEGIN"));
    for (before, status) in [
        (Transaction::Idle, b'I'),
        (pending.clone(), b'E'),
        (pending.refused(), b'E'),
        (Transaction::Open, b'E'),
        (Transaction::Failed, b'E'),
    ] {
        assert_eq!(before.refused().status(), status);
    }
}

#[test]
fn a_savepoint_that_was_released_leaves_nothing_unless_something_came_after_it() {
    let mut preamble = preamble("BEGIN");
    for _ in 0..1_000 {
        assert!(preamble.savepoint("a", "SAVEPOINT a"));
        assert!(preamble.savepoint("b", "SAVEPOINT b"));
        assert!(preamble.release("a", "RELEASE a"));
    }
    assert_eq!(preamble.since(1), None);
    assert!(preamble.savepoint("a", "SAVEPOINT a"));
    assert!(preamble.push("SET x = 1"));
    assert!(preamble.release("a", "RELEASE a"));
    let rest = "SAVEPOINT a\n;SET x = 1\n;RELEASE a";
    assert_eq!(preamble.since(1).as_deref(), Some(rest));
    assert!(preamble.mentions("x = 1") && !preamble.mentions("repeatable"));
}
