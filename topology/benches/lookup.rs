//! How long it takes to find a key's owner, and to build the ring that is asked, at the largest
//! size that the design promises: 1,000 shards of 256 vnodes.

use std::collections::BTreeSet;
use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use topology::hash::token_of;
use topology::ring::{Ring, Vnode, tokens_for};
use topology::{Key, ShardId, ShardIndex, Token};

const SHARDS: u32 = 1000;
const VNODES: u32 = 256;

fn vnodes() -> Vec<Vnode> {
    let mut taken = BTreeSet::new();
    let mut vnodes = Vec::new();
    for number in 0..SHARDS {
        let id = ShardId::try_new(&format!("shard-{number}")).expect("the name is a shard's");
        let tokens = tokens_for(&id, VNODES, |token| taken.contains(&token));
        let owner = ShardIndex(number);
        vnodes.extend(tokens.iter().map(|&token| Vnode { token, owner }));
        taken.extend(tokens);
    }
    vnodes
}

/// Numbers without a pattern that a cache or a branch predictor could learn.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let high = self.0 >> 32;
        self.0 ^ high
    }
}

fn lookup(criterion: &mut Criterion) {
    let ring = Ring::try_new(vnodes()).expect("the tokens are distinct");
    let mut numbers = Numbers(7);
    criterion.bench_function("lookup of a token, 1000 shards x 256 vnodes", |bencher| {
        bencher.iter(|| {
            let bytes = numbers.next().to_le_bytes();
            let token = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            ring.lookup(black_box(Token(token)))
        });
    });
    criterion.bench_function("hash and lookup of a bigint, 1000 x 256", |bencher| {
        bencher.iter(|| {
            let key = Key::Bigint(i64::from_le_bytes(numbers.next().to_le_bytes()));
            ring.lookup(token_of(black_box(&key)))
        });
    });
    let text = Key::Text("user48151623@example.org".into());
    criterion.bench_function("hash of a text of 24 bytes", |bencher| {
        bencher.iter(|| token_of(black_box(&text)));
    });
}

fn build(criterion: &mut Criterion) {
    let vnodes = vnodes();
    criterion.bench_function("ring of 1000 shards x 256 vnodes", |bencher| {
        bencher.iter_batched(|| vnodes.clone(), Ring::try_new, BatchSize::LargeInput);
    });
}

criterion_group!(benches, lookup, build);
criterion_main!(benches);
