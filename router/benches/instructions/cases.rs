//! What is counted: the pure steps between a client's bytes and a shard's name.

use std::hint::black_box;
use std::time::SystemTime;

use router::cache::Cache;
use router::query::Form;
use router::route::{self, Constants, Parameter, Parameters, Plan};
use topology::records::ShardVnodes;
use topology::{
    Endpoint, Epoch, Group, GroupName, Key, KeyType, Parts, Placement, Shard, ShardId, ShardState,
    Snapshot, Table, TableName, hash, ring,
};
use wire::frontend::Query;
use wire::{Scanner, Step};

/// A case runs its step a number of rounds.
type Case = (&'static str, fn(u64));

/// All cases by name.
pub(super) const ALL: &[Case] = &[
    ("decode-query", decode_query),
    ("scan-answer", scan_answer),
    ("ring-lookup", ring_lookup),
    ("form-of-text", form_of_text),
    ("route-hit-simple", route_hit_simple),
    ("route-hit-bind", route_hit_bind),
    ("route-miss", route_miss),
];

const SQL: &str = "SELECT abalance FROM accounts WHERE aid = 4711;";
const PREPARED: &str = "SELECT abalance FROM accounts WHERE aid = $1;";

/// Four shards of 256 vnodes, and one sharded table.
fn snapshot() -> Snapshot {
    let mut parts = Parts::default();
    for number in 1..=4 {
        let id = ShardId::try_new(&format!("shard-{number}")).expect("the name is a shard's");
        parts.put_vnodes(ShardVnodes {
            shard: id.clone(),
            tokens: ring::tokens_for(&id, 256, |_| false),
        });
        parts.put_shard(Shard {
            name: id.to_string(),
            id,
            primary_endpoint: Endpoint::try_new("postgres://127.0.0.1:5432/app")
                .expect("the address is one"),
            replicas: Vec::new(),
            state: ShardState::Active,
            weight: 1,
            vnode_count: 256,
            version: 1,
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            lineage: None,
            promotion: None,
        });
    }
    let group = GroupName::try_new("default").expect("the name is a group's");
    parts.put_group(Group {
        name: group.clone(),
        key_type: KeyType::Bigint,
    });
    parts.put_table(Table {
        name: TableName::try_from_parts("public", "accounts").expect("the name is a table's"),
        placement: Placement::Sharded {
            group,
            shard_key: "aid".to_owned(),
        },
    });
    Snapshot::try_new(Epoch(1), parts).expect("the parts fit")
}

fn decode_query(rounds: u64) {
    let mut message = vec![b'Q', 0, 0, 0, 0];
    message.extend_from_slice(SQL.as_bytes());
    message.push(0);
    let length = u32::try_from(message.len() - 1).expect("the message is short");
    message[1..5].copy_from_slice(&length.to_be_bytes());
    for _ in 0..rounds {
        let frame = wire::frame::Frame::parse(black_box(&message), 1 << 20);
        let frame = frame.expect("the frame is one").expect("it is whole");
        let query = Query::decode(frame.body()).expect("the body is a query's");
        black_box(query.sql.as_str().expect("the text is UTF-8"));
    }
}

/// The answer to a point read: RowDescription, DataRow, CommandComplete, ReadyForQuery.
fn scan_answer(rounds: u64) {
    let mut answer = Vec::new();
    for (tag, body) in [
        (
            b'T',
            &b"\0\x01abalance\0\0\0\x40\0\0\x03\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0"[..],
        ),
        (b'D', b"\0\x01\0\0\0\x010"),
        (b'C', b"SELECT 1\0"),
        (b'Z', b"I"),
    ] {
        answer.push(tag);
        let length = u32::try_from(body.len() + 4).expect("the message is short");
        answer.extend_from_slice(&length.to_be_bytes());
        answer.extend_from_slice(body);
    }
    for _ in 0..rounds {
        let mut scanner = Scanner::backend(1 << 20);
        let mut rest = black_box(answer.as_slice());
        loop {
            let passed = match scanner.next(rest).expect("the answer is one") {
                Step::Stream { bytes, .. } => bytes.len(),
                Step::Whole(frame) => frame.bytes().len(),
                Step::Incomplete { .. } => break,
            };
            rest = &rest[passed..];
        }
        black_box(rest);
    }
}

fn ring_lookup(rounds: u64) {
    let snapshot = snapshot();
    for round in 0..rounds {
        let key = Key::Bigint(i64::try_from(round).expect("rounds are few"));
        black_box(snapshot.ring().lookup(hash::token_of(black_box(&key))));
    }
}

fn form_of_text(rounds: u64) {
    let mut form = Form::default();
    for _ in 0..rounds {
        black_box(form.read(black_box(SQL)));
    }
}

/// One parameter, as the client sent it.
struct One<'a>(Parameter<'a>);

impl Parameters for One<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        (index == 0).then_some(self.0)
    }
}

fn route_hit_simple(rounds: u64) {
    let (snapshot, cache) = (snapshot(), Cache::new(1000));
    let mut form = Form::default();
    for _ in 0..rounds {
        assert!(form.read(black_box(SQL)), "the text has a form");
        let planned = cache.plan_form(&form.text, &snapshot);
        let plans = planned.expect("the form is SQL").plans(&snapshot);
        resolve(&plans.plans[0], &Constants::new(SQL, &form), &snapshot);
    }
}

fn route_hit_bind(rounds: u64) {
    let (snapshot, cache) = (snapshot(), Cache::new(1000));
    let planned = cache.plan(PREPARED, &snapshot).expect("the text is SQL");
    for round in 0..rounds {
        let plans = planned.plans(&snapshot);
        let value = round.to_be_bytes();
        let parameter = Parameter {
            value: Some(&value),
            binary: true,
            type_oid: 20,
        };
        resolve(&plans.plans[0], &One(parameter), &snapshot);
    }
}

fn resolve(plan: &Plan, parameters: &dyn Parameters, snapshot: &Snapshot) {
    let target = route::resolve(black_box(plan), parameters, None, snapshot);
    black_box(target.expect("the key has an owner"));
}

fn route_miss(rounds: u64) {
    let snapshot = snapshot();
    for _ in 0..rounds {
        let planned = router::cache::Planned::analyze(black_box(SQL), &snapshot);
        black_box(planned.expect("the text is SQL"));
    }
}
