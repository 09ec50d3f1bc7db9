//! Pure: the commit of a transaction on several shards, as a total transition function.
//!
//! One of the members that wrote, the anchor, is committed last of those that can still say no,
//! together with a row that says so: its commit is the decision. The other members that wrote are
//! prepared before. Those that only read are committed meanwhile, since nothing depends on them.
//! With one member that wrote, or none, nothing is prepared.

use std::collections::BTreeSet;

/// A member by its place in the caller's list.
pub type Member = usize;

/// What is done on a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// COMMIT of a member that only read.
    Release(Member),
    /// PREPARE TRANSACTION.
    Prepare(Member),
    /// Commit of the anchor; with the decision where members are prepared.
    Decide {
        /// The anchor.
        anchor: Member,
        /// Whether others are prepared.
        together: bool,
    },
    /// COMMIT PREPARED.
    CommitPrepared(Member),
    /// ROLLBACK PREPARED.
    RollBackPrepared(Member),
    /// ROLLBACK.
    RollBack(Member),
}

impl Command {
    /// Where it is done.
    #[must_use]
    pub fn member(self) -> Member {
        match self {
            Self::Release(member)
            | Self::Prepare(member)
            | Self::CommitPrepared(member)
            | Self::RollBackPrepared(member)
            | Self::RollBack(member)
            | Self::Decide { anchor: member, .. } => member,
        }
    }
}

/// What became of a member's last command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done,
    /// The shard said no: it is surely not done.
    Refused,
    /// No answer came: it may be done or not.
    Lost,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Surely committed; on these members perhaps not yet, but they can do nothing else any more.
    Committed {
        /// Left to recovery.
        left: Vec<Member>,
    },
    /// Surely rolled back, or never to be committed.
    Aborted {
        /// The member that failed first.
        cause: Member,
        /// Left to recovery.
        left: Vec<Member>,
    },
    /// The anchor gave no answer: only it knows.
    Unknown {
        /// The anchor.
        anchor: Member,
        /// Left to recovery.
        left: Vec<Member>,
    },
}

/// Where the commit stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Members are prepared, and those that only read are committed.
    Preparing {
        /// None when no member wrote.
        anchor: Option<Member>,
        /// Members that were told to prepare and have not answered.
        preparing: BTreeSet<Member>,
        /// Members that only read and have not answered.
        releasing: BTreeSet<Member>,
        /// Members that are prepared.
        prepared: BTreeSet<Member>,
        /// Members of which that is not known.
        left: Vec<Member>,
        /// The first one that failed.
        cause: Option<Member>,
    },
    /// The anchor commits.
    Deciding {
        /// The anchor.
        anchor: Member,
        /// Members that are prepared.
        prepared: BTreeSet<Member>,
    },
    /// It is committed; prepared members follow.
    Finishing {
        /// Members that have not answered.
        open: BTreeSet<Member>,
        /// Members that follow later.
        left: Vec<Member>,
    },
    /// It is rolled back.
    Undoing {
        /// Members that have not answered.
        open: BTreeSet<Member>,
        /// The first one that failed.
        cause: Member,
        /// Members that are rolled back later.
        left: Vec<Member>,
    },
    /// It is over.
    Over(Verdict),
}

/// Begins the commit of members, each of which wrote or not, and says what to do first.
#[must_use]
pub fn begin(wrote: &[bool]) -> (State, Vec<Command>) {
    let writers = (0..).zip(wrote).filter(|(_, wrote)| **wrote);
    let mut writers: Vec<Member> = writers.map(|(member, _)| member).collect();
    let readers = (0..).zip(wrote).filter(|(_, wrote)| !**wrote);
    let releasing: BTreeSet<Member> = readers.map(|(member, _)| member).collect();
    // The last one: it may have the least to lose by committing alone when nothing is prepared.
    let anchor = writers.pop();
    let preparing: BTreeSet<Member> = writers.into_iter().collect();
    let prepare = preparing.iter().map(|member| Command::Prepare(*member));
    let release = releasing.iter().map(|member| Command::Release(*member));
    let commands: Vec<Command> = prepare.chain(release).collect();
    let state = State::Preparing {
        anchor,
        preparing,
        releasing,
        prepared: BTreeSet::new(),
        left: Vec::new(),
        cause: None,
    };
    if commands.is_empty() {
        return settle(state);
    }
    (state, commands)
}

/// Takes an answer into account; one that nobody waits for changes nothing.
#[must_use]
pub fn next(state: State, member: Member, answer: Answer) -> (State, Vec<Command>) {
    match state {
        State::Preparing {
            anchor,
            mut preparing,
            mut releasing,
            mut prepared,
            mut left,
            mut cause,
        } => {
            let was_preparing = preparing.remove(&member);
            let was_releasing = releasing.remove(&member);
            if was_preparing && answer == Answer::Done {
                prepared.insert(member);
            }
            if was_preparing && answer == Answer::Lost {
                left.push(member);
            }
            if (was_preparing || was_releasing) && answer != Answer::Done {
                cause.get_or_insert(member);
            }
            settle(State::Preparing {
                anchor,
                preparing,
                releasing,
                prepared,
                left,
                cause,
            })
        }
        State::Deciding { anchor, prepared } if member == anchor => match answer {
            Answer::Done => finish(prepared),
            Answer::Refused => undo(Some(anchor), prepared, Vec::new(), anchor),
            Answer::Lost => {
                let left = prepared.into_iter().collect();
                (State::Over(Verdict::Unknown { anchor, left }), Vec::new())
            }
        },
        State::Finishing { mut open, mut left } => {
            if open.remove(&member) && answer != Answer::Done {
                left.push(member);
            }
            let state = if open.is_empty() {
                State::Over(Verdict::Committed { left })
            } else {
                State::Finishing { open, left }
            };
            (state, Vec::new())
        }
        State::Undoing {
            mut open,
            cause,
            mut left,
        } => {
            if open.remove(&member) && answer != Answer::Done {
                left.push(member);
            }
            let state = if open.is_empty() {
                State::Over(Verdict::Aborted { cause, left })
            } else {
                State::Undoing { open, cause, left }
            };
            (state, Vec::new())
        }
        State::Deciding { .. } | State::Over(_) => (state, Vec::new()),
    }
}

/// Goes on once every member has answered.
fn settle(state: State) -> (State, Vec<Command>) {
    let State::Preparing {
        anchor,
        preparing,
        releasing,
        prepared,
        left,
        cause,
    } = state
    else {
        return (state, Vec::new());
    };
    if !(preparing.is_empty() && releasing.is_empty()) {
        let state = State::Preparing {
            anchor,
            preparing,
            releasing,
            prepared,
            left,
            cause,
        };
        return (state, Vec::new());
    }
    match (cause, anchor) {
        (Some(cause), anchor) => undo(anchor, prepared, left, cause),
        (None, None) => finish(BTreeSet::new()),
        (None, Some(anchor)) => {
            let together = !prepared.is_empty();
            let state = State::Deciding { anchor, prepared };
            (state, vec![Command::Decide { anchor, together }])
        }
    }
}

fn finish(prepared: BTreeSet<Member>) -> (State, Vec<Command>) {
    if prepared.is_empty() {
        let left = Vec::new();
        return (State::Over(Verdict::Committed { left }), Vec::new());
    }
    let commands = prepared.iter().map(|m| Command::CommitPrepared(*m));
    let commands = commands.collect();
    let (open, left) = (prepared, Vec::new());
    (State::Finishing { open, left }, commands)
}

fn undo(
    anchor: Option<Member>,
    prepared: BTreeSet<Member>,
    left: Vec<Member>,
    cause: Member,
) -> (State, Vec<Command>) {
    let commands = prepared.iter().map(|m| Command::RollBackPrepared(*m));
    let commands = commands.chain(anchor.map(Command::RollBack)).collect();
    let mut open = prepared;
    open.extend(anchor);
    if open.is_empty() {
        return (State::Over(Verdict::Aborted { cause, left }), Vec::new());
    }
    (State::Undoing { open, cause, left }, commands)
}

#[cfg(test)]
mod tests;
