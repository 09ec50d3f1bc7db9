//! Sends away who waits behind somebody that takes too long.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::Notify;

/// Between two looks at a lane. Whoever was first at both keeps others waiting for too long.
pub(super) const INTERVAL: Duration = Duration::from_millis(10);

/// A lane that is looked at from time to time.
pub(super) trait Watched {
    /// Looks at it; false when it is over.
    fn look(&self) -> bool;
}

/// The lanes of one thread.
#[derive(Default)]
struct Watch {
    lanes: RefCell<Vec<Weak<dyn Watched>>>,
    opened: Rc<Notify>,
}

thread_local! {
    static WATCH: Watch = Watch::default();
}

/// Has a lane of this thread watched.
pub(super) fn add(lane: Weak<dyn Watched>) {
    WATCH.with(|watch| {
        let mut lanes = watch.lanes.borrow_mut();
        if lanes.is_empty() {
            watch.opened.notify_one();
        }
        lanes.push(lane);
    });
}

/// Watches the lanes of this thread; never returns. Costs nothing while there are none.
pub async fn watch() {
    let opened = WATCH.with(|watch| Rc::clone(&watch.opened));
    loop {
        opened.notified().await;
        while WATCH.with(look) {
            tokio::time::sleep(INTERVAL).await;
            // Answers that came while the thread did not run are read first.
            for _ in 0..2 {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Looks at all lanes; whether there are any.
fn look(watch: &Watch) -> bool {
    let mut lanes = watch.lanes.borrow_mut();
    lanes.retain(|lane| lane.upgrade().is_some_and(|lane| lane.look()));
    !lanes.is_empty()
}
