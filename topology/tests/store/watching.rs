//! Watches: every change from a revision on, one batch a revision, in order.

use std::time::Duration;

use futures_util::future::join;
use tokio::time::timeout;
use topology::store::{Batch, Error, Event, Op, Revision, Watch};

use crate::subject::{PATIENCE, Subject, after, changes, put};

crate::on_both_stores! {
    a_watch_brings_what_was_and_what_comes_one_batch_a_revision,
    a_watch_leaves_out_what_is_not_under_its_prefix,
    a_watch_from_zero_begins_at_the_beginning,
    a_watch_from_a_later_revision_waits_for_it,
    thousands_of_revisions_come_in_order_and_none_is_left_out,
    a_watch_may_be_left_and_taken_up_between_any_two_polls,
    a_watch_that_starts_before_the_compaction_says_so,
    a_watch_that_starts_at_the_compaction_goes_on,
    an_idle_watch_reports_progress,
}

/// A batch as text: `+key=value` and `-key`, in the order of its keys.
fn text(batch: &Batch) -> String {
    let event = |event: &Event| match event {
        Event::Put(entry) => {
            assert_eq!(entry.mod_revision, batch.revision);
            format!("+{}={}", entry.key, String::from_utf8_lossy(&entry.value))
        }
        Event::Delete { key } => format!("-{key}"),
    };
    let mut events: Vec<_> = batch.events.iter().map(event).collect();
    // Keys alone decide: `+` and `-` are one byte each.
    events.sort_by(|a, b| a.bytes().skip(1).cmp(b.bytes().skip(1)));
    events.join(" ")
}

async fn next(watch: &mut dyn Watch) -> (Revision, String) {
    let batch = changes(watch).await.unwrap();
    (batch.revision, text(&batch))
}

async fn a_watch_brings_what_was_and_what_comes_one_batch_a_revision(store: &Subject) {
    store.put("/k/a", "0").await;
    let first = store.apply([put("/k/a", "1"), put("/k/b", "1")]).await;
    let second = store.apply([Op::delete("/k/a"), put("/k/c", "2")]).await;
    let mut watch = store.watch_from("/k/", first).await;
    assert_eq!(
        next(watch.as_mut()).await,
        (first, "+/k/a=1 +/k/b=1".to_owned())
    );
    assert_eq!(
        next(watch.as_mut()).await,
        (second, "-/k/a +/k/c=2".to_owned())
    );
    let third = store.apply([put("/k/a", "3"), Op::delete("/k/none")]).await;
    let fourth = store.apply([Op::delete("/k/b")]).await;
    assert_eq!(next(watch.as_mut()).await, (third, "+/k/a=3".to_owned()));
    assert_eq!(next(watch.as_mut()).await, (fourth, "-/k/b".to_owned()));
    // A key that came back shows it by its create revision.
    let batch = {
        let mut again = store.watch_from("/k/a", third).await;
        changes(again.as_mut()).await.unwrap()
    };
    assert!(matches!(&batch.events[..], [Event::Put(entry)] if entry.create_revision == third));
}

async fn a_watch_leaves_out_what_is_not_under_its_prefix(store: &Subject) {
    let mut watch = store.watch_from("/k/", Revision(1)).await;
    store.put("/j/a", "1").await;
    let mixed = store
        .apply([put("/k", "2"), put("/k/a", "2"), put("/k0", "2")])
        .await;
    store.put("/l", "3").await;
    let last = store.put("/k/b", "4").await;
    assert_eq!(next(watch.as_mut()).await, (mixed, "+/k/a=2".to_owned()));
    assert_eq!(next(watch.as_mut()).await, (last, "+/k/b=4".to_owned()));
}

async fn a_watch_from_zero_begins_at_the_beginning(store: &Subject) {
    let first = store.put("/k/a", "1").await;
    store.put("/k/a", "2").await;
    let mut watch = store.watch_from("/k/", Revision(0)).await;
    assert_eq!(next(watch.as_mut()).await, (first, "+/k/a=1".to_owned()));
    let mut all = store.watch_from("", Revision(0)).await;
    assert_eq!(next(all.as_mut()).await, (first, "+/k/a=1".to_owned()));
}

async fn a_watch_from_a_later_revision_waits_for_it(store: &Subject) {
    let newest = store.put("/k/a", "0").await;
    let mut watch = store.watch_from("/k/", Revision(newest.0 + 3)).await;
    for value in ["1", "2", "3"] {
        store.put("/k/a", value).await;
    }
    let wanted = (Revision(newest.0 + 3), "+/k/a=3".to_owned());
    assert_eq!(next(watch.as_mut()).await, wanted);
}

async fn thousands_of_revisions_come_in_order_and_none_is_left_out(store: &Subject) {
    const COUNT: u64 = 2500;
    let newest = store.put("/k/a", "begin").await;
    // The first half is history that etcd sends in batches of its own; the second comes live.
    for number in 0..COUNT / 2 {
        store
            .apply([put("/k/a", &number.to_string()), put("/k/b", "1")])
            .await;
    }
    let mut watch = store.watch_from("/k/", after(newest)).await;
    let write = async {
        for number in COUNT / 2..COUNT {
            store
                .apply([put("/k/a", &number.to_string()), put("/k/b", "1")])
                .await;
        }
    };
    let read = async {
        for number in 0..COUNT {
            let wanted = (
                Revision(newest.0 + 1 + number),
                format!("+/k/a={number} +/k/b=1"),
            );
            assert_eq!(next(watch.as_mut()).await, wanted);
        }
    };
    join(write, read).await;
}

async fn a_watch_may_be_left_and_taken_up_between_any_two_polls(store: &Subject) {
    const COUNT: usize = 300;
    let mut watch = store.watch_from("/k/", Revision(1)).await;
    let write = async {
        for number in 0..COUNT {
            store.put("/k/a", &number.to_string()).await;
        }
    };
    let read = async {
        let mut found = Vec::new();
        while found.len() < COUNT {
            // Too short for most answers: nearly every call is cancelled.
            if let Ok(batch) = timeout(Duration::from_micros(100), watch.next()).await {
                let batch = batch.unwrap();
                found.extend((!batch.events.is_empty()).then(|| text(&batch)));
            }
        }
        found
    };
    let ((), found) = timeout(PATIENCE, join(write, read)).await.unwrap();
    let wanted: Vec<_> = (0..COUNT).map(|number| format!("+/k/a={number}")).collect();
    assert_eq!(found, wanted);
}

async fn a_watch_that_starts_before_the_compaction_says_so(store: &Subject) {
    let first = store.put("/k/a", "1").await;
    store.put("/k/a", "2").await;
    let third = store.put("/k/a", "3").await;
    store.compact(third).await;
    for from in [Revision(0), Revision(1), first, Revision(third.0 - 1)] {
        let mut watch = store.watch_from("/k/", from).await;
        let answer = changes(watch.as_mut()).await;
        assert!(
            matches!(answer, Err(Error::Compacted { oldest }) if oldest == third),
            "from {from:?}: {answer:?}"
        );
    }
    assert_eq!(store.value("/k/a").await.unwrap(), "3");
}

async fn a_watch_that_starts_at_the_compaction_goes_on(store: &Subject) {
    store.put("/k/a", "1").await;
    let second = store.put("/k/a", "2").await;
    let mut open = store.watch_from("/k/", second).await;
    let third = store.put("/k/a", "3").await;
    assert_eq!(next(open.as_mut()).await, (second, "+/k/a=2".to_owned()));
    assert_eq!(next(open.as_mut()).await, (third, "+/k/a=3".to_owned()));
    store.compact(third).await;
    let mut at = store.watch_from("/k/", third).await;
    assert_eq!(next(at.as_mut()).await, (third, "+/k/a=3".to_owned()));
    // A watch that has seen all of the forgotten history has lost nothing.
    let fourth = store.put("/k/a", "4").await;
    for watch in [&mut open, &mut at] {
        assert_eq!(next(watch.as_mut()).await, (fourth, "+/k/a=4".to_owned()));
    }
}

async fn an_idle_watch_reports_progress(store: &Subject) {
    store.put("/k/a", "1").await;
    let newest = store.put("/j", "elsewhere").await;
    let mut watch = store.watch_from("/k/", after(newest)).await;
    for _ in 0..2 {
        let report = timeout(Duration::from_secs(8), watch.next()).await;
        let report = report.expect("the watch is silent").unwrap();
        assert!(report.events.is_empty());
        assert_eq!(report.revision, newest);
    }
}
