use std::sync::Arc;
use std::time::Duration;

use platform::{Shutdown, TaskGroup};
use tokio::time::{Instant, sleep, timeout};
use topology::keys;
use topology::store::{Entry, MemoryStore, Op, Store, Txn};

use super::{Candidate, Identity, Leader, Standing, View};

const TTL: Duration = Duration::from_secs(3);

/// A candidate that runs.
struct Member {
    view: View,
    shutdown: Shutdown,
}

struct Election {
    store: MemoryStore,
    tasks: TaskGroup,
}

impl Election {
    fn new() -> Self {
        Self {
            store: MemoryStore::new(),
            tasks: TaskGroup::new(),
        }
    }

    fn join(&self, id: &str) -> Member {
        let identity = Identity {
            id: id.to_owned(),
            grpc_address: format!("{id}:50052"),
        };
        let store: Arc<dyn Store> = Arc::new(self.store.clone());
        let (candidate, view) = Candidate::new(store, identity, TTL);
        let shutdown = Shutdown::new();
        drop(
            self.tasks
                .spawn("candidate", candidate.run(shutdown.clone())),
        );
        Member { view, shutdown }
    }

    async fn key(&self) -> Option<Entry> {
        self.store.read(keys::LEADER).await.unwrap()
    }
}

impl Member {
    async fn until(&mut self, wanted: impl Fn(&Standing) -> bool) -> Standing {
        let reached = async {
            loop {
                let standing = self.view.standing();
                if wanted(&standing) {
                    return standing;
                }
                self.view.changed().await;
            }
        };
        timeout(Duration::from_secs(60), reached).await.unwrap()
    }

    async fn leads(&mut self) -> Leader {
        let standing = self.until(Standing::is_leading).await;
        standing.leader().unwrap().clone()
    }

    async fn follows(&mut self, id: &str) {
        let is_following = |standing: &Standing| match standing {
            Standing::Following(leader) => leader.identity.id == id,
            Standing::Unled | Standing::Leading(_) => false,
        };
        self.until(is_following).await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_one_leads_and_the_other_knows_where() {
    let election = Election::new();
    let mut first = election.join("one");
    let leader = first.leads().await;
    let mut second = election.join("two");
    second.follows("one").await;
    let standing = second.view.standing();
    assert_eq!(standing.leader(), Some(&leader));
    assert_eq!(leader.identity.grpc_address, "one:50052");
    let key = election.key().await.unwrap();
    assert_eq!(key.create_revision.0, leader.term.0);
}

#[tokio::test(start_paused = true)]
async fn a_leader_keeps_its_term_for_many_leases() {
    let election = Election::new();
    let mut only = election.join("one");
    let before = only.leads().await;
    sleep(TTL * 20).await;
    assert_eq!(only.view.standing(), Standing::Leading(before));
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_stops_resigns_at_once() {
    let election = Election::new();
    let mut first = election.join("one");
    let before = first.leads().await;
    let mut second = election.join("two");
    second.follows("one").await;
    let stopped_at = Instant::now();
    first.shutdown.request();
    let after = second.leads().await;
    assert!(stopped_at.elapsed() < TTL / 3, "{:?}", stopped_at.elapsed());
    assert!(after.term > before.term);
    assert_eq!(first.view.standing(), Standing::Unled);
}

#[tokio::test(start_paused = true)]
async fn a_leader_without_the_store_steps_down_before_its_lease_is_over() {
    let election = Election::new();
    let mut only = election.join("one");
    only.leads().await;
    let cut_at = Instant::now();
    election.store.set_reachable(false);
    only.until(|standing| !standing.is_leading()).await;
    assert!(cut_at.elapsed() <= TTL, "{:?}", cut_at.elapsed());
    election.store.set_reachable(true);
    only.leads().await;
}

#[tokio::test(start_paused = true)]
async fn a_leader_whose_key_is_removed_steps_down() {
    let election = Election::new();
    let mut only = election.join("one");
    let before = only.leads().await;
    let remove = Txn {
        compares: Vec::new(),
        ops: vec![Op::delete(keys::LEADER)],
    };
    election.store.commit(remove).await.unwrap();
    let is_later = |leader: &Leader| leader.term > before.term;
    only.until(|standing| standing.leader().is_some_and(is_later))
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_election_whose_answer_was_lost_is_held_again() {
    use topology::store::memory::CommitFault;
    for fault in [CommitFault::LostAnswer, CommitFault::LostRequest] {
        let election = Election::new();
        election.store.fail_next_commit(fault);
        let mut only = election.join("one");
        let leader = only.leads().await;
        let key = election.key().await.unwrap();
        assert_eq!(key.create_revision.0, leader.term.0, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_survives_the_loss_of_its_watch() {
    let election = Election::new();
    let mut first = election.join("one");
    first.leads().await;
    let mut second = election.join("two");
    second.follows("one").await;
    election.store.drop_watches();
    sleep(Duration::from_secs(5)).await;
    first.shutdown.request();
    second.leads().await;
}
