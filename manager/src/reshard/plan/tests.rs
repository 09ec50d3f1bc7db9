use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use proptest::prelude::*;
use topology::records::ShardVnodes;
use topology::ring::tokens_for;
use topology::{Endpoint, Parts};

use super::diff::Widths;
use super::*;

fn id(text: &str) -> ShardId {
    ShardId::try_new(text).unwrap()
}

fn shard(name: &str, vnode_count: u32, weight: u32) -> Shard {
    Shard {
        id: id(name),
        name: name.to_owned(),
        primary_endpoint: Endpoint::try_new(&format!("postgres://{name}/app")).unwrap(),
        replicas: Vec::new(),
        state: ShardState::Active,
        weight,
        vnode_count,
        version: 1,
        created_at: SystemTime::UNIX_EPOCH,
        updated_at: SystemTime::UNIX_EPOCH,
        lineage: None,
        promotion: None,
    }
}

/// Shards with their owned vnodes' number and their weight, at the tokens that a manager gives.
fn parts(shards: &[(&str, u32, u32)]) -> Parts {
    let mut parts = Parts::default();
    let mut taken = BTreeSet::new();
    for (name, owned, weight) in shards {
        let tokens = tokens_for(&id(name), *owned, |token| taken.contains(&token));
        taken.extend(tokens.iter().copied());
        let record = ShardVnodes {
            shard: id(name),
            tokens,
        };
        parts.put_shard(shard(name, 16, *weight));
        parts.put_vnodes(record);
    }
    parts
}

fn snapshot(shards: &[(&str, u32, u32)]) -> Snapshot {
    Snapshot::try_new(Epoch(7), parts(shards)).unwrap()
}

/// One vnode a token, as even as can be: `owners` in turn.
fn even(owners: &[(&str, u32)], extra: &[&str]) -> Snapshot {
    let count: u32 = owners.iter().map(|(_, count)| count).sum();
    let mut parts = Parts::default();
    let mut next = 0;
    for (name, owned) in owners {
        let tokens = (next..next + owned).map(|at| Token(at * (u32::MAX / count)));
        let tokens = tokens.collect();
        next += owned;
        parts.put_shard(shard(name, 16, 1));
        parts.put_vnodes(ShardVnodes {
            shard: id(name),
            tokens,
        });
    }
    for name in extra {
        parts.put_shard(shard(name, 16, 1));
    }
    Snapshot::try_new(Epoch(1), parts).unwrap()
}

/// The topology after a plan.
fn after(snapshot: &Snapshot, plan: &Plan) -> Snapshot {
    let mut owners: BTreeMap<Token, ShardId> = snapshot
        .ring()
        .vnodes()
        .iter()
        .map(|vnode| (vnode.token, snapshot.shard(vnode.owner).unwrap().id.clone()))
        .collect();
    for flow in plan.flows() {
        for token in &flow.vnodes {
            let owner = owners.insert(*token, flow.to.clone());
            assert_eq!(owner.as_ref(), Some(&flow.from), "each vnode moves once");
        }
    }
    let mut parts = Parts::default();
    let mut tokens: BTreeMap<ShardId, Vec<Token>> = BTreeMap::new();
    for (token, owner) in owners {
        tokens.entry(owner).or_default().push(token);
    }
    for shard in snapshot.shards() {
        parts.put_shard(shard.clone());
    }
    for (shard, tokens) in tokens {
        parts.put_vnodes(ShardVnodes { shard, tokens });
    }
    Snapshot::try_new(snapshot.epoch().next(), parts).unwrap()
}

/// What each active shard holds beyond its fair share, in tokens, and the largest vnode.
fn surpluses(snapshot: &Snapshot) -> (BTreeMap<ShardId, i128>, i128) {
    let intent = Intent::Rebalance {
        by: Balance::Weight,
    };
    let picture = Picture::of(snapshot, &intent).unwrap();
    let members = picture.members();
    let total: u128 = members.iter().map(|each| u128::from(each.load)).sum();
    let all: u128 = members.iter().map(|each| u128::from(each.capacity)).sum();
    let surplus = |member: &picture::Member| {
        let fair = total * u128::from(member.capacity) / all;
        i128::from(member.load) - i128::try_from(fair).unwrap()
    };
    let surpluses = members
        .iter()
        .map(|each| (picture.id(each.index).unwrap().clone(), surplus(each)))
        .collect();
    (surpluses, i128::from(picture.largest()))
}

fn moved(snapshot: &Snapshot, plan: &Plan) -> i128 {
    let widths = Widths::of(snapshot);
    let moved: u64 = plan.flows().map(|flow| widths.of_flow(flow)).sum();
    i128::from(moved)
}

fn owned(snapshot: &Snapshot, name: &str) -> usize {
    let index = snapshot.index_of(&id(name)).unwrap();
    let vnodes = snapshot.ring().vnodes().iter();
    vnodes.filter(|vnode| vnode.owner == index).count()
}

fn target(name: &str, share: u64) -> Target {
    let shard = id(name);
    Target { shard, share }
}

fn split(source: &str, targets: &[(&str, u64)]) -> Intent {
    let source = id(source);
    let targets = targets.iter().map(|(name, share)| target(name, *share));
    let targets = targets.collect();
    Intent::Split { source, targets }
}

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

prop_compose! {
    /// Two to six shards, the last of which may own nothing.
    fn shards()(
        shards in prop::collection::vec((8_u32..80, 1_u32..4), 1..6),
        newcomer in prop::option::of(1_u32..4),
    ) -> Vec<(&'static str, u32, u32)> {
        let owners = shards.into_iter().chain(newcomer.map(|weight| (0, weight)));
        NAMES.into_iter().zip(owners).map(|(name, (owned, weight))| (name, owned, weight)).collect()
    }
}

proptest! {
    #[test]
    fn a_rebalanced_ring_is_within_one_vnode_of_fair_shares_and_moves_no_more_than_it_must(
        shards in shards()
    ) {
        let before = snapshot(&shards);
        let intent = Intent::Rebalance { by: Balance::Weight };
        let (surplus, largest) = surpluses(&before);
        let plan = match Plan::try_new(&before, &intent) {
            Ok(plan) => plan,
            Err(error) => {
                prop_assert_eq!(error, Error::Balanced);
                prop_assert!(surplus.values().all(|each| each.abs() <= largest));
                return Ok(());
            }
        };
        let after = after(&before, &plan);
        for (shard, left) in surpluses(&after).0 {
            prop_assert!(left.abs() <= largest, "{shard} is off by {left}, a vnode is {largest}");
        }
        // Only from those above to those below, and in all the lower bound but for whole vnodes.
        for flow in plan.flows() {
            prop_assert!(surplus[&flow.from] > 0 && surplus[&flow.to] <= 0);
        }
        let bound: i128 = surplus.values().filter(|each| **each > 0).sum();
        let slack = largest * i128::try_from(shards.len()).unwrap();
        prop_assert!((moved(&before, &plan) - bound).abs() <= slack);
        let again = Plan::try_new(&after, &intent);
        prop_assert_eq!(again.err(), Some(Error::Balanced));
    }

    #[test]
    fn a_shard_that_is_added_takes_its_fair_share_and_nothing_moves_between_the_others(
        shards in shards(), weight in 1_u32..4,
    ) {
        let mut parts = parts(&shards);
        parts.put_shard(shard("new", 16, weight));
        let before = Snapshot::try_new(Epoch(1), parts).unwrap();
        let plan = Plan::try_new(&before, &Intent::AddShard { shard: id("new") }).unwrap();
        prop_assert_eq!(plan.targets(), vec![id("new")]);
        let (surplus, largest) = surpluses(&before);
        let left = surpluses(&after(&before, &plan)).0[&id("new")];
        prop_assert!(left.abs() <= largest, "off by {left}, a vnode is {largest}");
        prop_assert!((moved(&before, &plan) + surplus[&id("new")]).abs() <= largest);
        prop_assert!(plan.sources().iter().all(|source| surplus[source] > 0));
    }

    #[test]
    fn a_drained_shard_owns_nothing_and_only_its_vnodes_move(shards in shards()) {
        if shards.len() < 2 {
            return Ok(());
        }
        let before = snapshot(&shards);
        let plan = Plan::try_new(&before, &Intent::Drain { shard: id("a") }).unwrap();
        prop_assert_eq!(plan.legs.len(), 1);
        prop_assert_eq!(plan.sources(), vec![id("a")]);
        prop_assert_eq!(plan.vnode_count(), owned(&before, "a"));
        prop_assert_eq!(owned(&after(&before, &plan), "a"), 0);
    }

    #[test]
    fn a_split_shard_is_divided_by_shares_within_one_vnode(
        owned_vnodes in 8_u32..200, shares in prop::collection::vec(1_u64..4, 2..5), keeps: bool,
    ) {
        let mut parts = parts(&[("a", owned_vnodes, 1), ("z", 32, 1)]);
        let names = ["b", "c", "d", "e"];
        let mut targets: Vec<_> = names.into_iter().zip(shares.iter().copied()).collect();
        for (name, _) in &targets {
            parts.put_shard(shard(name, 16, 1));
        }
        if keeps {
            targets[0].0 = "a";
        }
        let before = Snapshot::try_new(Epoch(1), parts).unwrap();
        let Ok(plan) = Plan::try_new(&before, &split("a", &targets)) else {
            prop_assert!(owned_vnodes < 24, "too few vnodes");
            return Ok(());
        };
        let (widths, all) = (Widths::of(&before), shares.iter().sum::<u64>());
        let changes = widths.changes(&plan);
        let of = |name: &str| changes.iter().find(|change| change.shard == id(name)).unwrap();
        let total = of("a").before.tokens;
        let largest = surpluses(&before).1;
        for (name, share) in &targets {
            let fair = i128::from(total) * i128::from(*share) / i128::from(all);
            let off = i128::from(of(name).after.tokens) - fair;
            prop_assert!(off.abs() <= largest, "{name} is off by {off}, a vnode is {largest}");
        }
        prop_assert_eq!(of("z").before, of("z").after);
    }

    #[test]
    fn the_ranges_of_a_flow_are_those_of_its_vnodes(shards in shards(), token: u32) {
        if shards.len() < 2 {
            return Ok(());
        }
        let before = snapshot(&shards);
        let plan = Plan::try_new(&before, &Intent::Drain { shard: id("a") }).unwrap();
        let owner = before.ring().lookup(Token(token)).unwrap();
        for flow in plan.flows() {
            let is_of_flow = flow.vnodes.contains(&owner.token);
            prop_assert_eq!(flow.ranges.contains(Token(token)), is_of_flow);
            prop_assert_eq!(flow.ranges.bounds().contains(Token(token)), is_of_flow);
            prop_assert!(flow.ranges.iter().all(|range| flow.vnodes.contains(&range.last)));
        }
    }
}

#[test]
fn vnodes_that_are_all_as_large_are_shared_as_numbers() {
    let before = even(&[("a", 2), ("b", 2)], &["c"]);
    let plan = Plan::try_new(&before, &Intent::AddShard { shard: id("c") }).unwrap();
    assert_eq!(plan.vnode_count(), 1);
    let before = even(&[("a", 100), ("b", 20)], &["c", "d"]);
    let by = Balance::Weight;
    let plan = Plan::try_new(&before, &Intent::Rebalance { by }).unwrap();
    let after = after(&before, &plan);
    for name in ["a", "b", "c", "d"] {
        assert!(owned(&after, name).abs_diff(30) <= 1, "{name}");
    }
    assert_eq!(plan.legs.len(), 1, "only one shard has more than its share");
    assert!(plan.vnode_count() <= 70);
}

#[test]
fn a_ring_can_be_balanced_by_what_its_shards_hold() {
    let before = even(&[("a", 40), ("b", 40)], &["c"]);
    // The vnodes of `a` are three times as heavy.
    let sizes = vec![(id("a"), 9_000_000), (id("b"), 3_000_000)];
    let by = Balance::Size(sizes);
    let plan = Plan::try_new(&before, &Intent::Rebalance { by }).unwrap();
    assert_eq!(
        (plan.sources(), plan.targets()),
        (vec![id("a")], vec![id("b"), id("c")])
    );
    let after = after(&before, &plan);
    // 4 MB each: 18 of 225 kB, 40 of 75 kB with 4 of 225, and 18 of 225.
    assert!(owned(&after, "a").abs_diff(18) <= 1);
    assert!(owned(&after, "b").abs_diff(44) <= 1);
}

#[test]
fn merged_shards_give_all_in_the_order_they_are_named() {
    let before = snapshot(&[("a", 8, 1), ("b", 8, 1), ("c", 8, 1)]);
    let intent = Intent::Merge {
        sources: vec![id("c"), id("b"), id("a")],
        target: id("a"),
    };
    let plan = Plan::try_new(&before, &intent).unwrap();
    let sources: Vec<_> = plan.flows().map(|flow| flow.from.clone()).collect();
    assert_eq!(sources, [id("c"), id("b")]);
    assert_eq!(owned(&after(&before, &plan), "a"), 24);
}

#[test]
fn all_vnodes_of_the_ring_are_one_range() {
    let before = even(&[("a", 8)], &["b"]);
    let intent = Intent::Merge {
        sources: vec![id("a")],
        target: id("b"),
    };
    let plan = Plan::try_new(&before, &intent).unwrap();
    let flow = &plan.legs[0][0];
    let ranges: Vec<_> = flow.ranges.iter().collect();
    assert_eq!(ranges.len(), 1);
    assert_eq!(ranges[0].after, ranges[0].last);
    assert_eq!(Widths::of(&before).of_flow(flow), 1 << 32);
}

#[test]
fn vnodes_are_moved_by_token_and_by_number() {
    let before = even(&[("a", 8), ("b", 8)], &[]);
    let tokens: Vec<_> = before.ring().vnodes().iter().map(|v| v.token).collect();
    let of = |vnodes| Intent::Move {
        vnodes,
        from: id("a"),
        to: id("b"),
    };
    let some = Vnodes::Tokens(vec![tokens[3], tokens[0], tokens[3]]);
    let plan = Plan::try_new(&before, &of(some)).unwrap();
    assert_eq!(plan.legs[0][0].vnodes, [tokens[0], tokens[3]]);
    let plan = Plan::try_new(&before, &of(Vnodes::Count(4))).unwrap();
    let spread = [tokens[0], tokens[2], tokens[4], tokens[6]];
    assert_eq!(plan.legs[0][0].vnodes, spread);
    let all = Plan::try_new(&before, &of(Vnodes::Count(8))).unwrap();
    assert_eq!(all.legs[0][0].ranges.iter().count(), 1);
}

#[test]
fn a_plans_id_is_that_of_its_moves_and_its_ring() {
    let shards = [("a", 16, 1), ("b", 16, 1), ("c", 0, 1)];
    let intent = Intent::AddShard { shard: id("c") };
    let id_of = |snapshot: &Snapshot| Plan::try_new(snapshot, &intent).unwrap().id;
    let first = snapshot(&shards);
    let plan = id_of(&first);
    // Another epoch, and another shard's replicas, do not concern it.
    let mut parts_now = parts(&shards);
    let mut changed = shard("a", 16, 1);
    changed.replicas = vec![Endpoint::try_new("postgres://a2/app").unwrap()];
    parts_now.put_shard(changed);
    let same = Snapshot::try_new(Epoch(99), parts_now).unwrap();
    assert_eq!(id_of(&same), plan);
    let moved = after(
        &first,
        &Plan::try_new(&first, &split("a", &[("b", 1)])).unwrap(),
    );
    assert_ne!(id_of(&moved), plan);
    assert_eq!(PlanId::parse(plan.as_str()), Some(plan));
    assert_eq!(PlanId::parse("0123"), None);
}

#[test]
fn what_is_not_possible_is_refused_with_its_reason() {
    let mut parts = parts(&[("a", 8, 1), ("b", 8, 1), ("c", 0, 1), ("one", 1, 1)]);
    let mut off = shard("off", 8, 1);
    off.state = ShardState::Draining;
    parts.put_shard(off);
    let now = Snapshot::try_new(Epoch(1), parts).unwrap();
    let merge = |sources: &[&str], target: &str| Intent::Merge {
        sources: sources.iter().map(|name| id(name)).collect(),
        target: id(target),
    };
    let give = |vnodes, from: &str, to: &str| Intent::Move {
        vnodes,
        from: id(from),
        to: id(to),
    };
    let cases = [
        (split("x", &[("b", 1)]), "shard x does not exist"),
        (split("a", &[("x", 1)]), "shard x does not exist"),
        (split("c", &[("b", 1)]), "shard c owns no vnodes"),
        (
            split("a", &[("a", 1)]),
            "both the source and the only target",
        ),
        (split("a", &[]), "no target is named"),
        (split("a", &[("b", 1), ("b", 1)]), "shard b is named twice"),
        (split("a", &[("off", 1)]), "shard off is draining"),
        (
            split("one", &[("b", 1), ("c", 1)]),
            "the 1 vnodes of shard one cannot be divided",
        ),
        (merge(&["a"], "a"), "both the source"),
        (merge(&[], "a"), "no source is named"),
        (merge(&["a", "c"], "b"), "shard c owns no vnodes"),
        (give(Vnodes::Count(9), "a", "b"), "owns 8 vnodes, 9 cannot"),
        (give(Vnodes::Count(0), "a", "b"), "nothing is to be moved"),
        (
            give(Vnodes::Tokens(vec![Token(5)]), "a", "b"),
            "owns no vnode 00000005, which is 5 in decimal",
        ),
        (give(Vnodes::Count(1), "a", "a"), "both the source"),
        (Intent::Drain { shard: id("c") }, "shard c owns no vnodes"),
        (
            Intent::AddShard { shard: id("off") },
            "shard off is draining",
        ),
        (
            Intent::AddShard { shard: id("a") },
            "has its fair share already",
        ),
    ];
    for (intent, text) in cases {
        let error = Plan::try_new(&now, &intent).unwrap_err().to_string();
        assert!(error.contains(text), "{intent:?}: {error}");
    }
    let alone = snapshot(&[("a", 8, 1)]);
    let drain = Intent::Drain { shard: id("a") };
    let error = Plan::try_new(&alone, &drain).unwrap_err();
    assert!(error.to_string().contains("no other active shard"));
    let empty = snapshot(&[("a", 0, 1)]);
    assert_eq!(Plan::try_new(&empty, &drain).unwrap_err(), Error::RingEmpty);
}

#[test]
fn a_plan_of_the_largest_size_fits_into_a_record() {
    let tokens: Vec<_> = (0..MAX_VNODES).collect();
    let flow = Flow {
        from: id("a"),
        to: id("b"),
        ranges: crate::reshard::flow::Ranges::new(vec![
            topology::records::TokenRange {
                after: Token(u32::MAX - 1),
                last: Token(u32::MAX),
            };
            tokens.len()
        ]),
        vnodes: vec![Token(u32::MAX); tokens.len()],
    };
    let bytes = serde_json::to_vec(&flow).unwrap().len();
    assert!(bytes < topology::store::MAX_REQUEST_BYTES / 2, "{bytes}");
}
