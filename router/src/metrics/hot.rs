//! The vnodes that statements ask for most, found by a sample of bounded size.
//!
//! One statement in [`SAMPLED`] of a thread is looked at, and skipped when another thread is
//! looking. Counts are kept for [`KEPT`] vnodes at a time by the space-saving rule: whoever is new
//! takes the place, and the count, of the rarest. A vnode that gets more than one in `KEPT` of all
//! statements is always among them.

use std::cell::Cell;
use std::sync::Mutex;
use std::time::Duration;

use prometheus::GaugeVec;
use tokio::time::Instant;
use topology::{ShardId, Snapshot, Token};

/// Of so many statements of a thread, one is looked at.
const SAMPLED: u32 = 32;

/// Vnodes that are counted at a time.
const KEPT: usize = 64;

/// Vnodes that are shown.
const SHOWN: usize = 10;

/// For how long is counted before counting begins anew.
const WINDOW: Duration = Duration::from_secs(30);

thread_local! {
    static UNTIL_NEXT: Cell<u32> = const { Cell::new(SAMPLED) };
}

#[derive(Debug, Clone)]
struct Counted {
    vnode: Token,
    owner: ShardId,
    count: u32,
}

/// What was counted since a time.
#[derive(Debug)]
struct Window {
    since: Instant,
    counted: Vec<Counted>,
}

impl Window {
    fn beginning(since: Instant) -> Self {
        Self {
            since,
            counted: Vec::with_capacity(KEPT),
        }
    }

    fn count(&mut self, vnode: Token, owner: &ShardId) {
        if let Some(known) = self.counted.iter_mut().find(|known| known.vnode == vnode) {
            known.count = known.count.saturating_add(1);
            if known.owner != *owner {
                known.owner.clone_from(owner);
            }
            return;
        }
        let mut new = Counted {
            vnode,
            owner: owner.clone(),
            count: 1,
        };
        if self.counted.len() < KEPT {
            self.counted.push(new);
        } else if let Some(rarest) = self.counted.iter_mut().min_by_key(|known| known.count) {
            new.count = rarest.count.saturating_add(1);
            *rarest = new;
        }
    }

    /// The most asked for, with their statements a second.
    fn top(&self, length: Duration) -> Vec<(Counted, f64)> {
        let mut sorted = self.counted.clone();
        sorted.sort_by_key(|counted| std::cmp::Reverse(counted.count));
        sorted.truncate(SHOWN);
        let seconds = length.as_secs_f64().max(1.0);
        let rate = |count| f64::from(count) * f64::from(SAMPLED) / seconds;
        let sorted = sorted.into_iter();
        sorted.map(|it| (it.clone(), rate(it.count))).collect()
    }
}

/// Counts statements by vnode.
#[derive(Debug)]
pub(super) struct Hot(Mutex<(Window, Vec<(Counted, f64)>)>);

impl Default for Hot {
    fn default() -> Self {
        Self(Mutex::new((Window::beginning(Instant::now()), Vec::new())))
    }
}

impl Hot {
    /// A statement asks for a key with this token.
    pub(super) fn see(&self, snapshot: &Snapshot, token: Token) {
        let left = UNTIL_NEXT.get();
        if left > 1 {
            UNTIL_NEXT.set(left - 1);
            return;
        }
        UNTIL_NEXT.set(SAMPLED);
        self.count(snapshot, token);
    }

    fn count(&self, snapshot: &Snapshot, token: Token) {
        let Ok(mut windows) = self.0.try_lock() else {
            return;
        };
        let Some(vnode) = snapshot.ring().lookup(token) else {
            return;
        };
        if let Some(owner) = snapshot.shard(vnode.owner) {
            windows.0.count(vnode.token, &owner.id);
        }
    }

    /// Shows the last window, or the present one while it is the first.
    pub(super) fn show(&self, gauge: &GaugeVec) {
        let Ok(mut windows) = self.0.lock() else {
            return;
        };
        let length = windows.0.since.elapsed();
        if length >= WINDOW || windows.1.is_empty() {
            windows.1 = windows.0.top(length);
        }
        if length >= WINDOW {
            windows.0 = Window::beginning(Instant::now());
        }
        gauge.reset();
        for (counted, rate) in &windows.1 {
            let vnode = counted.vnode.0.to_string();
            let labels = [counted.owner.as_str(), vnode.as_str()];
            gauge.with_label_values(&labels).set(*rate);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard() -> ShardId {
        ShardId::try_new("shard-1").unwrap()
    }

    #[test]
    fn a_hot_vnode_is_found_among_many_and_the_list_is_bounded() {
        let mut window = Window::beginning(Instant::now());
        for round in 0..10_000_u32 {
            window.count(Token(round % 5_000 + 10), &shard());
            if round % 4 == 0 {
                window.count(Token(7), &shard());
            }
        }
        assert_eq!(window.counted.len(), KEPT);
        let top = window.top(Duration::from_secs(10));
        assert_eq!(top.len(), SHOWN);
        let (hottest, rate) = &top[0];
        assert_eq!(hottest.vnode, Token(7));
        // 2,500 samples in ten seconds, each of which stands for 32 statements.
        assert!((8_000.0..9_000.0).contains(rate), "{rate}");
    }

    #[test]
    fn one_statement_in_so_many_is_looked_at() {
        let hot = Hot::default();
        let ring = crate::route::tests::cluster::snapshot();
        (0..SAMPLED * 10).for_each(|_| hot.see(&ring, Token(5)));
        let gauge =
            GaugeVec::new(prometheus::Opts::new("hot", "hot"), &["shard_id", "vnode"]).unwrap();
        hot.show(&gauge);
        let shown = prometheus::core::Collector::collect(&gauge);
        assert_eq!(shown[0].get_metric().len(), 1);
    }
}
