//! What is too much for etcd is denied by either store, and what is just not too much is taken.

use topology::store::{Compare, Error, MAX_REQUEST_BYTES, MAX_TXN_OPS, Op, Revision, Txn};

use crate::subject::{Subject, applied, created};

crate::on_both_stores! {
    as_many_operations_as_the_limit_are_taken_and_more_are_denied,
    a_request_as_large_as_the_limit_is_taken_and_a_larger_one_is_denied,
    an_empty_key_is_denied,
}

fn puts(count: usize, value_bytes: usize) -> Vec<Op> {
    (0..count)
        .map(|number| Op::put(format!("/a/{number:04}"), vec![b'x'; value_bytes]))
        .collect()
}

fn conditions(count: usize) -> Vec<Compare> {
    (0..count)
        .map(|number| created(&format!("/none/{number:04}"), Revision(0)))
        .collect()
}

async fn denied(store: &Subject, compares: Vec<Compare>, ops: Vec<Op>) {
    let before = store.revision().await;
    let answer = store.commit(Txn { compares, ops }).await;
    assert!(matches!(answer, Err(Error::Denied(_))), "{answer:?}");
    assert_eq!(store.revision().await, before);
}

async fn as_many_operations_as_the_limit_are_taken_and_more_are_denied(store: &Subject) {
    let compares = conditions(MAX_TXN_OPS);
    let ops = puts(MAX_TXN_OPS, 1);
    applied(store.commit(Txn { compares, ops }).await);
    assert_eq!(store.list("/a/").await.unwrap().entries.len(), MAX_TXN_OPS);
    denied(store, Vec::new(), puts(MAX_TXN_OPS + 1, 1)).await;
    denied(store, conditions(MAX_TXN_OPS + 1), Vec::new()).await;
}

async fn a_request_as_large_as_the_limit_is_taken_and_a_larger_one_is_denied(store: &Subject) {
    // Whatever the documents set aside beyond keys and values: 1 KiB, and 64 bytes an item.
    let room = MAX_REQUEST_BYTES - 1024;
    let one = room - 64 - "/a/0000".len();
    store.apply(puts(1, one)).await;
    denied(store, Vec::new(), puts(1, one + 1)).await;
    let conditions = || conditions(MAX_TXN_OPS);
    let each = room / MAX_TXN_OPS - 64 - "/a/0000".len() - 64 - "/none/0000".len();
    let (compares, ops) = (conditions(), puts(MAX_TXN_OPS, each));
    applied(store.commit(Txn { compares, ops }).await);
    denied(store, conditions(), puts(MAX_TXN_OPS, each + 1)).await;
}

async fn an_empty_key_is_denied(store: &Subject) {
    denied(store, Vec::new(), vec![Op::put("", "1")]).await;
    denied(store, Vec::new(), vec![Op::delete("")]).await;
    denied(store, vec![created("", Revision(0))], Vec::new()).await;
}
