//! A copy whose leaders die, pause and go on at any place (docs/decisions/0017): one table of two
//! ranges of blocks, clients whose updates bring rows from one range to the other, a slot, a mirror
//! with its book, and three managers that lead one after the other. `Safeguard` names what can be
//! taken away.

use std::collections::BTreeSet;

use stateright::{Model, Property};

const MANAGERS: usize = 3;
const RANGES: [u8; 2] = [0, 1];

/// A part of the copy whose absence must lose a row, or store it twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Safeguard {
    /// A range is entered in the book by the transaction that stores its rows.
    Book,
    /// A shard refuses a manager whose term is over.
    Term,
    /// A copy goes on in the snapshot that it was begun with, or not at all.
    Snapshot,
    /// What was copied is removed before another copy begins.
    Discard,
}

/// What is explored.
#[derive(Debug, Clone)]
pub(crate) struct Copying {
    /// What is taken away; nothing in the real protocol.
    pub(crate) without: Option<Safeguard>,
    /// Updates that clients make.
    pub(crate) writes: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Row {
    range: u8,
    version: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Snapshot {
    attempt: u8,
    rows: [Row; 2],
    position: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Standing {
    /// Not elected yet; it may keep a snapshot.
    Waiting,
    /// At work; perhaps its lease is long gone.
    Working,
    /// Dead, or it learned that it is deposed.
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    RaiseTerm,
    /// Takes back what managers were told of an earlier copy, unless that can go on.
    Release,
    /// Removes what an earlier copy left.
    Discard,
    TakeSnapshot,
    /// Tells the other managers of the snapshot.
    Announce,
    Store,
    /// Without [`Safeguard::Book`]: the entry of rows that are stored.
    Enter(u8),
    Record,
    Follow,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Manager {
    standing: Standing,
    step: Step,
    kept: Option<Snapshot>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct State {
    owner: [Row; 2],
    /// The row of each update.
    log: Vec<u8>,
    /// Where the stream will begin.
    slot: Option<usize>,
    /// Row and version.
    mirror: Vec<(u8, u8)>,
    book: BTreeSet<(u8, u8)>,
    term: usize,
    leader: usize,
    /// The copy that managers are told of.
    running: Option<u8>,
    attempts: u8,
    /// How much of the log the mirror has, once it follows.
    applied: Option<usize>,
    /// An update met no row, or several.
    conflict: bool,
    resumed: bool,
    managers: [Manager; MANAGERS],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    Update(u8),
    Keep(usize),
    NextIsElected,
    Dies(usize),
    Does(usize),
    Stores(usize, u8),
    StreamApplies,
}

impl State {
    fn manager(&self, at: usize) -> Option<&Manager> {
        self.managers.get(at)
    }

    fn manager_mut(&mut self, at: usize) -> Option<&mut Manager> {
        self.managers.get_mut(at)
    }

    /// The snapshot of the copy that is told of, if somebody still has it.
    fn shared_snapshot(&self) -> Option<&Snapshot> {
        let running = self.running?;
        let kept = self.managers.iter().filter_map(|it| it.kept.as_ref());
        kept.into_iter().find(|kept| kept.attempt == running)
    }

    fn can_resume(&self, at: usize) -> bool {
        let kept = self.manager(at).and_then(|it| it.kept.as_ref());
        kept.is_some_and(|kept| {
            self.running == Some(kept.attempt) && self.slot == Some(kept.position)
        })
    }

    /// Makes the slot, and with it a snapshot.
    fn take_snapshot(&mut self, at: usize, attempt: u8) {
        let (rows, position) = (self.owner, self.log.len());
        self.slot = Some(position);
        if let Some(manager) = self.manager_mut(at) {
            manager.kept = Some(Snapshot {
                attempt,
                rows,
                position,
            });
        }
    }

    /// A manager's next step, or its end.
    fn go_on(&mut self, at: usize, next: Option<Step>) {
        if let Some(manager) = self.manager_mut(at) {
            match next {
                Some(step) => manager.step = step,
                None => manager.standing = Standing::Gone,
            }
        }
    }

    fn is_done(&self) -> bool {
        self.applied == Some(self.log.len())
    }

    fn is_whole(&self) -> bool {
        let owner = (0..).zip(self.owner.iter().map(|row| row.version));
        let mut mirror = self.mirror.clone();
        mirror.sort_unstable();
        owner.eq(mirror)
    }

    /// The next update of the log: it meets one row, or it is a conflict.
    fn apply(&mut self, at: usize) {
        let Some(row) = self.log.get(at).copied() else {
            return;
        };
        let version = self.log.iter().take(at + 1).filter(|it| **it == row);
        let version = u8::try_from(version.count()).unwrap_or(u8::MAX);
        let mut met = self.mirror.iter_mut().filter(|it| it.0 == row);
        match (met.next(), met.next()) {
            (Some(one), None) => one.1 = version,
            (_, _) => self.conflict = true,
        }
        self.applied = Some(at + 1);
    }
}

impl Copying {
    fn has(&self, safeguard: Safeguard) -> bool {
        self.without != Some(safeguard)
    }

    fn is_let_in(&self, state: &State, at: usize) -> bool {
        state.term == at || !self.has(Safeguard::Term)
    }

    fn does(&self, state: &mut State, at: usize) {
        let Some(manager) = state.manager(at).cloned() else {
            return;
        };
        let (leads, is_let_in) = (state.leader == at, self.is_let_in(state, at));
        let next = match manager.step {
            Step::RaiseTerm if state.term <= at => {
                state.term = at;
                Some(Step::Release)
            }
            Step::Release if state.can_resume(at) => {
                state.resumed = true;
                Some(Step::Store)
            }
            Step::Release if !self.has(Safeguard::Snapshot) && state.running.is_some() => {
                // The ranges that are left, as they are now.
                let attempt = state.running.unwrap_or_default();
                state.take_snapshot(at, attempt);
                Some(Step::Store)
            }
            Step::Release if leads || state.running.is_none() => {
                state.running = None;
                Some(Step::Discard)
            }
            Step::Discard if is_let_in => {
                state.slot = None;
                if self.has(Safeguard::Discard) {
                    state.mirror.clear();
                    state.book.clear();
                }
                Some(Step::TakeSnapshot)
            }
            // Nothing guards the slot against who comes too late but its name.
            Step::TakeSnapshot if state.slot.is_some() => Some(Step::Release),
            Step::TakeSnapshot => {
                state.attempts += 1;
                state.take_snapshot(at, state.attempts);
                Some(Step::Announce)
            }
            Step::Announce => {
                // Refused, it goes on all the same: nobody else can, then.
                if leads {
                    state.running = manager.kept.map(|kept| kept.attempt);
                }
                Some(Step::Store)
            }
            Step::Enter(range) if is_let_in => {
                let attempt = manager.kept.map(|kept| kept.attempt);
                state.book.extend(attempt.map(|attempt| (attempt, range)));
                Some(Step::Store)
            }
            Step::Store => Some(Step::Record),
            Step::Record if leads => {
                state.applied = state.slot;
                Some(Step::Follow)
            }
            Step::RaiseTerm
            | Step::Release
            | Step::Discard
            | Step::Enter(_)
            | Step::Record
            | Step::Follow => None,
        };
        state.go_on(at, next);
    }

    fn store(&self, state: &mut State, at: usize, range: u8) {
        let kept = state.manager(at).and_then(|it| it.kept.clone());
        let Some(kept) = kept.filter(|_| self.is_let_in(state, at)) else {
            return state.go_on(at, None);
        };
        let rows = (0..).zip(kept.rows).filter(|(_, row)| row.range == range);
        state.mirror.extend(rows.map(|(at, row)| (at, row.version)));
        if self.has(Safeguard::Book) {
            state.book.insert((kept.attempt, range));
        } else {
            state.go_on(at, Some(Step::Enter(range)));
        }
    }

    /// The ranges that a manager has yet to store.
    fn left(state: &State, manager: &Manager) -> Vec<u8> {
        let attempt = manager.kept.as_ref().map(|kept| kept.attempt);
        let lacks = |range: &u8| attempt.is_some_and(|it| !state.book.contains(&(it, *range)));
        RANGES.into_iter().filter(lacks).collect()
    }
}

impl Model for Copying {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let manager = |standing| Manager {
            standing,
            step: Step::RaiseTerm,
            kept: None,
        };
        vec![State {
            owner: RANGES.map(|range| Row { range, version: 0 }),
            log: Vec::new(),
            slot: None,
            mirror: Vec::new(),
            book: BTreeSet::new(),
            term: 0,
            leader: 0,
            running: None,
            attempts: 0,
            applied: None,
            conflict: false,
            resumed: false,
            managers: [
                manager(Standing::Working),
                manager(Standing::Waiting),
                manager(Standing::Waiting),
            ],
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.log.len() < self.writes {
            actions.extend([Action::Update(0), Action::Update(1)]);
        }
        if state.leader + 1 < MANAGERS {
            actions.push(Action::NextIsElected);
        }
        if state.applied.is_some_and(|at| at < state.log.len()) {
            actions.push(Action::StreamApplies);
        }
        for (at, manager) in state.managers.iter().enumerate() {
            match (manager.standing, manager.step) {
                (Standing::Waiting, _) => actions.push(Action::Keep(at)),
                (Standing::Working, Step::Follow) | (Standing::Gone, _) => {}
                (Standing::Working, step) => {
                    actions.push(Action::Dies(at));
                    let left = Self::left(state, manager);
                    if step != Step::Store || left.is_empty() {
                        actions.push(Action::Does(at));
                    } else {
                        actions.extend(left.into_iter().map(|range| Action::Stores(at, range)));
                    }
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Update(row) => {
                let found = state.owner.get_mut(usize::from(row))?;
                found.version += 1;
                found.range = 1 - found.range;
                state.log.push(row);
            }
            Action::Keep(at) => {
                let kept = state.shared_snapshot().cloned();
                let manager = state.manager_mut(at)?;
                manager.kept = kept.or(manager.kept.take());
            }
            Action::NextIsElected => {
                state.leader += 1;
                let follows = state.applied.is_some();
                let manager = state.manager_mut(last.leader + 1)?;
                manager.standing = Standing::Working;
                if follows {
                    manager.step = Step::Follow;
                }
            }
            Action::Dies(at) => {
                let manager = state.manager_mut(at)?;
                manager.standing = Standing::Gone;
                manager.kept = None;
            }
            Action::Does(at) => self.does(&mut state, at),
            Action::Stores(at, range) => self.store(&mut state, at, range),
            Action::StreamApplies => {
                let at = state.applied?;
                state.apply(at);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(super::ONCE, |_, state: &State| {
                !state.conflict && (!state.is_done() || state.is_whole())
            }),
            Property::sometimes("a copy goes on after its leader", |_, state: &State| {
                state.resumed && state.is_done() && !state.log.is_empty()
            }),
            Property::sometimes("a copy begins anew", |_, state: &State| {
                state.attempts > 1 && state.is_done()
            }),
        ]
    }
}
