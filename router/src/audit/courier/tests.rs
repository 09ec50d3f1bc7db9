use std::net::IpAddr;

use topology::store::MemoryStore;
use topology::store::memory::CommitFault;

use super::*;
use crate::audit::{Denial, Settings, Visitor};

const RUN: Incarnation = Incarnation(7);

/// A router's table, what it is handed over by, and the leader's part, which takes all.
struct Setup {
    store: MemoryStore,
    inbox: Inbox,
    taken: Vec<RouterEvent>,
}

impl Setup {
    fn new() -> Self {
        let settings = Settings {
            logins: true,
            repeat_interval: Duration::from_secs(60),
        };
        let registry = platform::metrics::new_registry("router");
        let inbox = Inbox::register(settings, "router-a:6432", &registry).unwrap();
        let (store, taken) = (MemoryStore::new(), Vec::new());
        Self {
            store,
            inbox,
            taken,
        }
    }

    fn courier(&self) -> Courier {
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        Courier::new(self.inbox.clone(), store, (RUN, "router-a:6432".to_owned()))
    }

    fn refuse(&self, user: &str) {
        let visitor = Visitor {
            from: IpAddr::from([10, 0, 0, 7]),
            user: Some(user),
            is_console: false,
        };
        self.inbox.denied(visitor, Denial::WrongPassword);
    }

    async fn left(&self) -> Option<(AuditInbox, Revision)> {
        let key = keys::audit_inbox(RUN);
        let entry = self.store.read(&key).await.unwrap()?;
        Some((decode(&key, &entry.value).unwrap(), entry.mod_revision))
    }

    /// What the leader does: takes what it finds, if it is still the same.
    async fn take(&mut self) {
        let Some((mut inbox, seen)) = self.left().await else {
            return;
        };
        let key = keys::audit_inbox(RUN);
        let taken = std::mem::take(&mut inbox.events);
        let txn = Txn {
            compares: vec![Compare::ModRevision(key.clone(), seen)],
            ops: vec![Op::put(key, encode(&inbox))],
        };
        if let Ok(Committed::Applied(_)) = self.store.commit(txn).await {
            self.taken.extend(taken);
        }
    }

    fn targets(&self) -> Vec<&str> {
        let mut targets: Vec<_> = self
            .taken
            .iter()
            .map(|event| event.occasion.target.as_str())
            .collect();
        targets.sort_unstable();
        targets
    }

    fn count(&self) -> u64 {
        self.taken.iter().map(|event| event.count).sum()
    }
}

#[tokio::test(start_paused = true)]
async fn what_happens_is_in_the_store_within_seconds_and_counts_up() {
    let setup = Setup::new();
    let (tasks, shutdown) = (platform::TaskGroup::new(), Shutdown::new());
    drop(tasks.spawn("courier", setup.courier().run(shutdown.clone())));
    setup.refuse("a");
    sleep(INTERVAL * 2).await;
    let (inbox, _) = setup.left().await.unwrap();
    assert_eq!((inbox.number, inbox.events.len()), (1, 1));
    assert_eq!(inbox.events[0].occasion.target, "user:a");
    // The leader has taken nothing: what is new is added.
    setup.refuse("b");
    sleep(INTERVAL * 2).await;
    let (inbox, _) = setup.left().await.unwrap();
    assert_eq!((inbox.number, inbox.events.len()), (2, 2));
    // What is not due is told at the end.
    setup.refuse("a");
    setup.refuse("a");
    shutdown.request();
    tasks.wait(Duration::from_secs(5)).await.unwrap();
    let (inbox, _) = setup.left().await.unwrap();
    assert_eq!(inbox.events[0].count, 3);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_even_when_the_events_were_taken() {
    for is_taken in [false, true] {
        let mut setup = Setup::new();
        let mut courier = setup.courier();
        setup.refuse("a");
        setup.store.fail_next_commit(CommitFault::LostAnswer);
        courier.hand_over(false).await;
        assert!(courier.held.is_some());
        if is_taken {
            setup.take().await;
        }
        setup.refuse("b");
        courier.hand_over(false).await;
        assert!(courier.held.is_none());
        setup.take().await;
        assert_eq!(setup.targets(), ["user:a", "user:b"]);
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_while_the_store_is_away() {
    let mut setup = Setup::new();
    let mut courier = setup.courier();
    setup.store.set_reachable(false);
    for round in 0..100 {
        setup.refuse(if round % 2 == 0 { "a" } else { "b" });
        courier.hand_over(false).await;
    }
    setup.store.set_reachable(true);
    courier.hand_over(true).await;
    setup.take().await;
    assert_eq!(setup.count(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_full_inbox_waits_for_the_leader() {
    let mut setup = Setup::new();
    let mut courier = setup.courier();
    let visitor = |number: u8| Visitor {
        from: IpAddr::from([10, 0, 0, number]),
        user: Some("app"),
        is_console: false,
    };
    for number in 0..=255 {
        setup.inbox.let_in(visitor(number));
        setup.inbox.let_in(visitor(number));
    }
    courier.hand_over(false).await;
    let (inbox, _) = setup.left().await.unwrap();
    assert_eq!((inbox.number, inbox.events.len()), (2, 200));
    assert!(courier.held.is_some());
    setup.take().await;
    courier.hand_over(false).await;
    setup.take().await;
    assert_eq!((setup.taken.len(), setup.count()), (256, 512));
}

#[tokio::test(start_paused = true)]
async fn each_event_is_taken_once_whatever_answers_are_lost() {
    for seed in 0..200_u64 {
        let mut setup = Setup::new();
        let mut courier = setup.courier();
        let mut dice = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut happened = 0;
        for _ in 0..40 {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            match dice % 7 {
                0 => setup.store.fail_next_commit(CommitFault::LostAnswer),
                1 => setup.store.fail_next_commit(CommitFault::LostRequest),
                2 => setup.store.fail_next_commit(CommitFault::Unreachable),
                3 => setup.take_surely().await,
                4 => courier.hand_over(false).await,
                _ => {
                    setup.refuse(&format!("{}", dice % 5));
                    happened += 1;
                }
            }
        }
        // The faults that are left are used up.
        for _ in 0..60 {
            courier.hand_over(true).await;
            setup.take_surely().await;
        }
        assert_eq!(setup.count(), happened, "seed {seed}");
    }
}

impl Setup {
    /// A leader finds out what became of a transaction whose answer was lost.
    async fn take_surely(&mut self) {
        let Some((inbox, _)) = self.left().await else {
            return;
        };
        let before = self.taken.len();
        self.take().await;
        let after = self.left().await;
        let is_empty = after.is_some_and(|(inbox, _)| inbox.events.is_empty());
        if is_empty && self.taken.len() == before {
            self.taken.extend(inbox.events);
        }
    }
}
