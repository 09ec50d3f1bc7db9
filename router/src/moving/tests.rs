//! Waiting for a topology, or for time, after a guard's refusal.

use platform::TaskGroup;
use prometheus::Registry;
use topology::parts::Parts;
use topology::records::Hold;

use super::*;
use crate::error::Error as ClientError;

fn moving(limits: Limits) -> (Moving, Registry) {
    let registry = Registry::new();
    let moving = Moving::register(limits, &registry, Shutdown::new()).unwrap();
    (moving, registry)
}

fn limits() -> Limits {
    Limits {
        max_bytes: 100,
        max_waiting: 1,
        max_wait: Duration::from_secs(1),
    }
}

fn at(epoch: u64, held: bool) -> Snapshot {
    let mut parts = Parts::default();
    if held {
        let hold = Hold {
            id: "job".to_owned(),
            ranges: Vec::new(),
            deadline_ms: 1,
        };
        parts.holds.push(hold);
    }
    Snapshot::try_new(Epoch(epoch), parts).unwrap()
}

fn counted(registry: &Registry, name: &str) -> f64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == name);
    let metrics = family
        .map(prometheus::proto::MetricFamily::get_metric)
        .unwrap_or_default();
    metrics
        .iter()
        .map(|metric| metric.get_counter().get_value())
        .sum()
}

#[tokio::test(start_paused = true)]
async fn a_newer_topology_ends_the_wait_at_once_and_time_does_after_a_pause() {
    let (moving, registry) = moving(limits());
    let since = Instant::now();
    moving.publish(&at(5, false));
    moving.wait(Epoch(4), 10, since).await.unwrap();
    assert_eq!(since.elapsed(), Duration::ZERO);
    // By the newest: the first pause is short, and the next as long as all before.
    moving.wait(Epoch(5), 10, since).await.unwrap();
    assert!(since.elapsed() < Duration::from_millis(5));
    let mut tries = 0;
    let error = loop {
        match moving.wait(Epoch(5), 10, since).await {
            Ok(()) => tries += 1,
            Err(error) => break error,
        }
    };
    assert!((8..30).contains(&tries), "{tries} tries");
    assert_eq!(error.sqlstate(), "40001");
    let told = counted(&registry, "shard_move_given_up_total");
    assert_eq!(told.to_string(), "1");
}

#[tokio::test(start_paused = true)]
async fn no_more_wait_than_may_and_places_are_given_back() {
    let (moving, _registry) = moving(limits());
    let since = Instant::now();
    let first = moving.clone();
    let waits = first.wait(Epoch(0), 60, since);
    tokio::pin!(waits);
    assert!(futures_util::poll!(&mut waits).is_pending());
    for bytes in [1, 60] {
        let refused = moving.wait(Epoch(0), bytes, since).await;
        assert!(matches!(refused, Err(ClientError::Moving(Error::TooMany))));
    }
    waits.await.unwrap();
    moving.wait(Epoch(0), 100, since).await.unwrap();
    assert!(moving.wait(Epoch(0), 101, since).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn moves_are_likely_while_a_hold_is_shown_and_for_a_while_after_any_sign() {
    let (moving, _registry) = moving(limits());
    let (tasks, shutdown) = (TaskGroup::new(), Shutdown::new());
    drop(tasks.spawn("moving", moving.clone().run(shutdown.clone())));
    let hour = Duration::from_secs(3600);
    tokio::time::sleep(hour).await;
    assert!(!moving.is_likely());
    // One without ranges announces a job.
    moving.publish(&at(1, true));
    tokio::time::sleep(hour).await;
    assert!(moving.is_likely());
    moving.publish(&at(2, false));
    tokio::time::sleep(QUIET / 2).await;
    assert!(moving.is_likely());
    tokio::time::sleep(QUIET).await;
    assert!(!moving.is_likely());
    moving.refused(Said::BeingMoved.code(), true);
    assert!(moving.is_likely());
    tokio::time::sleep(QUIET * 2).await;
    assert!(!moving.is_likely());
    shutdown.request();
    tasks.wait(Duration::from_secs(5)).await.unwrap();
}
