use std::sync::Arc;

use topology::records::{Head, decode, encode};
use topology::store::memory::CommitFault;
use topology::store::{MemoryStore, Op, Store, Txn};
use topology::watch::{Loaded, load};
use topology::{Endpoint, Epoch, GroupName, KeyType, Term, UserName, Verifier, keys};

use super::{Error, Key, Note, Request, UserRequest, Writer};
use crate::audit::{self, Author, Retention};
use crate::control::user::{Action, Command as UserCommand};
use crate::control::{Command, NewShard, Rejection};
use crate::error::Code;

fn group(name: &str) -> Command {
    Command::CreateGroup {
        name: GroupName::try_new(name).unwrap(),
        key_type: KeyType::Bigint,
    }
}

fn shard(name: &str, port: u16) -> Command {
    Command::CreateShard(NewShard {
        name: name.to_owned(),
        primary_endpoint: Endpoint::try_new(&format!("postgres://db:{port}/app")).unwrap(),
        replicas: Vec::new(),
        vnode_count: 8,
        weight: 1,
    })
}

fn request(term: Term, command: Command) -> Request {
    Request {
        term,
        command,
        author: Author {
            actor: "alice".to_owned(),
            request_id: Some("r-1".to_owned()),
            from: Some("10.0.0.1".to_owned()),
        },
        idempotency_key: None,
    }
}

/// A store with a leader, and a writer to it.
struct Setup {
    store: MemoryStore,
    writer: Arc<Writer>,
    term: Term,
}

impl Setup {
    async fn new() -> Self {
        let store = MemoryStore::new();
        let term = elect(&store).await;
        let writer = Arc::new(Writer::new(Arc::new(store.clone()), None));
        Self {
            store,
            writer,
            term,
        }
    }

    async fn write(&self, command: Command) -> Result<Epoch, Error> {
        let written = self.writer.write(&request(self.term, command)).await?;
        Ok(written.snapshot.epoch())
    }

    async fn loaded(&self) -> Loaded {
        load(&self.store).await.unwrap()
    }

    async fn audit(&self) -> Vec<audit::Entry> {
        let page = audit::page(&self.store, &audit::Filter::default(), 100).await;
        let entries = page.unwrap().entries.into_iter();
        entries.map(|listed| listed.entry).collect()
    }
}

/// Puts a new leader's key in place of the one that is there; gives its term.
async fn elect(store: &MemoryStore) -> Term {
    for op in [Op::delete(keys::LEADER), Op::put(keys::LEADER, "somebody")] {
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![op],
        };
        store.commit(txn).await.unwrap();
    }
    let entry = store.read(keys::LEADER).await.unwrap().unwrap();
    Term(entry.create_revision.0)
}

#[tokio::test(start_paused = true)]
async fn each_write_raises_the_epoch_by_one_and_leaves_an_audit_entry() {
    let setup = Setup::new().await;
    assert_eq!(setup.write(shard("a", 1)).await.unwrap(), Epoch(1));
    assert_eq!(setup.write(group("users")).await.unwrap(), Epoch(2));
    let loaded = setup.loaded().await;
    assert_eq!((loaded.epoch(), loaded.term()), (Epoch(2), setup.term));
    let entries = setup.audit().await;
    let seen: Vec<_> = entries
        .iter()
        .map(|e| (e.epoch.0, e.action.as_str(), e.target.as_str()))
        .collect();
    assert_eq!(
        seen,
        [(2, "create_group", "users"), (1, "create_shard", "a")]
    );
    assert_eq!(entries[0].actor, "alice");
    assert_eq!(entries[0].request_id.as_deref(), Some("r-1"));
}

#[tokio::test(start_paused = true)]
async fn a_refused_command_writes_nothing() {
    let setup = Setup::new().await;
    setup.write(group("users")).await.unwrap();
    let before = setup.store.revision();
    let error = setup.write(group("users")).await.unwrap_err();
    assert!(matches!(
        error,
        Error::Rejected(Rejection::GroupExists { .. })
    ));
    assert_eq!(error.code(), Code::AlreadyExists);
    assert_eq!(setup.store.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_cannot_write() {
    let setup = Setup::new().await;
    let later = elect(&setup.store).await;
    assert!(later > setup.term);
    let error = setup.write(group("users")).await.unwrap_err();
    assert!(matches!(error, Error::Deposed { .. }), "{error:?}");
    assert_eq!(setup.loaded().await.epoch(), Epoch(0));
    assert!(setup.audit().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_found_out_and_nothing_is_written_twice() {
    let setup = Setup::new().await;
    setup.store.fail_next_commit(CommitFault::LostAnswer);
    assert_eq!(setup.write(group("users")).await.unwrap(), Epoch(1));
    assert_eq!(setup.audit().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_request_is_sent_again() {
    let setup = Setup::new().await;
    for _ in 0..3 {
        setup.store.fail_next_commit(CommitFault::LostRequest);
    }
    assert_eq!(setup.write(group("users")).await.unwrap(), Epoch(1));
    assert_eq!(setup.audit().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_never_left_is_reported_as_not_done() {
    let setup = Setup::new().await;
    setup.store.fail_next_commit(CommitFault::Unreachable);
    let error = setup.write(group("users")).await.unwrap_err();
    assert_eq!(error.code(), Code::Kind(platform::Kind::Unavailable));
    assert_eq!(setup.loaded().await.epoch(), Epoch(0));
}

#[tokio::test(start_paused = true)]
async fn what_stays_unknown_is_reported_as_unknown() {
    let setup = Setup::new().await;
    for _ in 0..1_000 {
        setup.store.fail_next_commit(CommitFault::LostRequest);
    }
    let error = setup.write(group("users")).await.unwrap_err();
    assert_eq!(error.code(), Code::Kind(platform::Kind::OutcomeUnknown));
}

#[tokio::test(start_paused = true)]
async fn two_writers_of_one_term_lose_no_change() {
    let setup = Setup::new().await;
    let other = Writer::new(Arc::new(setup.store.clone()), None);
    let ours = async {
        for n in 0..10 {
            setup.write(group(&format!("ours-{n}"))).await.unwrap();
        }
    };
    let theirs = async {
        for n in 0..10 {
            let command = group(&format!("theirs-{n}"));
            other.write(&request(setup.term, command)).await.unwrap();
        }
    };
    tokio::join!(ours, theirs);
    let loaded = setup.loaded().await;
    assert_eq!((loaded.epoch(), loaded.parts.groups.len()), (Epoch(20), 20));
    let epochs: Vec<_> = setup.audit().await.iter().map(|e| e.epoch.0).collect();
    assert_eq!(epochs, (1..=20).rev().collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_overtaken_while_its_answer_was_lost_is_decided_anew() {
    let setup = Setup::new().await;
    setup.store.fail_next_commit(CommitFault::LostRequest);
    let overtake = async {
        // The first sending is lost and the second one not due yet.
        tokio::task::yield_now().await;
        let head = Head {
            epoch: Epoch(1),
            term: setup.term,
        };
        let txn = Txn {
            compares: Vec::new(),
            ops: vec![Op::put(keys::HEAD, encode(&head))],
        };
        setup.store.commit(txn).await.unwrap();
    };
    let (written, ()) = tokio::join!(setup.write(group("users")), overtake);
    assert_eq!(written.unwrap(), Epoch(2));
    assert_eq!(setup.audit().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_repeated_request_finds_the_first_one() {
    let setup = Setup::new().await;
    let keyed = |command| Request {
        idempotency_key: Key::try_new("k-1"),
        ..request(setup.term, command)
    };
    setup.writer.write(&keyed(shard("a", 1))).await.unwrap();
    setup.write(group("users")).await.unwrap();
    let again = setup.writer.write(&keyed(shard("a", 1))).await.unwrap();
    assert_eq!(again.snapshot.shards().len(), 1);
    assert_eq!(setup.loaded().await.epoch(), Epoch(2));
    let other = setup.writer.write(&keyed(shard("b", 2))).await.unwrap_err();
    assert!(matches!(other, Error::KeyReused { .. }), "{other:?}");
}

#[tokio::test(start_paused = true)]
async fn no_stored_value_holds_a_password() {
    let setup = Setup::new().await;
    let with_password = Endpoint::try_new("postgres://u:hunter2@db:1/app").unwrap();
    let command = Command::CreateShard(NewShard {
        name: "a".to_owned(),
        primary_endpoint: with_password,
        replicas: Vec::new(),
        vnode_count: 1,
        weight: 1,
    });
    setup.write(command).await.unwrap();
    for entry in setup.store.list("/").await.unwrap().entries {
        let text = String::from_utf8_lossy(&entry.value);
        assert!(!text.contains("hunter2"), "{}: {text}", entry.key);
    }
    let head = setup.store.read(keys::HEAD).await.unwrap().unwrap();
    let head: Head = decode(keys::HEAD, &head.value).unwrap();
    assert_eq!(head.epoch, Epoch(1));
}

fn user(term: Term, name: &str, action: Action) -> UserRequest {
    let name = UserName::try_new(name).unwrap();
    UserRequest {
        term,
        command: UserCommand { name, action },
        author: Author::default(),
    }
}

fn create() -> Action {
    Action::Create {
        verifier: Verifier::derive("sesame", b"salt", 1),
        enabled: true,
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_is_written_with_an_audit_entry_and_without_an_epoch() {
    let setup = Setup::new().await;
    setup.write(group("users")).await.unwrap();
    let request = user(setup.term, "app", create());
    let written = setup.writer.write_user(&request).await.unwrap().unwrap();
    assert_eq!((written.name.as_str(), written.version), ("app", 1));
    assert_eq!(setup.loaded().await.epoch(), Epoch(1));
    setup.write(group("others")).await.unwrap();
    let entries = setup.audit().await;
    let seen: Vec<_> = entries
        .iter()
        .map(|e| (e.sequence, e.epoch.0, e.action.as_str()))
        .collect();
    let expected = [
        (3, 2, "create_group"),
        (2, 1, "create_user"),
        (1, 1, "create_group"),
    ];
    assert_eq!(seen, expected);
    let gone = user(setup.term, "app", Action::Delete);
    assert_eq!(setup.writer.write_user(&gone).await.unwrap(), None);
    assert!(
        setup
            .store
            .list(keys::USERS)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_deposed_leader_cannot_write_a_user() {
    let setup = Setup::new().await;
    elect(&setup.store).await;
    let request = user(setup.term, "app", create());
    let error = setup.writer.write_user(&request).await.unwrap_err();
    assert!(matches!(error, Error::Deposed { .. }), "{error:?}");
    assert!(setup.audit().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_user_whose_lost_answer_is_found_out_is_written_once() {
    let setup = Setup::new().await;
    setup.store.fail_next_commit(CommitFault::LostAnswer);
    let request = user(setup.term, "app", create());
    let written = setup.writer.write_user(&request).await.unwrap().unwrap();
    assert_eq!((written.version, setup.audit().await.len()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn users_and_topology_written_at_once_leave_an_entry_each() {
    let setup = Setup::new().await;
    let other = Writer::new(Arc::new(setup.store.clone()), None);
    let groups = async {
        for n in 0..10 {
            setup.write(group(&format!("g-{n}"))).await.unwrap();
        }
    };
    let users = async {
        for n in 0..10 {
            let request = user(setup.term, &format!("u-{n}"), create());
            other.write_user(&request).await.unwrap();
        }
    };
    tokio::join!(groups, users);
    let numbers: Vec<_> = setup.audit().await.iter().map(|e| e.sequence).collect();
    assert_eq!(numbers, (1..=20).rev().collect::<Vec<_>>());
    assert_eq!(setup.loaded().await.epoch(), Epoch(10));
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_write_continues_the_chain_of_the_audit_log() {
    let setup = Setup::new().await;
    setup.write(shard("a", 1)).await.unwrap();
    let note = Note {
        term: setup.term,
        author: Author::default(),
        action: "POST /api/v1/groups".to_owned(),
        target: "/api/v1/groups".to_owned(),
        detail: serde_json::Value::Null,
    };
    for number in 0..12 {
        setup.writer.note_refusal(&note).await.unwrap();
        setup.write(group(&format!("g{number}"))).await.unwrap();
    }
    setup.store.fail_next_commit(CommitFault::LostAnswer);
    setup.writer.note_refusal(&note).await.unwrap();
    let retention = Retention {
        entries: 10,
        age: std::time::Duration::from_secs(60 * 60),
        interval: std::time::Duration::from_secs(1),
    };
    let cut = setup.writer.cut_audit(setup.term, &retention).await;
    assert_eq!(cut.unwrap(), 17);
    setup.write(group("later")).await.unwrap();
    let findings = audit::verify(&setup.store).await.unwrap();
    assert_eq!((findings.entries, findings.chained), (11, 11));
    assert_eq!(findings.faults, []);
    let before = &setup.audit().await[0].changes[0];
    assert_eq!(
        (&before.before, &before.after["name"]),
        (&serde_json::Value::Null, &"later".into())
    );
    elect(&setup.store).await;
    let refused = setup
        .writer
        .cut_audit(setup.term, &keeping_one(retention))
        .await;
    assert!(matches!(refused, Err(Error::Deposed { .. })), "{refused:?}");
}

fn keeping_one(retention: Retention) -> Retention {
    Retention {
        entries: 1,
        ..retention
    }
}
