//! Listings: what lies under a prefix, all of it as of one revision.

use futures_util::future::join;
use topology::store::Op;

use crate::subject::{Subject, put};

crate::on_both_stores! {
    a_listing_holds_what_is_under_the_prefix_in_order,
    an_empty_prefix_lists_everything,
    a_listing_of_many_pages_is_complete_and_of_one_revision,
    a_large_listing_is_complete,
}

async fn keys(store: &Subject, prefix: &str) -> Vec<String> {
    let listing = store.list(prefix).await.unwrap();
    listing.entries.into_iter().map(|entry| entry.key).collect()
}

async fn a_listing_holds_what_is_under_the_prefix_in_order(store: &Subject) {
    for key in [
        "/b/2", "/b/10", "/b", "/b/", "/b0", "/a/1", "/b/é", "/b/1/x", "/c",
    ] {
        store.put(key, "1").await;
    }
    assert_eq!(
        keys(store, "/b/").await,
        ["/b/", "/b/1/x", "/b/10", "/b/2", "/b/é"]
    );
    assert_eq!(keys(store, "/b/é").await, ["/b/é"]);
    assert_eq!(keys(store, "/d").await, [""; 0]);
    let newest = store.put("/z", "1").await;
    assert_eq!(store.list("/b").await.unwrap().revision, newest);
}

async fn an_empty_prefix_lists_everything(store: &Subject) {
    store.apply([put("a", "1"), put("\u{10ffff}", "2")]).await;
    assert_eq!(keys(store, "").await, ["a", "\u{10ffff}"]);
    assert_eq!(keys(store, "\u{10ffff}").await, ["\u{10ffff}"]);
}

async fn a_listing_of_many_pages_is_complete_and_of_one_revision(store: &Subject) {
    const COUNT: usize = 2300;
    let key = |number: usize| format!("/k/{number:05}");
    for from in (0..COUNT).step_by(100) {
        let puts: Vec<Op> = (from..from + 100).map(|n| put(&key(n), "0")).collect();
        store.apply(puts).await;
    }
    // While the pages are read, the first and the last key change together.
    let write = async {
        for round in 1..100 {
            let value = round.to_string();
            store
                .apply([put(&key(0), &value), put(&key(COUNT - 1), &value)])
                .await;
        }
    };
    let read = async {
        for _ in 0..10 {
            let listing = store.list("/k/").await.unwrap();
            let found = listing.entries.iter().map(|entry| entry.key.clone());
            assert!(found.eq((0..COUNT).map(key)));
            let [first, .., last] = &listing.entries[..] else {
                panic!("the listing is short");
            };
            assert_eq!(first.value, last.value);
            assert!(first.mod_revision <= listing.revision);
        }
    };
    join(write, read).await;
}

async fn a_large_listing_is_complete(store: &Subject) {
    // Past the 4 MiB at which gRPC refuses an answer unless it is told otherwise.
    let value = "x".repeat(100_000);
    for from in (0..120).step_by(10) {
        let puts: Vec<Op> = (from..from + 10)
            .map(|n| put(&format!("/k/{n:03}"), &value))
            .collect();
        store.apply(puts).await;
    }
    let listing = store.list("/k/").await.unwrap();
    let bytes: usize = listing.entries.iter().map(|entry| entry.value.len()).sum();
    assert_eq!(bytes, 120 * value.len());
}
