//! Every order of events that a small world allows, explored over the machine that runs in
//! production: the owner always has every acknowledged write. And with each protection taken away,
//! the search finds a write that is lost, which shows that it can.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that finds no trace ends, and what was explored is worth being told"
)]

mod copying;
mod fate;
mod system;

use copying::{Copying, Safeguard};
use fate::Fate;
use stateright::{Checker, Model};
use system::{Action, Protection, World};

/// Histories of a simulation.
const SEEDS: u64 = 100;

const ONCE: &str = "the mirror has each row once, as its owner has it";

const LOST: &str = "the owner has every acknowledged write";

fn world(without: Option<Protection>) -> World {
    World {
        without,
        writes: 2,
        routers: 2,
        max_records: 4,
        asks: true,
    }
}

#[test]
fn no_acknowledged_write_is_lost_in_any_order_of_events() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let checker = world(None).checker().threads(threads).spawn_bfs().join();
    println!(
        "{} states, {} distinct, depth {}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth()
    );
    checker.assert_properties();
    assert!(
        checker.unique_state_count() >= 1_000_000,
        "the world has become too small"
    );
}

/// Far longer histories than can be explored in full: many cutovers there and back, more routers
/// and writes, each choice made by a seed. The number of states, or the actions that lost a write.
fn simulate(without: Option<Protection>, seed: u64) -> Result<usize, Vec<Action>> {
    let large = World {
        without,
        writes: 40,
        routers: 4,
        max_records: 60,
        asks: true,
    };
    let checker = large.checker().target_state_count(5_000);
    let checker = checker.spawn_simulation(seed, Fate).join();
    match checker.discovery(LOST) {
        Some(trace) => Err(trace.into_actions()),
        None => Ok(checker.state_count()),
    }
}

#[test]
fn no_acknowledged_write_is_lost_in_long_histories() {
    let mut states = 0;
    for seed in 0..SEEDS {
        match simulate(None, seed) {
            Ok(explored) => states += explored,
            Err(actions) => panic!("seed {seed}: {actions:?}"),
        }
    }
    println!("{states} states of {SEEDS} histories");
}

/// A simulation that never finds anything would prove nothing.
#[test]
fn long_histories_without_a_protection_lose_a_write() {
    for without in [Protection::Guard, Protection::Drain, Protection::Compare] {
        let lost = (0..SEEDS).filter(|seed| simulate(Some(without), *seed).is_err());
        let lost = lost.count();
        println!("without {without:?}: {lost} of {SEEDS} histories lose a write");
        assert!(lost > 0, "without {without:?} nothing was lost");
    }
}

fn loses_a_write_without(protection: Protection) {
    let checker = world(Some(protection)).checker().spawn_bfs().join();
    let trace = checker.discovery(LOST);
    let trace = trace.unwrap_or_else(|| panic!("without {protection:?} nothing was lost"));
    println!("without {protection:?}: {:?}", trace.into_actions());
}

#[test]
fn without_the_guard_a_write_is_lost() {
    loses_a_write_without(Protection::Guard);
}

#[test]
fn without_the_term_a_write_is_lost() {
    loses_a_write_without(Protection::Term);
}

#[test]
fn without_the_drain_a_write_is_lost() {
    loses_a_write_without(Protection::Drain);
}

#[test]
fn without_the_stores_compares_a_write_is_lost() {
    loses_a_write_without(Protection::Compare);
}

#[test]
fn with_the_position_read_before_the_fence_a_write_is_lost() {
    loses_a_write_without(Protection::PositionAfterFence);
}

#[test]
fn with_guards_dropped_before_the_routers_know_a_write_is_lost() {
    loses_a_write_without(Protection::Horizon);
}

fn copying(without: Option<Safeguard>) -> Copying {
    Copying { without, writes: 2 }
}

#[test]
fn a_copy_that_outlives_its_leaders_has_each_row_once() {
    let checker = copying(None).checker().spawn_bfs().join();
    println!("{} distinct states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn a_copy_without_one_of_its_safeguards_is_wrong() {
    for without in [
        Safeguard::Book,
        Safeguard::Term,
        Safeguard::Snapshot,
        Safeguard::Discard,
    ] {
        let checker = copying(Some(without)).checker().spawn_bfs().join();
        let trace = checker.discovery(ONCE);
        let trace = trace.unwrap_or_else(|| panic!("without {without:?} every row was there"));
        println!("without {without:?}: {:?}", trace.into_actions());
    }
}
