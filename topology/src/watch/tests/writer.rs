//! Stands in for the leader: each change is one transaction with a new head.

use std::collections::BTreeSet;
use std::time::SystemTime;

use crate::records::{
    Endpoint, Group, Head, Hold, Placement, Shard, ShardState, ShardVnodes, Table, TokenRange,
    encode,
};
use crate::ring::tokens_for;
use crate::store::{Committed, MemoryStore, Op, Store as _, Txn};
use crate::{Epoch, GroupName, KeyType, Parts, ShardId, Snapshot, TableName, Term, Token, keys};

/// Writes topologies, and remembers what each epoch ought to look like.
pub(super) struct Writer {
    pub(super) store: MemoryStore,
    pub(super) term: Term,
    parts: Parts,
    history: Vec<Snapshot>,
}

impl Writer {
    pub(super) fn new(store: MemoryStore) -> Self {
        Self {
            store,
            term: Term(1),
            parts: Parts::default(),
            history: vec![Snapshot::default()],
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        Epoch(u64::try_from(self.history.len()).unwrap() - 1)
    }

    /// The topology as it was written at an epoch.
    pub(super) fn at(&self, epoch: Epoch) -> &Snapshot {
        &self.history[usize::try_from(epoch.0).unwrap()]
    }

    pub(super) fn newest(&self) -> &Snapshot {
        self.at(self.epoch())
    }

    /// Adds a shard with its vnodes.
    pub(super) async fn add(&mut self, name: &str) -> Epoch {
        let shard = shard(name);
        let others = self
            .parts
            .vnodes
            .iter()
            .filter(|other| other.shard != shard.id);
        let taken: BTreeSet<Token> = others.flat_map(|other| other.tokens.clone()).collect();
        let vnodes = ShardVnodes {
            shard: shard.id.clone(),
            tokens: tokens_for(&shard.id, 4, |token| taken.contains(&token)),
        };
        self.parts.put_shard(shard.clone());
        self.parts.put_vnodes(vnodes.clone());
        let ops = vec![
            Op::put(keys::shard(&shard.id), encode(&shard)),
            Op::put(keys::ring(&shard.id), encode(&vnodes)),
        ];
        self.write(ops).await
    }

    pub(super) async fn remove(&mut self, name: &str) -> Epoch {
        let id = id(name);
        self.parts.remove_shard(&id);
        let ops = vec![Op::delete(keys::shard(&id)), Op::delete(keys::ring(&id))];
        self.write(ops).await
    }

    /// Moves the first vnode of one shard to another.
    async fn move_vnode(&mut self, from: &str, to: &str) -> Epoch {
        let (from, to) = (id(from), id(to));
        let (Some(mut source), Some(mut target)) = (
            self.parts.vnodes_of(&from).cloned(),
            self.parts.vnodes_of(&to).cloned(),
        ) else {
            return self.add(from.as_str()).await;
        };
        if from != to && !source.tokens.is_empty() {
            target.tokens.push(source.tokens.remove(0));
            target.tokens.sort();
        }
        let mut ops = Vec::new();
        for vnodes in [source, target]
            .into_iter()
            .take(if from == to { 1 } else { 2 })
        {
            ops.push(Op::put(keys::ring(&vnodes.shard), encode(&vnodes)));
            self.parts.put_vnodes(vnodes);
        }
        self.write(ops).await
    }

    async fn hold(&mut self, id: &str) -> Epoch {
        let after = Token(1);
        let hold = Hold {
            id: id.to_owned(),
            ranges: vec![TokenRange { after, last: after }],
            deadline_ms: 10,
        };
        let op = if self.parts.holds.iter().any(|held| held.id == id) {
            self.parts.holds.retain(|held| held.id != id);
            Op::delete(keys::hold(id))
        } else {
            self.parts.holds.push(hold.clone());
            Op::put(keys::hold(id), encode(&hold))
        };
        self.write(vec![op]).await
    }

    async fn add_table(&mut self, name: &str) -> Epoch {
        let group = Group {
            name: GroupName::try_new("default").unwrap(),
            key_type: KeyType::Bigint,
        };
        let placement = Placement::Sharded {
            group: group.name.clone(),
            shard_key: "id".to_owned(),
        };
        let name = TableName::try_from_parts("public", name).unwrap();
        let table = Table { name, placement };
        self.parts.put_group(group.clone());
        self.parts.put_table(table.clone());
        let ops = vec![
            Op::put(keys::group(&group.name), encode(&group)),
            Op::put(keys::table(&table.name), encode(&table)),
        ];
        self.write(ops).await
    }

    /// One of the changes that a leader makes, chosen by a number.
    pub(super) async fn change(&mut self, choice: u8) -> Epoch {
        let name = |number: u8| format!("s{}", number % 5);
        let (this, other) = (name(choice / 6), name(choice / 30));
        match choice % 6 {
            0 => self.remove(&this).await,
            1 => self.move_vnode(&this, &other).await,
            2 => self.hold(&this).await,
            3 => self.add_table(&this).await,
            _ => self.add(&this).await,
        }
    }

    /// Writes records with the next head.
    async fn write(&mut self, mut ops: Vec<Op>) -> Epoch {
        let epoch = self.epoch().next();
        let snapshot = Snapshot::try_new(epoch, self.parts.clone()).unwrap();
        self.history.push(snapshot);
        ops.push(self.head(epoch));
        self.commit(ops).await;
        epoch
    }

    pub(super) fn head(&self, epoch: Epoch) -> Op {
        let term = self.term;
        Op::put(keys::HEAD, encode(&Head { epoch, term }))
    }

    /// Writes whatever it is told, as a hand with etcdctl would.
    pub(super) async fn commit(&self, ops: Vec<Op>) {
        let compares = Vec::new();
        let answer = self.store.commit(Txn { compares, ops }).await;
        assert!(matches!(answer, Ok(Committed::Applied(_))), "{answer:?}");
    }
}

pub(super) fn id(name: &str) -> ShardId {
    ShardId::try_new(name).unwrap()
}

pub(super) fn shard(name: &str) -> Shard {
    Shard {
        id: id(name),
        name: name.to_owned(),
        primary_endpoint: Endpoint::try_new("postgres://db/app").unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight: 1,
        vnode_count: 4,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        lineage: None,
        promotion: None,
    }
}
