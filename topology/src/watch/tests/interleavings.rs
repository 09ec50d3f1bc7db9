//! Any order of changes, losses, lies and waits: whatever is published is what was written at that
//! epoch, epochs never go back, and once the store is well the newest is reached.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Builder;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

use super::faulty::{Faulty, ListFault, WatchFault};
use super::writer::Writer;
use super::{Following, PATIENCE};
use crate::Epoch;
use crate::store::MemoryStore;

#[derive(Debug, Clone, Copy)]
enum Step {
    Change(u8),
    Compact,
    DropWatches,
    Reachable(bool),
    /// Another store without data takes the place of this one, and later this one that of the
    /// other.
    Empty(bool),
    Watch(WatchFault),
    List(ListFault),
    Wait(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let watch_fault = prop_oneof![
        Just(WatchFault::Drop),
        Just(WatchFault::Duplicate),
        Just(WatchFault::Delay),
        Just(WatchFault::Split),
        Just(WatchFault::End),
        Just(WatchFault::Compacted),
    ];
    let list_fault = prop_oneof![Just(ListFault::Stale), Just(ListFault::Unreachable)];
    prop_oneof![
        8 => any::<u8>().prop_map(Step::Change),
        1 => Just(Step::Compact),
        1 => Just(Step::DropWatches),
        1 => any::<bool>().prop_map(Step::Reachable),
        1 => any::<bool>().prop_map(Step::Empty),
        3 => watch_fault.prop_map(Step::Watch),
        1 => list_fault.prop_map(Step::List),
        4 => (0_u64..2000).prop_map(|ms| Step::Wait(Duration::from_millis(ms))),
    ]
}

struct Run {
    writer: Writer,
    empty: MemoryStore,
    faulty: Faulty,
    following: Following,
    seen: Epoch,
}

impl Run {
    fn begin() -> Self {
        let store = MemoryStore::new();
        let faulty = Faulty::new(store.clone());
        Self {
            writer: Writer::new(store),
            empty: MemoryStore::new(),
            following: Following::new(Arc::new(faulty.clone())),
            faulty,
            seen: Epoch(0),
        }
    }

    async fn take(&mut self, step: Step) {
        match step {
            // The writer has a way of its own to the store: it is the followers that are cut off.
            Step::Change(choice) => {
                self.writer.store.set_reachable(true);
                self.writer.change(choice).await;
            }
            Step::Compact => self.writer.store.compact(self.writer.store.revision()),
            Step::DropWatches => self.writer.store.drop_watches(),
            Step::Reachable(reachable) => self.writer.store.set_reachable(reachable),
            Step::Empty(true) => self.faulty.replace(&self.empty),
            Step::Empty(false) => self.faulty.replace(&self.writer.store),
            Step::Watch(fault) => self.faulty.fail_watch(fault),
            Step::List(fault) => self.faulty.fail_list(fault),
            Step::Wait(time) => sleep(time).await,
        }
    }

    /// Lets the follower take a few turns and looks at what it publishes after each.
    async fn look(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..4 {
            let shown = self.following.view.snapshot();
            prop_assert!(
                shown.epoch() >= self.seen,
                "{} after {}",
                shown.epoch(),
                self.seen
            );
            self.seen = shown.epoch();
            prop_assert!(self.seen <= self.writer.epoch());
            prop_assert_eq!(&*shown, self.writer.at(self.seen));
            yield_now().await;
        }
        Ok(())
    }

    async fn end(&mut self) -> Result<(), TestCaseError> {
        self.faulty.heal();
        self.writer.store.set_reachable(true);
        self.faulty.replace(&self.writer.store);
        self.writer.store.drop_watches();
        let reached = timeout(PATIENCE, self.following.view.wait_for(self.writer.epoch())).await;
        prop_assert!(
            reached.is_ok(),
            "stuck at epoch {}",
            self.following.view.snapshot().epoch()
        );
        self.look().await?;
        sleep(PATIENCE).await;
        prop_assert!(self.following.is_connected());
        Ok(())
    }
}

proptest! {
    #[test]
    fn whatever_happens_no_epoch_is_ever_taken_back(
        steps in proptest::collection::vec(step(), 0..60),
    ) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap().block_on(async {
            let mut run = Run::begin();
            for step in steps {
                run.take(step).await;
                run.look().await?;
            }
            run.end().await
        })?;
    }
}
