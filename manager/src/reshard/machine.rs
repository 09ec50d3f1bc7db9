//! The protocol of one leg, pure: what is recorded, what is done next, and what follows from how
//! that went. No IO, no clock. `driver` does the steps; the model checker explores the same code.
//!
//! ```text
//! Planned --> Copying --> Following(From) <==> Following(To) --> Cleaning(To) --> Done(To)
//!    |           |              |    \          /    |    \
//!    |           |              |     Holding(owner)  |     Severed --> Cleaning(To)
//!    |           |              |      |      |       |
//!    |           |              | Aborting  Opening   |
//!    +-----------+--------------+--> Cleaning(From) --> Done(From)
//! ```
//!
//! A leg is symmetrical. One side owns the moving tokens; the other, the mirror, is fed by a
//! stream and closed to clients. A cutover makes the mirror the owner, whichever way it goes.
//!
//! What is recorded is intent; what the fences and gates on the shards say is evidence. A leader
//! that finds `Holding` recorded trusts neither: it aborts and tries again.

use serde::{Deserialize, Serialize};

#[cfg(test)]
mod tests;

/// One of the two sides of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// Where the rows are before the job.
    From,
    /// Where the job takes them.
    To,
}

impl Side {
    /// The other side.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::From => Self::To,
            Self::To => Self::From,
        }
    }
}

/// What is recorded of a leg: all that a new leader goes by. The side is always the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "phase", content = "owner", rename_all = "lowercase")]
pub enum Phase {
    /// Nothing has been done that a repetition would not do over.
    Planned,
    /// Guards stand, open on the owner and closed on the mirror; rows are being copied.
    Copying,
    /// The mirror holds all rows of a moment and follows the owner's changes.
    Following(Side),
    /// Routers hold the moving tokens. The owner may be fenced, the mirror may be open.
    Holding(Side),
    /// The cutover is being taken back; routers still hold.
    Aborting(Side),
    /// The owner has changed back and is being opened; routers still hold.
    Opening(Side),
    /// `To` owns, and the mirror is given up: there is no way back.
    Severed,
    /// The mirror's rows, the streams and the guards are being removed.
    Cleaning(Side),
    /// Nothing is left of the leg on any shard.
    Done(Side),
}

impl Phase {
    /// Who owns the moving tokens.
    #[must_use]
    pub fn owner(self) -> Side {
        match self {
            Self::Planned | Self::Copying => Side::From,
            Self::Severed => Side::To,
            Self::Following(owner)
            | Self::Holding(owner)
            | Self::Aborting(owner)
            | Self::Opening(owner)
            | Self::Cleaning(owner)
            | Self::Done(owner) => owner,
        }
    }

    /// Whether routers are told to hold the moving tokens.
    #[must_use]
    pub fn is_held(self) -> bool {
        match self {
            Self::Holding(_) | Self::Aborting(_) | Self::Opening(_) => true,
            Self::Planned
            | Self::Copying
            | Self::Following(_)
            | Self::Severed
            | Self::Cleaning(_)
            | Self::Done(_) => false,
        }
    }

    /// Whether the leg is over.
    #[must_use]
    pub fn is_done(self) -> bool {
        match self {
            Self::Done(_) => true,
            Self::Planned
            | Self::Copying
            | Self::Following(_)
            | Self::Holding(_)
            | Self::Aborting(_)
            | Self::Opening(_)
            | Self::Severed
            | Self::Cleaning(_) => false,
        }
    }
}

/// What the operator wants of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Goal {
    /// `To` shall own, and `From` follow as its mirror.
    Move,
    /// `From` shall own, and nothing else be left.
    Back,
    /// The present owner stays, and nothing else is left.
    Finish,
}

impl Goal {
    /// Whether an owner is the one that is wanted.
    fn is_met_by(self, owner: Side) -> bool {
        match self {
            Self::Move => owner == Side::To,
            Self::Back => owner == Side::From,
            Self::Finish => true,
        }
    }

    /// Whether a mirror is of use once the wanted side owns.
    fn keeps_mirror(self) -> bool {
        match self {
            Self::Move => true,
            Self::Back | Self::Finish => false,
        }
    }
}

/// What is done at the moment. Each step may be done again from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Ends what earlier leaders left running on the shards, and raises the term there.
    RaiseTerm,
    /// Finds reasons not to begin.
    Preflight,
    /// Makes the mirror's tables, the guards and the publications.
    Prepare,
    /// Drops the stream and removes the moving rows from the mirror, unless the copy can go on.
    Discard,
    /// Copies the rows of one snapshot, from which a stream can go on.
    Copy,
    /// Runs the streams until the mirror is close behind.
    Follow,
    /// Compares both sides as of one position.
    Verify,
    /// Runs the streams; nothing else is wanted.
    Stay,
    /// Gives routers a moment to say that they hold.
    AwaitAcks,
    /// Fences the owner: after it no client commits there on moving rows.
    Fence,
    /// Waits until the mirror has all that the owner committed before its fence.
    Drain,
    /// Opens the mirror to clients.
    Open,
    /// Closes the mirror to clients.
    Close,
    /// Opens the owner to clients.
    Unfence,
    /// As [`Self::Close`], while the store is away.
    CloseUnrecorded,
    /// As [`Self::Unfence`], while the store is away.
    UnfenceUnrecorded,
    /// Ends the streams and drops slots, origins and publications.
    StopStreams,
    /// Does nothing until something else is wanted.
    Halt,
    /// Removes the mirror's moving rows.
    Remove,
    /// Waits until no router can still route by the topology before the last flip.
    AwaitRouters,
    /// Removes the guards.
    DropGuards,
    /// Makes a phase the recorded one, with what it means for the topology.
    Record(Phase),
    /// Waits a while before the phase's work is begun anew.
    Rest,
    /// Nothing is left to do.
    End,
}

/// What happened to the present step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// It was done.
    Done,
    /// It was not done in time, or may do better another time. A record was certainly not written.
    Failed,
    /// It cannot be done, however often it is tried.
    Refused,
    /// The operator wants something else.
    Asked(Goal),
}

/// A leg in the hands of one leader. Whatever is not in `phase` is lost with the leader.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Machine {
    phase: Phase,
    step: Step,
    goal: Goal,
    /// Set when the flip is sent, cleared when an abort is recorded. While it is set, the owner is
    /// not opened without a record, since the flip might have been made.
    flip_tried: bool,
}

impl Machine {
    /// A leg as a new leader finds it.
    #[must_use]
    pub fn recovered(phase: Phase, goal: Goal) -> Self {
        let step = if phase.is_done() {
            Step::End
        } else {
            Step::RaiseTerm
        };
        // A predecessor may have sent the flip. The record says that it was not made so far, and
        // it will not be made once this leader has recorded anything.
        Self {
            phase,
            step,
            goal,
            flip_tried: true,
        }
    }

    /// What is recorded.
    #[must_use]
    pub fn phase(self) -> Phase {
        self.phase
    }

    /// What is to be done now.
    #[must_use]
    pub fn step(self) -> Step {
        self.step
    }

    /// What is wanted.
    #[must_use]
    pub fn goal(self) -> Goal {
        self.goal
    }

    /// What follows from an event.
    #[must_use]
    pub fn on(self, event: Event) -> Self {
        match event {
            Event::Done => self.after_success(),
            Event::Failed => self.after_failure(),
            Event::Refused => self.after_refusal(),
            Event::Asked(goal) => self.asked(goal),
        }
    }

    fn doing(self, step: Step) -> Self {
        let flip_tried = self.flip_tried || step == Step::Record(self.flipped());
        Self {
            step,
            flip_tried,
            ..self
        }
    }

    /// The phase that makes the mirror the owner.
    ///
    /// No router was ever told that `To` owns before the first flip, so that it can be open by
    /// then. On the way back a router that slept through the first flip would write to `From` as
    /// soon as it opens, and the write would be lost if the flip were not made after that: there
    /// the flip comes first, and the hold stays until the owner is open.
    fn flipped(self) -> Phase {
        match self.phase.owner() {
            Side::From => Phase::Following(Side::To),
            Side::To => Phase::Opening(Side::From),
        }
    }

    /// The first step of the present phase.
    fn begin(self) -> Self {
        let step = match self.phase {
            Phase::Planned if self.goal == Goal::Move => Step::Preflight,
            Phase::Copying if self.goal == Goal::Move => Step::Discard,
            Phase::Planned | Phase::Copying => Step::Record(Phase::Cleaning(Side::From)),
            Phase::Following(owner) if self.is_settled() => Step::Record(Phase::Cleaning(owner)),
            Phase::Following(_) => Step::Follow,
            Phase::Holding(owner) => Step::Record(Phase::Aborting(owner)),
            Phase::Aborting(_) => Step::Close,
            Phase::Opening(_) => Step::Unfence,
            Phase::Severed if self.is_settled() => Step::Record(Phase::Cleaning(Side::To)),
            Phase::Severed | Phase::Cleaning(_) => Step::StopStreams,
            Phase::Done(_) => Step::End,
        };
        self.doing(step)
    }

    /// Whether the wanted side owns and no mirror is wanted.
    fn is_settled(self) -> bool {
        self.goal.is_met_by(self.phase.owner()) && !self.goal.keeps_mirror()
    }

    fn after_success(self) -> Self {
        let owner = self.phase.owner();
        let next = match self.step {
            Step::RaiseTerm | Step::Rest => return self.begin(),
            Step::Record(phase) => return self.recorded(phase),
            Step::Preflight => Step::Prepare,
            Step::Prepare => Step::Record(Phase::Copying),
            Step::Discard => Step::Copy,
            Step::Copy => Step::Record(Phase::Following(Side::From)),
            Step::Follow if self.goal.is_met_by(owner) => Step::Stay,
            Step::Follow => Step::Verify,
            Step::Verify => Step::Record(Phase::Holding(owner)),
            Step::AwaitAcks => Step::Fence,
            Step::Fence => Step::Drain,
            Step::Drain if owner == Side::To => Step::Record(self.flipped()),
            Step::Drain => Step::Open,
            Step::Open => Step::Record(self.flipped()),
            Step::Close => Step::Unfence,
            Step::Unfence => Step::Record(Phase::Following(owner)),
            Step::CloseUnrecorded => Step::UnfenceUnrecorded,
            Step::UnfenceUnrecorded => Step::Record(Phase::Aborting(owner)),
            Step::StopStreams if self.phase == Phase::Severed => Step::Halt,
            Step::StopStreams => Step::Remove,
            Step::Remove => Step::AwaitRouters,
            Step::AwaitRouters => Step::DropGuards,
            Step::DropGuards => Step::Record(Phase::Done(owner)),
            // These only end by being asked for something else, or not at all.
            Step::Stay | Step::Halt | Step::End => self.step,
        };
        self.doing(next)
    }

    fn recorded(self, phase: Phase) -> Self {
        let was = self.phase;
        let machine = Self {
            phase,
            flip_tried: false,
            ..self
        };
        match (was, phase) {
            // Wanted otherwise while this was being recorded: nothing has been fenced yet.
            (_, Phase::Holding(owner)) if self.goal.is_met_by(owner) => machine.begin(),
            (_, Phase::Holding(_)) => machine.doing(Step::AwaitAcks),
            (Phase::Aborting(_), Phase::Following(_)) => machine.doing(Step::Rest),
            (_, _) => machine.begin(),
        }
    }

    fn after_failure(self) -> Self {
        match (self.phase, self.step) {
            (Phase::Holding(_), Step::Record(Phase::Aborting(_))) if !self.flip_tried => {
                // The store is away. What is fenced can be opened without it, as long as no flip
                // was sent that may still be made (RESHARDING 3.3, local abort valve).
                self.doing(Step::CloseUnrecorded)
            }
            (Phase::Holding(owner), _) => self.doing(Step::Record(Phase::Aborting(owner))),
            (_, Step::Stay | Step::Halt | Step::End) => self.begin(),
            (_, Step::RaiseTerm) => self,
            (
                Phase::Planned
                | Phase::Copying
                | Phase::Following(_)
                | Phase::Aborting(_)
                | Phase::Opening(_)
                | Phase::Severed
                | Phase::Cleaning(_)
                | Phase::Done(_),
                _,
            ) => self.doing(Step::Rest),
        }
    }

    fn after_refusal(self) -> Self {
        match self.phase {
            Phase::Planned | Phase::Copying | Phase::Following(Side::From) => {
                let goal = Goal::Back;
                Self { goal, ..self }.begin()
            }
            Phase::Following(Side::To) => self.doing(Step::Record(Phase::Severed)),
            Phase::Holding(_)
            | Phase::Aborting(_)
            | Phase::Opening(_)
            | Phase::Severed
            | Phase::Cleaning(_)
            | Phase::Done(_) => self.after_failure(),
        }
    }

    fn asked(self, goal: Goal) -> Self {
        // A leg is never asked to move again once it was asked for something else: what `flipped`
        // says of routers would not hold.
        if goal == Goal::Move {
            return self;
        }
        let machine = Self { goal, ..self };
        match self.step {
            // What changes the record, and the term, is never left midway.
            Step::Record(_) | Step::RaiseTerm => return machine,
            Step::Preflight
            | Step::Prepare
            | Step::Discard
            | Step::Copy
            | Step::Follow
            | Step::Verify
            | Step::Stay
            | Step::AwaitAcks
            | Step::Fence
            | Step::Drain
            | Step::Open
            | Step::Close
            | Step::Unfence
            | Step::CloseUnrecorded
            | Step::UnfenceUnrecorded
            | Step::StopStreams
            | Step::Halt
            | Step::Remove
            | Step::AwaitRouters
            | Step::DropGuards
            | Step::Rest
            | Step::End => {}
        }
        match self.phase {
            Phase::Planned | Phase::Copying | Phase::Following(_) | Phase::Severed => {
                machine.begin()
            }
            // A cutover goes on to its end, one way or the other; then it is looked at again.
            Phase::Holding(_)
            | Phase::Aborting(_)
            | Phase::Opening(_)
            | Phase::Cleaning(_)
            | Phase::Done(_) => machine,
        }
    }
}
