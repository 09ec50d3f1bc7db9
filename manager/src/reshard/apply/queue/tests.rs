//! Batches, gates and bounds of a queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

use super::{BATCH_ROWS, Gate, LINGER, Queue, Work};
use crate::reshard::apply::chunk::{Chunk, End};
use crate::reshard::apply::fake::{Step, add, shape};
use crate::reshard::lsn::Lsn;

fn queue(gate: Gate) -> Queue {
    Queue::new(Lsn(5), gate, Arc::new(watch::Sender::new(0)))
}

/// A transaction of some rows that ends at a place.
fn transaction(rows: usize, end: u64) -> Chunk {
    let mut chunk = part(rows, end);
    chunk.is_complete = true;
    chunk.last.end = Lsn(end);
    chunk.safe = Lsn(end);
    chunk.transactions = 1;
    chunk
}

fn part(rows: usize, end: u64) -> Chunk {
    let mut chunk = Chunk::default();
    for id in 0..rows {
        let key = ["1".to_owned(), id.to_string()];
        add(&mut chunk, &shape(), &Step::Delete(key));
    }
    chunk.last = End {
        commit: Lsn(end - 1),
        ..End::default()
    };
    chunk
}

async fn taken(queue: &Queue) -> Option<(usize, u64)> {
    let work = timeout(LINGER * 2, queue.take()).await.ok()?;
    let Work::Chunk(chunk) = work else {
        panic!("{work:?}");
    };
    let end = chunk.is_complete.then_some(chunk.last.end);
    queue.done(chunk.bytes(), end);
    Some((chunk.rows().len(), chunk.transactions))
}

#[tokio::test(start_paused = true)]
async fn small_transactions_are_joined_up_to_a_batch() {
    let queue = queue(Gate::Open);
    for at in 0..5 {
        queue
            .put(&mut transaction(BATCH_ROWS / 2, 10 + at))
            .unwrap();
    }
    assert_eq!(taken(&queue).await, Some((BATCH_ROWS, 2)));
    assert_eq!(taken(&queue).await, Some((BATCH_ROWS, 2)));
    assert_eq!(queue.reached().applied, Lsn(13));
    assert_eq!(taken(&queue).await, Some((BATCH_ROWS / 2, 1)));
    assert_eq!(taken(&queue).await, None);
    assert_eq!(queue.reached().recorded, Lsn(14));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_alone_waits_a_little_unless_it_is_the_fence() {
    let queue = queue(Gate::Open);
    queue.put(&mut transaction(1, 10)).unwrap();
    assert!(timeout(LINGER / 2, queue.take()).await.is_err());
    let mut fence = transaction(0, 11);
    fence.fence = Some(3);
    queue.put(&mut fence).unwrap();
    let Ok(Work::Chunk(chunk)) = timeout(Duration::ZERO, queue.take()).await else {
        panic!("nothing at once");
    };
    assert_eq!(
        (chunk.rows().len(), chunk.fence, chunk.last.end),
        (1, Some(3), Lsn(11))
    );
}

#[tokio::test(start_paused = true)]
async fn a_gate_lets_only_what_commits_before_it_and_the_rest_of_what_was_begun() {
    let queue = queue(Gate::Open);
    queue.put(&mut part(10, 20)).unwrap();
    assert_eq!(taken(&queue).await, Some((10, 0)));
    queue.set_gate(Gate::Closed);
    assert!(!queue.reached().is_resting);
    queue.put(&mut transaction(7, 20)).unwrap();
    queue.put(&mut transaction(1, 30)).unwrap();
    queue.put(&mut transaction(1, 40)).unwrap();
    assert_eq!(taken(&queue).await, Some((7, 1)));
    assert!(queue.reached().is_resting);
    assert_eq!(taken(&queue).await, None);
    queue.set_gate(Gate::Before(Lsn(35)));
    assert!(queue.reached().has_work);
    assert_eq!(taken(&queue).await, Some((1, 1)));
    assert_eq!(taken(&queue).await, None);
    assert_eq!(queue.reached().applied, Lsn(30));
    queue.set_gate(Gate::Open);
    assert_eq!(taken(&queue).await, Some((1, 1)));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_for_a_lane_moves_it_on_once_what_was_is_written() {
    let queue = queue(Gate::Open);
    queue.advance(Lsn(9));
    assert_eq!(queue.reached().applied, Lsn(9));
    queue.put(&mut transaction(1, 10)).unwrap();
    queue.advance(Lsn(15));
    assert_eq!(queue.reached().applied, Lsn(9));
    let Work::Chunk(chunk) = queue.take().await else {
        panic!("no chunk");
    };
    queue.advance(Lsn(18));
    assert_eq!(queue.reached().applied, Lsn(9));
    queue.done(chunk.bytes(), Some(Lsn(10)));
    let reached = queue.reached();
    assert_eq!((reached.applied, reached.recorded), (Lsn(18), Lsn(10)));
    // Idle, it records after a while where it is.
    let work = queue.take().await;
    assert!(matches!(work, Work::Record(Lsn(18))), "{work:?}");
    queue.done(0, Some(Lsn(18)));
    assert_eq!(queue.reached().recorded, Lsn(18));
}

#[tokio::test(start_paused = true)]
async fn a_queue_is_full_until_what_it_holds_is_written() {
    let queue = queue(Gate::Open);
    let mut end = 10;
    while !queue.is_full() {
        queue.put(&mut transaction(1000, end)).unwrap();
        end += 10;
    }
    while taken(&queue).await.is_some() {}
    assert!(!queue.is_full());
    assert_eq!(queue.state().bytes, 0);
}
