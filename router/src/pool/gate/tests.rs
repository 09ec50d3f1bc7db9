use std::sync::atomic::AtomicU32;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use topology::ShardId;

use super::*;
use crate::pool::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(10);

fn counters() -> OfShard {
    let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
    metrics.of_shard(&ShardId::try_new("a").unwrap())
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let (gate, metrics) = (Gate::new(1, 100), counters());
    let first = gate.enter(PATIENCE, &metrics).await.unwrap();
    let served = AtomicU32::new(0);
    let waiters = (0..20_u32).map(|number| {
        let (gate, metrics, served) = (&gate, &metrics, &served);
        async move {
            let _pass = gate.enter(PATIENCE, metrics).await.unwrap();
            assert_eq!(served.fetch_add(1, Ordering::Relaxed), number);
            tokio::task::yield_now().await;
        }
    });
    let release = async {
        tokio::task::yield_now().await;
        assert_eq!(gate.waiting().0, 20);
        drop(first);
    };
    tokio::join!(join_all(waiters), release);
    assert_eq!(served.load(Ordering::Relaxed), 20);
    assert_eq!(gate.waiting().0, 0);
    assert_eq!(metrics.waiting.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_overtakes_nobody() {
    let (gate, metrics) = (Gate::new(1, 100), counters());
    let first = gate.enter(PATIENCE, &metrics).await.unwrap();
    let waiter = gate.enter(PATIENCE, &metrics);
    tokio::pin!(waiter);
    assert!((&mut waiter).now_or_never().is_none());
    drop(first);
    // The waiter has not been woken yet, but the backend is its own.
    assert!(gate.enter(PATIENCE, &metrics).now_or_never().is_none());
    assert!(waiter.now_or_never().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_wait_and_the_line_are_bounded() {
    let (gate, metrics) = (Gate::new(1, 1), counters());
    let _first = gate.enter(PATIENCE, &metrics).await.unwrap();
    let late = gate.enter(PATIENCE, &metrics);
    let full = async {
        tokio::time::sleep(Duration::from_secs(4)).await;
        assert_eq!(gate.waiting(), (1, Duration::from_secs(4)));
        gate.enter(PATIENCE, &metrics).await
    };
    let (late, full) = tokio::join!(late, full);
    assert_eq!(late.unwrap_err(), Turned::Late);
    assert_eq!(full.unwrap_err(), Turned::Full);
    assert_eq!(gate.waiting().0, 0);
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_waits_for_the_busy_and_keeps_the_others_out_until_it_is_opened() {
    let (gate, metrics) = (Gate::new(2, 100), counters());
    let busy = gate.enter(PATIENCE, &metrics).await.unwrap();
    let closing = gate.close();
    tokio::pin!(closing);
    assert!((&mut closing).now_or_never().is_none());
    assert!(gate.is_closed());
    assert_eq!(gate.close().await, Err(NotPaused::Underway));
    let late = gate.enter(Duration::from_secs(1), &metrics).await;
    assert_eq!(late.unwrap_err(), Turned::Late);
    drop(busy);
    closing.await.unwrap();
    gate.close().await.unwrap();
    let waiter = gate.enter(PATIENCE, &metrics);
    tokio::pin!(waiter);
    assert!((&mut waiter).now_or_never().is_none());
    assert!(gate.open());
    assert!(waiter.await.is_ok());
    assert!(!gate.open());
}

#[tokio::test(start_paused = true)]
async fn a_close_that_is_given_up_leaves_the_gate_open() {
    let (gate, metrics) = (Gate::new(1, 100), counters());
    let busy = gate.enter(PATIENCE, &metrics).await.unwrap();
    assert!(gate.close().now_or_never().is_none());
    assert!(!gate.is_closed());
    let (closed, opened) = tokio::join!(gate.close(), async { gate.open() });
    assert_eq!((closed, opened), (Err(NotPaused::Resumed), true));
    drop(busy);
    assert!(gate.enter(PATIENCE, &metrics).now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_retired_gate_sends_those_who_wait_away_and_lets_others_only_find_what_is_free() {
    let (gate, metrics) = (Gate::new(1, 100), counters());
    let busy = gate.enter(PATIENCE, &metrics).await.unwrap();
    let waiter = gate.enter(PATIENCE, &metrics);
    tokio::pin!(waiter);
    assert!((&mut waiter).now_or_never().is_none());
    gate.retire();
    assert_eq!(waiter.now_or_never().unwrap().unwrap_err(), Turned::Retired);
    let late = gate.enter(PATIENCE, &metrics).now_or_never().unwrap();
    assert_eq!(late.unwrap_err(), Turned::Retired);
    assert_eq!((gate.waiting().0, metrics.waiting.get()), (0, 0));
    drop(busy);
    assert!(gate.enter(PATIENCE, &metrics).await.is_ok());
}
