use topology::records::{Occasion, RouterEvent, RouterRecord, Surface, encode};
use topology::store::memory::CommitFault;
use topology::store::{MemoryStore, Op, Txn};
use topology::{Epoch, keys};

use super::*;
use crate::audit::{self, Verdict, verify};
use crate::leader::{Identity, Leader};

const ROUTER: Incarnation = Incarnation(7);

fn event(user: &str, count: u64) -> RouterEvent {
    let at = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    RouterEvent {
        occasion: Occasion {
            surface: Some(Surface::Postgres),
            actor: "anonymous".to_owned(),
            from: Some("10.0.0.7".to_owned()),
            action: "pg_login".to_owned(),
            target: format!("user:{user}"),
            refused: true,
            reason: Some("wrong password".to_owned()),
        },
        request_id: None,
        count,
        first_at: at,
        last_at: at + Duration::from_secs(2),
    }
}

fn inbox(number: u64, events: Vec<RouterEvent>) -> AuditInbox {
    AuditInbox {
        router: "router-a:6432".to_owned(),
        number,
        at: SystemTime::UNIX_EPOCH,
        events,
    }
}

/// A store with a leader, a router's inbox, and what collects from it.
struct Setup {
    store: MemoryStore,
    term: Term,
    collector: Collector,
}

impl Setup {
    async fn new() -> Self {
        let store = MemoryStore::new();
        let term = elect(&store).await;
        let collector = collector(&store, term);
        Self {
            store,
            term,
            collector,
        }
    }

    async fn put(&self, key: &str, record: impl Into<bytes::Bytes>) {
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![Op::put(key, record)],
        };
        self.store.commit(txn).await.unwrap();
    }

    async fn leave(&self, inbox: &AuditInbox) {
        self.put(&keys::audit_inbox(ROUTER), encode(inbox)).await;
    }

    async fn left(&self) -> Option<AuditInbox> {
        let key = keys::audit_inbox(ROUTER);
        let entry = self.store.read(&key).await.unwrap()?;
        Some(decode(&key, &entry.value).unwrap())
    }

    async fn round(&mut self) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(3_600);
        self.collector.round(self.term, now).await.unwrap();
    }

    /// The targets of all entries, oldest first; the log checks out.
    async fn log(&self) -> Vec<String> {
        let findings = verify(&self.store).await.unwrap();
        assert_eq!(findings.faults, []);
        let page = audit::page(&self.store, &audit::Filter::default(), 1_000).await;
        let entries = page.unwrap().entries.into_iter().rev();
        entries.map(|listed| listed.entry.target).collect()
    }
}

async fn elect(store: &MemoryStore) -> Term {
    for op in [Op::delete(keys::LEADER), Op::put(keys::LEADER, "somebody")] {
        let (compares, ops) = (Vec::new(), vec![op]);
        store.commit(Txn { compares, ops }).await.unwrap();
    }
    let entry = store.read(keys::LEADER).await.unwrap().unwrap();
    Term(entry.create_revision.0)
}

fn collector(store: &MemoryStore, term: Term) -> Collector {
    let store: Arc<dyn Store> = Arc::new(store.clone());
    let identity = Identity {
        id: "a".to_owned(),
        grpc_address: "a:1".to_owned(),
    };
    let leads = Standing::Leading(Leader { identity, term });
    let writer = Arc::new(Writer::new(Arc::clone(&store), None));
    Collector::new(store, writer, leader::View::fixed(leads))
}

#[tokio::test(start_paused = true)]
async fn what_a_router_left_is_on_record_as_it_was_told() {
    let mut setup = Setup::new().await;
    setup.leave(&inbox(1, vec![event("app", 3)])).await;
    setup.round().await;
    let page = audit::page(&setup.store, &audit::Filter::default(), 10).await;
    let entry = page.unwrap().entries.remove(0).entry;
    assert_eq!((&*entry.actor, &*entry.action), ("anonymous", "pg_login"));
    assert_eq!(entry.target, "user:app");
    assert_eq!(entry.from.as_deref(), Some("10.0.0.7"));
    assert_eq!((entry.result, entry.term), (Verdict::Refused, setup.term));
    let told = serde_json::json!({
        "router": "router-a:6432", "surface": "postgres", "reason": "wrong password", "count": 3,
        "first_at": "1970-01-01T00:01:00.000Z", "last_at": "1970-01-01T00:01:02.000Z",
    });
    assert_eq!(entry.detail, told);
    let left = setup.left().await.unwrap();
    assert_eq!((left.number, left.events), (1, Vec::new()));
    setup.round().await;
    assert_eq!(setup.log().await, ["user:app"]);
}

#[tokio::test(start_paused = true)]
async fn more_than_one_transaction_takes_is_taken_by_several() {
    let mut setup = Setup::new().await;
    let events = (0..AuditInbox::MAX_EVENTS).map(|n| event(&n.to_string(), 1));
    setup.leave(&inbox(2, events.collect())).await;
    setup.round().await;
    let left = setup.left().await.unwrap();
    assert_eq!((left.number, left.events.len()), (2, 100));
    setup.round().await;
    let expected: Vec<_> = (0..200).map(|n| format!("user:{n}")).collect();
    assert_eq!(setup.log().await, expected);
}

#[tokio::test(start_paused = true)]
async fn an_event_is_once_in_the_log_whatever_becomes_of_the_leaders() {
    for fault in [
        CommitFault::Unreachable,
        CommitFault::LostRequest,
        CommitFault::LostAnswer,
    ] {
        let mut setup = Setup::new().await;
        setup
            .leave(&inbox(1, vec![event("a", 1), event("b", 1)]))
            .await;
        setup.store.fail_next_commit(fault);
        // The leader dies while it waits for the answer; the next one knows nothing of it.
        let died = tokio::time::timeout(Duration::from_millis(10), setup.round()).await;
        drop(died);
        setup.term = elect(&setup.store).await;
        setup.collector = collector(&setup.store, setup.term);
        setup.round().await;
        setup.round().await;
        assert_eq!(setup.log().await, ["user:a", "user:b"], "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn two_that_believe_to_lead_take_nothing_twice() {
    let mut setup = Setup::new().await;
    let mut other = collector(&setup.store, setup.term);
    let (deposed, term) = (collector(&setup.store, setup.term), setup.term);
    for number in 1..=20 {
        setup
            .leave(&inbox(number, vec![event(&number.to_string(), 1)]))
            .await;
        let now = SystemTime::UNIX_EPOCH;
        let (ours, theirs) =
            tokio::join!(setup.collector.round(term, now), other.round(term, now),);
        ours.unwrap();
        theirs.unwrap();
    }
    assert_eq!(setup.log().await.len(), 20);
    elect(&setup.store).await;
    setup.leave(&inbox(21, vec![event("21", 1)])).await;
    let refused = deposed
        .writer
        .take_inbox(term, &keys::audit_inbox(ROUTER))
        .await;
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(setup.log().await.len(), 20);
}

#[tokio::test(start_paused = true)]
async fn a_router_that_hands_over_meanwhile_loses_nothing() {
    let mut setup = Setup::new().await;
    setup.leave(&inbox(1, vec![event("a", 1)])).await;
    let key = keys::audit_inbox(ROUTER);
    // It was read by the leader, and is another one when the leader writes.
    setup.store.fail_next_commit(CommitFault::LostRequest);
    let round = setup.collector.round(setup.term, SystemTime::UNIX_EPOCH);
    let more = async {
        tokio::task::yield_now().await;
        let both = encode(&inbox(2, vec![event("a", 1), event("b", 1)]));
        let (compares, ops) = (Vec::new(), vec![Op::put(&key, both)]);
        setup.store.commit(Txn { compares, ops }).await.unwrap();
    };
    let (done, ()) = tokio::join!(round, more);
    done.unwrap();
    setup.round().await;
    assert_eq!(setup.log().await, ["user:a", "user:b"]);
}

#[tokio::test(start_paused = true)]
async fn an_inbox_that_cannot_be_read_keeps_no_other_from_the_log() {
    let mut setup = Setup::new().await;
    setup
        .put(&keys::audit_inbox(Incarnation(1)), "nothing")
        .await;
    setup.leave(&inbox(1, vec![event("a", 1)])).await;
    setup.round().await;
    assert_eq!(setup.log().await, ["user:a"]);
}

#[tokio::test(start_paused = true)]
async fn an_empty_inbox_stays_while_its_router_may_ask_after_it() {
    let mut setup = Setup::new().await;
    setup.leave(&inbox(1, Vec::new())).await;
    let record = RouterRecord {
        address: "router-a:6432".to_owned(),
        incarnation: ROUTER,
        applied_epoch: Epoch(0),
        version: "1".to_owned(),
    };
    setup.put(&keys::router(3), encode(&record)).await;
    setup.collector.tidied_at = None;
    let now = SystemTime::UNIX_EPOCH + KEPT * 2;
    setup.collector.round(setup.term, now).await.unwrap();
    assert!(setup.left().await.is_some(), "its router lives");
    let (compares, ops) = (Vec::new(), vec![Op::delete(keys::router(3))]);
    setup.store.commit(Txn { compares, ops }).await.unwrap();
    setup.collector.tidied_at = None;
    let now = SystemTime::UNIX_EPOCH + KEPT;
    setup.collector.round(setup.term, now).await.unwrap();
    assert_eq!(setup.left().await, None);
}
