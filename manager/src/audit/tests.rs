use serde_json::json;
use topology::store::{MemoryStore, Txn};

use super::chain::{CUT, Checker, Fault, cut_detail};
use super::*;

fn entry(position: &Position, number: u64) -> Entry {
    Entry {
        id: format!("id-{number}"),
        sequence: position.next(),
        epoch: Epoch(1),
        term: Term(1),
        at: format!("2026-01-01T00:{:02}:{:02}.000Z", number / 60, number % 60),
        actor: if number.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        }
        .to_owned(),
        request_id: None,
        from: None,
        action: "create_group".to_owned(),
        target: "default".to_owned(),
        result: Verdict::Done,
        detail: Value::Null,
        changes: Vec::new(),
        previous: Some(position.hash()),
    }
}

async fn add(store: &MemoryStore, change: impl FnOnce(&mut Entry)) {
    let position = Position::of(store).await.unwrap();
    let mut entry = entry(&position, position.next());
    change(&mut entry);
    let txn = Txn {
        compares: vec![position.unchanged()],
        ops: position.added(&entry).to_vec(),
    };
    store.commit(txn).await.unwrap();
}

async fn store_with(entries: u64) -> MemoryStore {
    let store = MemoryStore::new();
    for _ in 1..=entries {
        add(&store, |_| {}).await;
    }
    store
}

async fn write(store: &MemoryStore, ops: Vec<Op>) {
    let compares = Vec::new();
    store.commit(Txn { compares, ops }).await.unwrap();
}

async fn stored(store: &MemoryStore, sequence: u64) -> bytes::Bytes {
    let entry = store.read(&keys::audit(sequence)).await.unwrap();
    entry.unwrap().value
}

async fn faults(store: &MemoryStore) -> Vec<(&'static str, u64)> {
    let findings = verify(store).await.unwrap();
    let faults = findings.faults.iter();
    faults
        .map(|fault| (fault.kind(), fault.sequence()))
        .collect()
}

async fn numbers(store: &MemoryStore, filter: &Filter, limit: usize) -> Vec<u64> {
    let page = page(store, filter, limit).await.unwrap();
    page.entries
        .iter()
        .map(|listed| listed.entry.sequence)
        .collect()
}

#[tokio::test]
async fn entries_come_newest_first_across_blocks() {
    let store = store_with(215).await;
    for (limit, oldest) in [(1, 215), (16, 200), (17, 199), (130, 86), (1_000, 1)] {
        let expected: Vec<_> = (oldest..=215).rev().collect();
        assert_eq!(
            numbers(&store, &Filter::default(), limit).await,
            expected,
            "limit {limit}"
        );
    }
}

#[tokio::test]
async fn an_empty_store_has_no_entries_and_no_faults() {
    let store = MemoryStore::new();
    assert!(numbers(&store, &Filter::default(), 10).await.is_empty());
    assert!(faults(&store).await.is_empty());
}

#[tokio::test]
async fn pages_follow_each_other_through_a_filter() {
    let store = store_with(250).await;
    let mut filter = Filter {
        actor: Some("even".to_owned()),
        since: Some("2026-01-01T00:00:50.000Z".to_owned()),
        until: Some("2026-01-01T00:04:00.000Z".to_owned()),
        ..Filter::default()
    };
    let mut seen = Vec::new();
    loop {
        let page = page(&store, &filter, 30).await.unwrap();
        seen.extend(page.entries.iter().map(|listed| listed.entry.sequence));
        filter.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    let expected: Vec<_> = (50..240).rev().filter(|number| number % 2 == 0).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn an_untouched_log_has_no_faults() {
    let store = store_with(215).await;
    let findings = verify(&store).await.unwrap();
    assert_eq!((findings.entries, findings.chained), (215, 215));
    assert_eq!(findings.faults, []);
}

#[tokio::test]
async fn a_changed_entry_is_found() {
    let store = store_with(120).await;
    for number in [1, 100, 119] {
        let genuine = stored(&store, number).await;
        let text = String::from_utf8(genuine.to_vec()).unwrap();
        let forged = text.replace("create_group", "delete_group");
        write(&store, vec![Op::put(keys::audit(number), forged)]).await;
        assert_eq!(faults(&store).await, [("changed", number)]);
        write(&store, vec![Op::put(keys::audit(number), genuine)]).await;
    }
    let forged = stored(&store, 120).await.to_vec();
    write(
        &store,
        vec![Op::put(keys::audit(120), [&forged[..], b" "].concat())],
    )
    .await;
    assert_eq!(faults(&store).await, [("changed", 120)], "the newest one");
}

#[tokio::test]
async fn a_missing_entry_is_found_wherever_it_was() {
    for number in [1, 7, 100, 120] {
        let store = store_with(120).await;
        write(&store, vec![Op::delete(keys::audit(number))]).await;
        assert_eq!(faults(&store).await, [("missing", number)]);
    }
}

#[tokio::test]
async fn a_cut_off_end_is_found_unless_the_head_is_forged_with_it() {
    let store = store_with(12).await;
    let gone = vec![Op::delete(keys::audit(11)), Op::delete(keys::audit(12))];
    write(&store, gone).await;
    assert_eq!(faults(&store).await, [("missing", 11)]);
    let hash = None;
    let forged = AuditHead { sequence: 10, hash };
    write(&store, vec![Op::put(keys::AUDIT_HEAD, encode(&forged))]).await;
    assert_eq!(
        faults(&store).await,
        [("changed", 10)],
        "a head without a digest"
    );
}

#[tokio::test]
async fn entries_in_each_others_places_are_found() {
    let store = store_with(10).await;
    let (third, fourth) = (stored(&store, 3).await, stored(&store, 4).await);
    let swapped = vec![
        Op::put(keys::audit(3), fourth.clone()),
        Op::put(keys::audit(4), third.clone()),
    ];
    write(&store, swapped).await;
    assert_eq!(faults(&store).await, [("misplaced", 3), ("misplaced", 4)]);
    let renumbered = |bytes: &bytes::Bytes, from: &str, to: &str| {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        text.replace(
            &format!("\"sequence\":{from}"),
            &format!("\"sequence\":{to}"),
        )
    };
    let swapped = vec![
        Op::put(keys::audit(3), renumbered(&fourth, "4", "3")),
        Op::put(keys::audit(4), renumbered(&third, "3", "4")),
    ];
    write(&store, swapped).await;
    let found = faults(&store).await;
    assert_eq!(found, [("changed", 2), ("changed", 3), ("changed", 4)]);
}

#[tokio::test]
async fn an_added_entry_and_one_without_a_digest_are_found() {
    let store = store_with(5).await;
    write(
        &store,
        vec![Op::put(keys::audit(6), stored(&store, 5).await)],
    )
    .await;
    assert_eq!(faults(&store).await, [("beyond", 6)]);
    let store = store_with(5).await;
    add(&store, |entry| entry.previous = None).await;
    add(&store, |_| {}).await;
    assert_eq!(faults(&store).await, [("unchained", 6)]);
    write(&store, vec![Op::put(keys::audit(3), "not an entry")]).await;
    assert_eq!(
        faults(&store).await,
        [("unreadable", 3), ("changed", 3), ("unchained", 6)]
    );
}

#[tokio::test]
async fn the_chain_begins_behind_entries_of_earlier_releases() {
    let store = MemoryStore::new();
    for number in 1..=3 {
        let position = Position::of(&store).await.unwrap();
        let mut old = entry(&position, number);
        old.previous = None;
        let (sequence, hash) = (number, None);
        let head = encode(&AuditHead { sequence, hash });
        let ops = vec![
            Op::put(keys::AUDIT_HEAD, head),
            Op::put(keys::audit(number), old.stored()),
        ];
        write(&store, ops).await;
    }
    assert_eq!(faults(&store).await, []);
    add(&store, |_| {}).await;
    add(&store, |_| {}).await;
    let findings = verify(&store).await.unwrap();
    assert_eq!((findings.entries, findings.chained), (5, 2));
    assert_eq!(findings.faults, []);
    write(
        &store,
        vec![Op::put(keys::audit(3), stored(&store, 2).await)],
    )
    .await;
    assert_eq!(
        faults(&store).await,
        [("misplaced", 3)],
        "the last one before the chain"
    );
}

/// Does what the writer does with a cut.
async fn cut(store: &MemoryStore, retention: &Retention) -> usize {
    let now = humantime::parse_rfc3339("2026-01-01T01:00:00Z").unwrap();
    let Some(cut) = retention.cut(store, now).await.unwrap() else {
        return 0;
    };
    let removed = cut.keys.len();
    let mut ops: Vec<_> = cut.keys.into_iter().map(Op::delete).collect();
    ops.push(Op::put(keys::AUDIT_ANCHOR, encode(&cut.anchor)));
    write(store, ops).await;
    add(store, |entry| {
        entry.action = CUT.to_owned();
        entry.detail = cut_detail(&cut.anchor);
        entry.at = "2026-01-01T01:00:00.000Z".to_owned();
    })
    .await;
    removed
}

fn keeping(entries: u64, age: u64) -> Retention {
    Retention {
        entries,
        age: std::time::Duration::from_secs(age),
        interval: std::time::Duration::from_secs(1),
    }
}

#[tokio::test]
async fn what_retention_leaves_can_still_be_checked() {
    let store = store_with(330).await;
    let retention = keeping(50, 1_000_000);
    let mut cuts = Vec::new();
    while let removed @ 1.. = cut(&store, &retention).await {
        cuts.push(removed);
        assert_eq!(faults(&store).await, []);
    }
    assert_eq!(cuts, [100, 100, 83]);
    let findings = verify(&store).await.unwrap();
    assert_eq!(
        (findings.entries, findings.anchor.unwrap().sequence),
        (50, 283)
    );
    assert_eq!(numbers(&store, &Filter::default(), 1_000).await.len(), 50);
    write(&store, vec![Op::delete(keys::audit(284))]).await;
    assert_eq!(faults(&store).await, [("missing", 284)]);
}

#[tokio::test]
async fn retention_by_age_leaves_the_newest_and_does_not_cut_for_its_own_entries() {
    let store = store_with(30).await;
    // Of an hour after the first entry, less 59 minutes and 50 seconds: ten are older.
    assert_eq!(cut(&store, &keeping(1_000, 3_590)).await, 9);
    assert_eq!(cut(&store, &keeping(1_000, 3_590)).await, 0);
    assert_eq!(cut(&store, &keeping(1_000, 0)).await, 21);
    let left = numbers(&store, &Filter::default(), 10).await;
    assert_eq!(left, [32, 31]);
    assert_eq!(cut(&store, &keeping(1_000, 0)).await, 0);
    assert_eq!(faults(&store).await, []);
}

#[tokio::test]
async fn a_moved_anchor_is_found_and_a_broken_log_is_not_cut() {
    let store = store_with(30).await;
    cut(&store, &keeping(20, 1_000_000)).await;
    let more = Digest::of(&stored(&store, 12).await);
    let anchor = AuditAnchor {
        sequence: 12,
        hash: more,
        chained: true,
    };
    write(
        &store,
        vec![
            Op::delete(keys::audit(12)),
            Op::put(keys::AUDIT_ANCHOR, encode(&anchor)),
        ],
    )
    .await;
    assert_eq!(faults(&store).await, [("anchor", 12)]);
    let store = store_with(30).await;
    write(&store, vec![Op::delete(keys::audit(5))]).await;
    let now = std::time::SystemTime::now();
    let refused = keeping(20, 1_000_000_000).cut(&store, now).await;
    assert!(matches!(refused, Err(ReadError::Broken(_))), "{refused:?}");
}

#[test]
fn a_log_with_many_faults_tells_the_first_hundred() {
    let mut checker = Checker::new(None);
    for number in 1..1_000 {
        checker.entry(number, b"nothing");
    }
    let (sequence, hash) = (999, None);
    let findings = checker.finish(AuditHead { sequence, hash });
    assert_eq!(findings.faults.len(), 100);
    assert_eq!(findings.faults[0], Fault::Unreadable { sequence: 1 });
    assert_eq!(json!(findings.entries), 999);
}
