//! Signals reach everybody who waits for them, and a group knows its tasks to the last.

use std::future::{pending, poll_fn};
use std::pin::pin;
use std::task::Poll;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::*;
use crate::captured_log::CapturedLog;

const DEADLINE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn every_clone_sees_a_shutdown_and_each_later_wait_returns_at_once() {
    let shutdown = Shutdown::new();
    let clone = shutdown.clone();
    assert!(!clone.is_requested());
    shutdown.request();
    clone.requested().await;
    clone.requested().await;
    assert!(clone.is_requested());
    shutdown.request();
}

#[tokio::test]
async fn a_child_fires_alone_or_with_its_parent() {
    let parent = Shutdown::new();
    let (first, second) = (parent.child(), parent.child());
    first.request();
    first.requested().await;
    assert!(!parent.is_requested() && !second.is_requested());
    parent.request();
    second.requested().await;
    assert!(parent.child().is_requested(), "a late child knows as well");
}

#[tokio::test]
async fn a_group_waits_for_all_its_tasks() {
    let tasks = TaskGroup::new();
    let shutdown = Shutdown::new();
    for _ in 0..3 {
        let shutdown = shutdown.clone();
        drop(tasks.spawn("worker", async move { shutdown.requested().await }));
    }
    let clone = tasks.clone();
    let answer = clone.spawn("other", async { 7 });
    assert_eq!(answer.await.unwrap(), 7);
    assert_eq!((tasks.running("worker"), tasks.running("other")), (3, 0));
    shutdown.request();
    assert_eq!(tasks.wait(DEADLINE).await, Ok(()));
    assert_eq!(tasks.running("worker"), 0);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_hang_are_named_at_the_deadline() {
    let tasks = TaskGroup::new();
    drop(tasks.spawn("hangs", pending::<()>()));
    drop(tasks.spawn("hangs", pending::<()>()));
    drop(tasks.spawn("ends", async {}));
    let started = Instant::now();
    let unfinished = tasks.wait(DEADLINE).await.unwrap_err();
    assert_eq!(started.elapsed(), DEADLINE);
    assert_eq!(unfinished.0, BTreeMap::from([("hangs", 2)]));
    let text = "tasks still running at the deadline: {\"hangs\": 2}";
    assert_eq!(unfinished.to_string(), text);
}

#[tokio::test]
async fn a_task_that_panics_is_logged_by_its_name_and_leaves_the_group() {
    let log = CapturedLog::begin();
    let tasks = TaskGroup::new();
    let panicked = tasks.spawn("fragile", async { panic!("of course") }).await;
    let payload = panicked.unwrap_err().into_panic();
    assert_eq!(payload.downcast_ref(), Some(&"of course"));
    assert_eq!(tasks.wait(DEADLINE).await, Ok(()));
    let text = log.text();
    assert!(text.contains("task panicked"), "{text}");
    assert!(text.contains("\"task\":\"fragile\""), "{text}");
}

#[tokio::test]
async fn a_task_that_is_aborted_leaves_the_group() {
    let tasks = TaskGroup::new();
    let (started, begun) = oneshot::channel::<()>();
    let handle = tasks.spawn("aborted", async move {
        started.send(()).unwrap();
        pending::<()>().await;
    });
    begun.await.unwrap();
    handle.abort();
    assert!(handle.await.unwrap_err().is_cancelled());
    assert_eq!(tasks.wait(DEADLINE).await, Ok(()));
}

#[tokio::test]
async fn a_task_may_start_others_while_the_group_is_waited_for() {
    let tasks = TaskGroup::new();
    let (send, receive) = oneshot::channel();
    let inner = tasks.clone();
    drop(tasks.spawn("first", async move {
        drop(inner.spawn("second", async move { send.send(()).unwrap() }));
    }));
    assert_eq!(tasks.wait(DEADLINE).await, Ok(()));
    assert_eq!(receive.await, Ok(()));
}

#[tokio::test]
async fn the_signal_to_terminate_is_awaited() {
    let mut terminated = pin!(terminated());
    // The handlers stand after the first poll; before that the signal would end the tests.
    let is_waiting = poll_fn(|cx| Poll::Ready(terminated.as_mut().poll(cx).is_pending())).await;
    assert!(is_waiting);
    let own = std::process::id().to_string();
    let mut kill = tokio::process::Command::new("kill");
    let sent = kill.args(["-TERM", &own]).status().await;
    assert!(sent.unwrap().success());
    tokio::time::timeout(DEADLINE, terminated)
        .await
        .expect("the signal arrives")
        .unwrap();
}
