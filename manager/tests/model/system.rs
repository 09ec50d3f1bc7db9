//! The world around the machine: a store, two shards with guards and terms, stale routers,
//! clients' transactions under way, a stream, and two managers of which the first may be paused at
//! any point and go on later. `Protection` names what can be taken away.

use std::collections::BTreeSet;

use manager::reshard::machine::{Event, Goal, Machine, Phase, Side, Step};
use stateright::{Model, Property};

/// A part of the protocol whose absence must lose a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Protection {
    /// Shards refuse clients' writes on moving rows while their guard is closed.
    Guard,
    /// Shards refuse a manager whose term is over.
    Term,
    /// The mirror is opened only when it has all of the owner's writes.
    Drain,
    /// A record is written only by the leader, and only over what it saw.
    Compare,
    /// The position to drain to is read once the fence stands.
    PositionAfterFence,
    /// Guards are removed only when no router can route by an older topology.
    Horizon,
}

/// What is explored, and how far.
#[derive(Debug, Clone)]
pub(crate) struct World {
    /// What is taken away; nothing in the real protocol.
    pub(crate) without: Option<Protection>,
    /// Writes that clients begin.
    pub(crate) writes: u8,
    /// Routers, each arbitrarily stale.
    pub(crate) routers: usize,
    /// Records after which no new cutover begins.
    pub(crate) max_records: u8,
    /// Whether the operator may want the rows back, and the leg to be finished.
    pub(crate) asks: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Store {
    phase: Phase,
    goal: Goal,
    leader: u8,
    /// The owner after each record: what routers may have seen of the topology.
    owners: Vec<Side>,
}

impl Store {
    fn version(&self) -> u8 {
        u8::try_from(self.owners.len()).unwrap_or(u8::MAX)
    }

    /// From which record on the present owner owns.
    fn last_flip(&self) -> u8 {
        let owner = self.phase.owner();
        let other = self.owners.iter().rposition(|found| *found != owner);
        // The record after the last one of the other owner is the flip; it has to be seen itself.
        other.map_or(0, |at| u8::try_from(at + 2).unwrap_or(u8::MAX))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shard {
    closed: bool,
    term: u8,
    /// Clients' writes committed here, in this order.
    own: Vec<u8>,
    /// How many of the other shard's own writes have been applied here.
    applied: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Standing {
    /// Not elected yet.
    Waiting,
    /// At work; perhaps its lease is long gone.
    Working,
    /// It learned that it is deposed.
    Deposed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Manager {
    standing: Standing,
    machine: Machine,
    /// The version that its records are compared with.
    seen: u8,
    /// Whether the first of the shards has been told its term.
    raised: bool,
    /// Where the stream has to come to.
    marker: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct System {
    store: Store,
    from: Shard,
    to: Shard,
    /// Transactions that wrote, and hold the guard's lock where they did.
    in_flight: BTreeSet<(u8, Side)>,
    begun: u8,
    acknowledged: BTreeSet<u8>,
    routers: Vec<u8>,
    managers: [Manager; 2],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    RouterCatchesUp(usize),
    WriteBegins(usize),
    WriteCommits(u8, Side),
    StreamApplies,
    SecondManagerIsElected,
    StepIsDone(usize),
    StepFails(usize),
    OperatorAsks(Goal),
}

const FIRST_TERM: u8 = 1;

impl World {
    fn has(&self, protection: Protection) -> bool {
        self.without != Some(protection)
    }

    fn can_begin(&self, system: &System, router: usize) -> bool {
        let open = system
            .view(router)
            .is_some_and(|owner| !system.shard(owner).closed);
        system.begun < self.writes && (open || !self.has(Protection::Guard))
    }

    /// Whether a step's conditions hold, so that it can be done now.
    fn can_be_done(&self, system: &System, manager: &Manager) -> bool {
        let owner = manager.machine.phase().owner();
        let is_marked = manager.marker.is_some();
        let mirror = system.shard(owner.other());
        match manager.machine.step() {
            Step::Stay | Step::Halt | Step::End => false,
            Step::Record(Phase::Holding(_)) => system.store.version() < self.max_records,
            // The exclusive lock is granted when nobody holds the shared one. A position that is
            // read before needs no lock.
            Step::Fence => {
                let early = !self.has(Protection::PositionAfterFence) && !is_marked;
                let free = system.in_flight.iter().all(|(_, side)| *side != owner);
                early || free || !self.has(Protection::Guard)
            }
            Step::Drain => {
                !self.has(Protection::Drain)
                    || manager.marker.is_none_or(|marker| mirror.applied >= marker)
            }
            Step::AwaitRouters => {
                let horizon = system.store.last_flip();
                !self.has(Protection::Horizon) || system.routers.iter().all(|seen| *seen >= horizon)
            }
            Step::RaiseTerm
            | Step::Preflight
            | Step::Prepare
            | Step::Discard
            | Step::Copy
            | Step::Follow
            | Step::Verify
            | Step::AwaitAcks
            | Step::Open
            | Step::Close
            | Step::Unfence
            | Step::CloseUnrecorded
            | Step::UnfenceUnrecorded
            | Step::StopStreams
            | Step::Remove
            | Step::DropGuards
            | Step::Record(_)
            | Step::Rest => true,
        }
    }

    /// Whether a step may end without having been done.
    fn can_fail(machine: Machine) -> bool {
        match machine.step() {
            Step::AwaitAcks | Step::Fence | Step::Drain | Step::Open => true,
            Step::Record(_) => machine.phase().is_held(),
            _ => false,
        }
    }

    /// Does a manager's step; what becomes of the manager is in its place.
    fn do_step(&self, system: &mut System, at: usize) {
        let Some(mut manager) = system.managers.get(at).copied() else {
            return;
        };
        let term = FIRST_TERM + u8::try_from(at).unwrap_or(u8::MAX);
        let owner = manager.machine.phase().owner();
        let done = match manager.machine.step() {
            Step::RaiseTerm => {
                let side = if manager.raised { Side::To } else { Side::From };
                let ours = self.raise(system.shard_mut(side), term);
                if ours && !manager.raised {
                    manager.raised = true;
                    return system.replace(at, manager);
                }
                ours
            }
            Step::Record(phase) => self.record(system, &mut manager, term, phase),
            Step::Fence => {
                let position = u8::try_from(system.shard(owner).own.len()).unwrap_or(u8::MAX);
                if !self.has(Protection::PositionAfterFence) && manager.marker.is_none() {
                    manager.marker = Some(position);
                    return system.replace(at, manager);
                }
                manager.marker = manager.marker.or(Some(position));
                self.set_closed(system.shard_mut(owner), term, true)
            }
            Step::Open => self.set_closed(system.shard_mut(owner.other()), term, false),
            Step::Close | Step::CloseUnrecorded => {
                self.set_closed(system.shard_mut(owner.other()), term, true)
            }
            Step::Unfence | Step::UnfenceUnrecorded => {
                self.set_closed(system.shard_mut(owner), term, false)
            }
            Step::DropGuards => self.set_closed(system.shard_mut(owner.other()), term, false),
            _ => true,
        };
        if done {
            manager.machine = manager.machine.on(Event::Done);
        } else {
            manager.standing = Standing::Deposed;
        }
        Self::forget(&mut manager);
        system.replace(at, manager);
    }

    fn raise(&self, shard: &mut Shard, term: u8) -> bool {
        let ours = term >= shard.term || !self.has(Protection::Term);
        shard.term = shard.term.max(term);
        ours
    }

    fn set_closed(&self, shard: &mut Shard, term: u8, closed: bool) -> bool {
        let ours = term == shard.term || !self.has(Protection::Term);
        if ours {
            shard.closed = closed;
        }
        ours
    }

    fn record(&self, system: &mut System, manager: &mut Manager, term: u8, phase: Phase) -> bool {
        let store = &mut system.store;
        let ours = store.leader == term && store.version() == manager.seen;
        if ours || !self.has(Protection::Compare) {
            store.phase = phase;
            store.owners.push(phase.owner());
            manager.seen = store.version();
            return true;
        }
        false
    }

    /// A marker belongs to one cutover.
    fn forget(manager: &mut Manager) {
        match manager.machine.step() {
            Step::Fence | Step::Drain => {}
            _ => manager.marker = None,
        }
    }
}

impl System {
    fn shard(&self, side: Side) -> &Shard {
        match side {
            Side::From => &self.from,
            Side::To => &self.to,
        }
    }

    fn shard_mut(&mut self, side: Side) -> &mut Shard {
        match side {
            Side::From => &mut self.from,
            Side::To => &mut self.to,
        }
    }

    fn replace(&mut self, at: usize, manager: Manager) {
        if let Some(place) = self.managers.get_mut(at) {
            *place = manager;
        }
    }

    /// Who owns by what a router has seen.
    fn view(&self, router: usize) -> Option<Side> {
        let seen = *self.routers.get(router)?;
        let last = usize::from(seen).checked_sub(1);
        // Before the first record of this leg the rows are where they were.
        Some(
            last.and_then(|last| self.store.owners.get(last).copied())
                .unwrap_or(Side::From),
        )
    }

    fn stream_can_apply(&self) -> bool {
        let owner = self.store.phase.owner();
        let behind = usize::from(self.shard(owner.other()).applied) < self.shard(owner).own.len();
        let runs = matches!(
            self.store.phase,
            Phase::Following(_) | Phase::Holding(_) | Phase::Aborting(_)
        );
        runs && behind
    }

    /// Whether the owner has every acknowledged write, its own or applied.
    fn has_all(&self) -> bool {
        let owner = self.store.phase.owner();
        let (here, there) = (self.shard(owner), self.shard(owner.other()));
        let applied = there.own.iter().take(usize::from(here.applied));
        let present: BTreeSet<u8> = here.own.iter().chain(applied).copied().collect();
        self.acknowledged.is_subset(&present)
    }

    fn is_over_with_all_writes(&self) -> bool {
        self.store.phase.is_done() && self.acknowledged.len() == usize::from(self.begun)
    }
}

impl Model for World {
    type State = System;
    type Action = Action;

    fn init_states(&self) -> Vec<System> {
        let machine = Machine::recovered(Phase::Following(Side::From), Goal::Move);
        let manager = |standing| Manager {
            standing,
            machine,
            seen: 0,
            raised: false,
            marker: None,
        };
        let shard = |closed| Shard {
            closed,
            term: 0,
            own: Vec::new(),
            applied: 0,
        };
        vec![System {
            store: Store {
                phase: machine.phase(),
                goal: machine.goal(),
                leader: FIRST_TERM,
                owners: Vec::new(),
            },
            from: shard(false),
            to: shard(true),
            in_flight: BTreeSet::new(),
            begun: 0,
            acknowledged: BTreeSet::new(),
            routers: vec![0; self.routers],
            managers: [manager(Standing::Working), manager(Standing::Waiting)],
        }]
    }

    fn actions(&self, system: &System, actions: &mut Vec<Action>) {
        for (router, seen) in system.routers.iter().enumerate() {
            if *seen < system.store.version() {
                actions.push(Action::RouterCatchesUp(router));
            }
            if self.can_begin(system, router) {
                actions.push(Action::WriteBegins(router));
            }
        }
        let commits = system.in_flight.iter();
        actions.extend(commits.map(|(write, side)| Action::WriteCommits(*write, *side)));
        if system.stream_can_apply() {
            actions.push(Action::StreamApplies);
        }
        let [first, second] = &system.managers;
        if second.standing == Standing::Waiting {
            actions.push(Action::SecondManagerIsElected);
        }
        for (at, manager) in [first, second].into_iter().enumerate() {
            if manager.standing != Standing::Working {
                continue;
            }
            if self.can_be_done(system, manager) {
                actions.push(Action::StepIsDone(at));
            }
            if Self::can_fail(manager.machine) {
                actions.push(Action::StepFails(at));
            }
        }
        if self.asks {
            match system.store.goal {
                Goal::Move => {
                    actions.push(Action::OperatorAsks(Goal::Back));
                    if system.store.phase.owner() == Side::To {
                        actions.push(Action::OperatorAsks(Goal::Finish));
                    }
                }
                Goal::Back | Goal::Finish => {}
            }
        }
    }

    fn next_state(&self, last: &System, action: Action) -> Option<System> {
        let mut system = last.clone();
        match action {
            Action::RouterCatchesUp(router) => *system.routers.get_mut(router)? += 1,
            Action::WriteBegins(router) => {
                let side = system.view(router)?;
                system.in_flight.insert((system.begun, side));
                system.begun += 1;
            }
            Action::WriteCommits(write, side) => {
                system.in_flight.remove(&(write, side));
                system.shard_mut(side).own.push(write);
                system.acknowledged.insert(write);
            }
            Action::StreamApplies => {
                let mirror = system.store.phase.owner().other();
                system.shard_mut(mirror).applied += 1;
            }
            Action::SecondManagerIsElected => {
                system.store.leader = FIRST_TERM + 1;
                let machine = Machine::recovered(system.store.phase, system.store.goal);
                let seen = system.store.version();
                let standing = Standing::Working;
                let manager = Manager {
                    standing,
                    machine,
                    seen,
                    raised: false,
                    marker: None,
                };
                system.replace(1, manager);
            }
            Action::StepIsDone(at) => self.do_step(&mut system, at),
            Action::StepFails(at) => {
                let mut manager = *system.managers.get(at)?;
                manager.machine = manager.machine.on(Event::Failed);
                Self::forget(&mut manager);
                system.replace(at, manager);
            }
            Action::OperatorAsks(goal) => {
                system.store.goal = goal;
                for manager in &mut system.managers {
                    if manager.standing == Standing::Working {
                        manager.machine = manager.machine.on(Event::Asked(goal));
                    }
                }
            }
        }
        (system != *last).then_some(system)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "the owner has every acknowledged write",
                |_, system: &System| system.has_all(),
            ),
            Property::sometimes("the rows move", |_, system: &System| {
                system.store.phase == Phase::Following(Side::To) && !system.acknowledged.is_empty()
            }),
            Property::sometimes("a cutover is taken back", |_, system: &System| {
                matches!(system.store.phase, Phase::Aborting(_))
            }),
            Property::sometimes("the leg ends", |_, system: &System| {
                system.is_over_with_all_writes()
            }),
        ]
    }
}
