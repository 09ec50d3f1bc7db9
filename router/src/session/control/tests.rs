use super::*;

fn begun() -> Transaction {
    Transaction::Pending(Preamble::new("BEGIN"))
}

fn run(transaction: &Transaction, class: &Class, sql: &str) -> (Transaction, String) {
    let controlled = control(transaction, class, sql).expect("a control statement");
    let answer = match controlled.answer {
        Ok(frames) => String::from_utf8_lossy(&frames).into_owned(),
        Err(refused) => refused.0.sqlstate.to_owned(),
    };
    (controlled.transaction, answer)
}

#[test]
fn begin_is_answered_with_the_words_of_the_client() {
    let begin = Class::Begin { read_only: false };
    assert!(run(&Transaction::Idle, &begin, "begin").1.contains("BEGIN"));
    let (after, answer) = run(
        &Transaction::Idle,
        &begin,
        "/* x */ -- y\n Start Transaction",
    );
    assert!(answer.contains("START TRANSACTION"), "{answer}");
    assert_eq!(after.status(), b'T');
}

#[test]
fn an_end_without_a_transaction_warns() {
    let (after, answer) = run(
        &Transaction::Idle,
        &Class::Commit { chain: false },
        "commit",
    );
    assert_eq!(after, Transaction::Idle);
    assert!(
        answer.starts_with('N') && answer.contains("25P01"),
        "{answer}"
    );
}

#[test]
fn a_missing_savepoint_fails_the_transaction() {
    let (after, answer) = run(&begun(), &Class::RollbackTo("a".into()), "rollback to a");
    assert_eq!(answer, "3B001");
    assert_eq!(after.status(), b'E');
}

#[test]
fn a_failed_transaction_comes_back_at_a_savepoint() {
    let (with, _) = run(&begun(), &Class::Savepoint("a".into()), "savepoint a");
    let (back, _) = run(
        &with.refused(),
        &Class::RollbackTo("a".into()),
        "rollback to a",
    );
    assert_eq!(back.status(), b'T');
}

#[test]
fn commit_of_a_failed_transaction_says_rollback() {
    let (after, answer) = run(
        &begun().refused(),
        &Class::Commit { chain: false },
        "commit",
    );
    assert_eq!(after, Transaction::Idle);
    assert!(answer.contains("ROLLBACK"), "{answer}");
}

#[test]
fn a_chained_end_begins_anew_without_the_savepoints() {
    let (with, _) = run(&begun(), &Class::Savepoint("a".into()), "savepoint a");
    let (after, _) = run(&with, &Class::Commit { chain: true }, "commit and chain");
    assert_eq!(after, begun());
}
