//! Which users are known when, with a store in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use platform::{Secret, Shutdown, TaskGroup};
use topology::records::{User as Record, encode};
use topology::store::{MemoryStore, Op, Store, Txn};
use topology::{UserName, Verifier, keys};

use super::Users;
use super::follower::Follower;
use crate::config::User;

fn record(name: &str, password: &str, enabled: bool) -> Record {
    Record {
        name: UserName::try_new(name).unwrap(),
        verifier: Verifier::derive(password, b"salt", 1),
        enabled,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
    }
}

async fn write(store: &MemoryStore, ops: Vec<Op>) {
    let compares = Vec::new();
    store.commit(Txn { compares, ops }).await.unwrap();
}

fn put(record: &Record) -> Op {
    Op::put(keys::user(&record.name), encode(record))
}

/// A router's users, which follow a store until the end of the test.
struct Router {
    users: Arc<Users>,
    _tasks: TaskGroup,
}

impl Router {
    async fn start(store: &MemoryStore, configured: &[(&str, &str)]) -> Self {
        let configured = configured.iter().map(|(name, password)| User {
            name: (*name).to_owned(),
            password: Secret::new(*password),
        });
        let configured: Vec<User> = configured.collect();
        let users = Arc::new(Users::try_new(&configured).unwrap());
        let store: Arc<dyn Store> = Arc::new(store.clone());
        let follower = Follower::new(store, Arc::clone(&users));
        let tasks = TaskGroup::new();
        drop(tasks.spawn("users", follower.run(Shutdown::new())));
        users.read().await;
        Self {
            users,
            _tasks: tasks,
        }
    }

    /// Waits until a user may log in or not.
    async fn becomes(&self, name: &str, may: bool) -> Verifier {
        loop {
            match self.users.verifier(name) {
                (verifier, found) if found == may => return verifier,
                _ => tokio::time::sleep(Duration::from_millis(1)).await,
            }
        }
    }
}

#[tokio::test]
async fn users_come_change_and_go_with_the_store() {
    let store = MemoryStore::new();
    write(&store, vec![put(&record("a", "one", true))]).await;
    let router = Router::start(&store, &[]).await;
    let verifier = |password| Verifier::derive(password, b"salt", 1);
    assert_eq!(router.users.verifier("a"), (verifier("one"), true));
    write(&store, vec![put(&record("b", "two", true))]).await;
    assert_eq!(router.becomes("b", true).await, verifier("two"));
    write(&store, vec![put(&record("b", "two", false))]).await;
    // The salt tells nothing of why the login fails.
    assert_eq!(router.becomes("b", false).await, verifier("two"));
    let gone = Op::delete(keys::user(&UserName::try_new("a").unwrap()));
    write(&store, vec![gone]).await;
    assert_ne!(router.becomes("a", false).await, verifier("one"));
}

#[tokio::test]
async fn users_of_the_configuration_come_first() {
    let store = MemoryStore::new();
    write(&store, vec![put(&record("a", "stored", false))]).await;
    let router = Router::start(&store, &[("a", "configured")]).await;
    let (verifier, may) = router.users.verifier("a");
    assert!(may);
    let derived = Verifier::derive("configured", verifier.salt(), verifier.iterations());
    assert_eq!(verifier, derived);
}

#[tokio::test]
async fn only_a_user_who_is_known_as_such_is_disabled() {
    let store = MemoryStore::new();
    let (a, b) = (record("a", "x", false), record("b", "x", false));
    write(&store, vec![put(&a), put(&b), put(&record("c", "x", true))]).await;
    let router = Router::start(&store, &[("b", "configured")]).await;
    let names = ["a", "b", "c", "nobody", "no name at all\u{0}"];
    let disabled = names.map(|name| router.users.is_disabled(name));
    assert_eq!(disabled, [true, false, false, false, false]);
    write(&store, vec![put(&record("a", "x", true))]).await;
    router.becomes("a", true).await;
    assert!(!router.users.is_disabled("a"));
}

#[tokio::test]
async fn a_record_that_cannot_be_read_lets_nobody_in() {
    let store = MemoryStore::new();
    let (a, b) = (record("a", "x", true), record("b", "x", true));
    write(&store, vec![put(&a), put(&b)]).await;
    let router = Router::start(&store, &[]).await;
    write(&store, vec![Op::put(keys::user(&a.name), "{}")]).await;
    router.becomes("a", false).await;
    // The record of another user is none of this one's.
    write(&store, vec![Op::put(keys::user(&b.name), encode(&a))]).await;
    router.becomes("b", false).await;
    write(&store, vec![put(&b)]).await;
    router.becomes("b", true).await;
}

#[tokio::test]
async fn all_routers_make_up_the_same_salts() {
    let store = MemoryStore::new();
    let first = Router::start(&store, &[("a", "x")]).await;
    let second = Router::start(&store, &[("a", "x")]).await;
    for name in ["a", "nobody"] {
        assert_eq!(
            first.users.verifier(name),
            second.users.verifier(name),
            "{name}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_login_waits_a_moment_for_a_store_that_was_never_read() {
    let users = Users::try_new(&[]).unwrap();
    let began = tokio::time::Instant::now();
    users.first_reading().await;
    assert_eq!(began.elapsed(), super::FIRST_READING);
    users.publish(super::Stored::new());
    users.first_reading().await;
    assert_eq!(began.elapsed(), super::FIRST_READING);
}
