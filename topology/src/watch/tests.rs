//! The follower against a memory store on a stopped clock: what it publishes, and what it goes on
//! publishing when the store is lost, wrong or replaced.

mod faulty;
mod interleavings;
mod losses;
mod views;
mod writer;

use std::sync::Arc;
use std::time::Duration;

use platform::{Shutdown, TaskGroup};
use tokio::time::timeout;

use super::{Backoff, Follower, View};
use crate::store::Store;
use crate::{Epoch, Snapshot};

/// Longer than the longest wait between two attempts, on a clock that waits for nobody.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running follower; ends with its value.
struct Following {
    view: View,
    shutdown: Shutdown,
    tasks: TaskGroup,
}

impl Following {
    fn new(store: Arc<dyn Store>) -> Self {
        let (follower, view) = Follower::new(store, Backoff::default());
        let (shutdown, tasks) = (Shutdown::new(), TaskGroup::new());
        tasks.spawn("follower", follower.run(shutdown.clone()));
        Self {
            view,
            shutdown,
            tasks,
        }
    }

    async fn reaches(&self, epoch: Epoch) -> Arc<Snapshot> {
        let reached = timeout(PATIENCE, self.view.wait_for(epoch)).await;
        let at = self.view.snapshot().epoch();
        reached.unwrap_or_else(|_| panic!("epoch {epoch} is not reached, the view is at {at}"))
    }

    /// Gives the follower every chance to publish something else, and returns what it shows then.
    async fn stays(&self) -> Arc<Snapshot> {
        tokio::time::sleep(PATIENCE).await;
        self.view.snapshot()
    }

    fn is_connected(&self) -> bool {
        self.view.freshness().connected
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.shutdown.request();
    }
}
