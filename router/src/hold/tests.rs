use topology::records::TokenRange;
use topology::{Parts, Token};

use super::*;

const LIMITS: Limits = Limits {
    max_bytes: 1_000,
    max_waiting: 10,
    max_wait: Duration::from_secs(5),
};

/// Holds the tokens from 101 to 200.
fn snapshot(epoch: u64, deadline_ms: u32) -> Snapshot {
    let range = TokenRange {
        after: Token(100),
        last: Token(200),
    };
    let hold = Hold {
        id: "job".to_owned(),
        ranges: vec![range],
        deadline_ms,
    };
    let parts = Parts {
        holds: vec![hold],
        ..Parts::default()
    };
    Snapshot::try_new(Epoch(epoch), parts).unwrap()
}

fn free(epoch: u64) -> Snapshot {
    Snapshot::try_new(Epoch(epoch), Parts::default()).unwrap()
}

fn holding(shutdown: &Shutdown) -> Holding {
    let registry = prometheus::Registry::new();
    Holding::register(LIMITS, &registry, shutdown.clone()).unwrap()
}

fn waiting(holding: &Holding) -> i64 {
    holding.0.metrics.count()
}

#[tokio::test(start_paused = true)]
async fn only_tokens_under_a_hold_wait_and_only_until_it_is_gone() {
    let holding = holding(&Shutdown::new());
    let held = snapshot(1, 60_000);
    holding.publish(&held);
    holding.check(&held, Some(Token(201))).unwrap();
    holding.check(&held, None).unwrap();
    let met = holding.check(&held, Some(Token(150))).unwrap_err();
    let since = Instant::now();
    let wait = holding.wait(&met, 10, since);
    tokio::pin!(wait);
    assert!(futures_util::poll!(&mut wait).is_pending());
    assert_eq!(waiting(&holding), 1);
    holding.publish(&free(2));
    wait.await.unwrap();
    assert_eq!((waiting(&holding), since.elapsed()), (0, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_time_and_the_deadline_of_the_hold_end_the_waiting() {
    for (deadline_ms, ends_after, sqlstate) in [(60_000, 5_000, Some("40001")), (300, 300, None)] {
        let holding = holding(&Shutdown::new());
        let held = snapshot(1, deadline_ms);
        holding.publish(&held);
        let met = holding.check(&held, Some(Token(150))).unwrap_err();
        let since = Instant::now();
        let waited = holding.wait(&met, 10, since).await;
        assert_eq!(waited.err().map(|error| error.sqlstate()), sqlstate);
        let took = since.elapsed().as_millis();
        assert!((ends_after..ends_after + 5).contains(&took), "{took}");
        let now = holding.check(&held, Some(Token(150)));
        assert_eq!(now.is_ok(), sqlstate.is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_stops_waiting_leaves_no_place_behind() {
    let holding = holding(&Shutdown::new());
    let held = snapshot(1, 60_000);
    holding.publish(&held);
    let met = holding.check(&held, Some(Token(150))).unwrap_err();
    for _ in 0..100 {
        let wait = Box::pin(holding.wait(&met, 900, Instant::now()));
        assert!(futures_util::poll!(wait).is_pending());
    }
    assert_eq!(waiting(&holding), 0);
    let error = holding.wait(&met, 1_001, Instant::now()).await.unwrap_err();
    assert_eq!(error.sqlstate(), "53400");
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_sends_everybody_away() {
    let shutdown = Shutdown::new();
    let holding = holding(&shutdown);
    let held = snapshot(1, 60_000);
    holding.publish(&held);
    let met = holding.check(&held, Some(Token(150))).unwrap_err();
    let since = Instant::now();
    let (first, second) = (holding.wait(&met, 1, since), holding.wait(&met, 1, since));
    let (first, second, ()) = tokio::join!(first, second, async { shutdown.request() });
    for waited in [first, second, holding.wait(&met, 1, since).await] {
        assert_eq!(waited.unwrap_err().sqlstate(), "57P01");
    }
    assert_eq!(since.elapsed(), Duration::ZERO);
}
