//! Reads and transactions: conditions, atomicity, revisions.

use futures_util::future::join_all;
use topology::store::{Committed, Error, LeaseId, Op, Revision, Txn};

use crate::subject::{Subject, applied, created, modified, put};

crate::on_both_stores! {
    a_written_key_is_read_with_its_revisions,
    a_key_that_comes_back_has_a_new_create_revision,
    each_kind_of_condition_holds_or_not,
    one_condition_that_does_not_hold_refuses_all_and_changes_nothing,
    all_writes_of_a_transaction_have_one_revision,
    a_transaction_that_changes_nothing_has_the_newest_revision,
    two_writes_of_a_key_are_denied_and_two_removals_are_not,
    a_write_under_a_missing_lease_changes_nothing,
    of_writers_that_race_exactly_one_wins_each_round,
}

async fn a_written_key_is_read_with_its_revisions(store: &Subject) {
    assert_eq!(store.read("/a").await.unwrap(), None);
    let first = store.put("/a", "1").await;
    let entry = store.entry("/a").await;
    assert_eq!((entry.key.as_str(), &entry.value[..]), ("/a", &b"1"[..]));
    assert_eq!((entry.create_revision, entry.mod_revision), (first, first));
    let second = store.put("/a", "").await;
    assert!(second > first);
    let entry = store.entry("/a").await;
    assert!(entry.value.is_empty());
    assert_eq!((entry.create_revision, entry.mod_revision), (first, second));
    // A key is not a prefix.
    assert_eq!(store.read("/").await.unwrap(), None);
}

async fn a_key_that_comes_back_has_a_new_create_revision(store: &Subject) {
    store.put("/a", "1").await;
    let removed = store.apply([Op::delete("/a")]).await;
    assert_eq!(store.read("/a").await.unwrap(), None);
    let again = store.put("/a", "2").await;
    assert!(again > removed);
    let entry = store.entry("/a").await;
    assert_eq!((entry.create_revision, entry.mod_revision), (again, again));
}

async fn each_kind_of_condition_holds_or_not(store: &Subject) {
    let first = store.put("/a", "1").await;
    let second = store.put("/a", "2").await;
    let never = Revision(0);
    let cases = [
        (created("/a", first), true),
        (created("/a", second), false),
        (created("/a", never), false),
        (created("/none", never), true),
        (created("/none", first), false),
        (modified("/a", second), true),
        (modified("/a", first), false),
        (modified("/a", never), false),
        (modified("/none", never), true),
        (modified("/none", second), false),
    ];
    for (compare, holds) in cases {
        let text = format!("{compare:?}");
        let ops = Vec::new();
        let compares = vec![compare];
        let answer = store.commit(Txn { compares, ops }).await.unwrap();
        let wanted = if holds {
            Committed::Applied(second)
        } else {
            Committed::Refused
        };
        assert_eq!(answer, wanted, "{text}");
    }
}

async fn one_condition_that_does_not_hold_refuses_all_and_changes_nothing(store: &Subject) {
    let first = store.put("/a", "1").await;
    let txn = Txn {
        compares: vec![modified("/a", first), created("/b", first)],
        ops: vec![put("/a", "2"), put("/b", "2"), Op::delete("/c")],
    };
    assert_eq!(store.commit(txn).await.unwrap(), Committed::Refused);
    assert_eq!(store.value("/a").await.unwrap(), "1");
    assert_eq!(store.value("/b").await, None);
    assert_eq!(store.revision().await, first);
}

async fn all_writes_of_a_transaction_have_one_revision(store: &Subject) {
    let first = store.put("/gone", "1").await;
    let txn = Txn {
        compares: vec![created("/gone", first), created("/a", Revision(0))],
        ops: vec![put("/a", "1"), Op::delete("/gone"), put("/b", "2")],
    };
    let revision = applied(store.commit(txn).await);
    assert_eq!(revision, Revision(first.0 + 1));
    let listing = store.list("/").await.unwrap();
    assert_eq!(listing.revision, revision);
    let found = listing.entries.iter();
    let found: Vec<_> = found
        .map(|entry| (entry.key.as_str(), entry.mod_revision))
        .collect();
    assert_eq!(found, [("/a", revision), ("/b", revision)]);
}

async fn a_transaction_that_changes_nothing_has_the_newest_revision(store: &Subject) {
    let newest = store.put("/a", "1").await;
    assert_eq!(store.apply([]).await, newest);
    assert_eq!(store.apply([Op::delete("/none")]).await, newest);
    assert_eq!(store.revision().await, newest);
}

async fn two_writes_of_a_key_are_denied_and_two_removals_are_not(store: &Subject) {
    let newest = store.put("/b", "1").await;
    let false_condition = created("/none", Revision(9));
    for ops in [
        vec![put("/a", "1"), put("/a", "2")],
        vec![put("/a", "1"), Op::delete("/a")],
        vec![Op::delete("/a"), put("/c", "2"), put("/a", "1")],
    ] {
        for compares in [Vec::new(), vec![false_condition.clone()]] {
            let ops = ops.clone();
            let answer = store.commit(Txn { compares, ops }).await;
            assert!(matches!(answer, Err(Error::Denied(_))), "{answer:?}");
        }
    }
    assert_eq!(store.revision().await, newest);
    store.apply([Op::delete("/b"), Op::delete("/b")]).await;
    assert_eq!(store.value("/b").await, None);
}

async fn a_write_under_a_missing_lease_changes_nothing(store: &Subject) {
    let newest = store.put("/a", "1").await;
    let ops = vec![put("/a", "2"), Op::put_leased("/b", "1", LeaseId(4711))];
    let txn = |compares| Txn {
        compares,
        ops: ops.clone(),
    };
    let answer = store.commit(txn(Vec::new())).await;
    assert!(matches!(answer, Err(Error::LeaseExpired)), "{answer:?}");
    // The conditions come first: a leader that lost its term hears that, not of its lease.
    let answer = store.commit(txn(vec![created("/a", Revision(0))])).await;
    assert_eq!(answer.unwrap(), Committed::Refused);
    assert_eq!(store.revision().await, newest);
}

async fn of_writers_that_race_exactly_one_wins_each_round(store: &Subject) {
    let mut seen = Revision(0);
    for round in 0..20 {
        let attempts = (0..8).map(|writer| {
            let compares = vec![modified("/head", seen)];
            let ops = vec![put("/head", &format!("{round}/{writer}"))];
            store.commit(Txn { compares, ops })
        });
        let answers = join_all(attempts).await;
        let won: Vec<_> = answers
            .into_iter()
            .filter_map(|answer| match answer.unwrap() {
                Committed::Applied(revision) => Some(revision),
                Committed::Refused => None,
            })
            .collect();
        assert_eq!(won.len(), 1);
        seen = won[0];
        assert_eq!(store.entry("/head").await.mod_revision, seen);
    }
}
