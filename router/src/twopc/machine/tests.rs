use super::*;

const ANSWERS: [Answer; 3] = [Answer::Done, Answer::Refused, Answer::Lost];

/// What a member's shard may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    Open,
    Prepared,
    Committed,
    RolledBack,
}

/// What a command leaves on the shard, given the answer; a lost answer may mean either.
fn effects(command: Command, held: Held, answer: Answer) -> Vec<Held> {
    let done = match command {
        Command::Release(_) | Command::Decide { .. } | Command::CommitPrepared(_) => {
            Held::Committed
        }
        Command::Prepare(_) => Held::Prepared,
        Command::RollBackPrepared(_) | Command::RollBack(_) => Held::RolledBack,
    };
    let not_done = match command {
        Command::CommitPrepared(_) | Command::RollBackPrepared(_) => held,
        // A refusal, like the end of the connection, rolls an open transaction back.
        Command::Release(_)
        | Command::Decide { .. }
        | Command::Prepare(_)
        | Command::RollBack(_) => Held::RolledBack,
    };
    match answer {
        Answer::Done => vec![done],
        Answer::Refused => vec![not_done],
        Answer::Lost => vec![done, not_done],
    }
}

/// Walks through every order of answers, every answer, and everything that a lost one may mean.
fn explore(
    state: &State,
    waiting: &[Command],
    shards: &[Held],
    visit: &mut impl FnMut(&Verdict, &[Held]),
) {
    if let State::Over(verdict) = state {
        assert!(waiting.is_empty(), "over while {waiting:?} wait");
        visit(verdict, shards);
        return;
    }
    assert!(!waiting.is_empty(), "{state:?} waits for nothing");
    for (at, command) in waiting.iter().enumerate() {
        let member = command.member();
        for answer in ANSWERS {
            for held in effects(*command, shards[member], answer) {
                let mut shards = shards.to_vec();
                shards[member] = held;
                let (after, more) = next(state.clone(), member, answer);
                let mut rest = waiting.to_vec();
                rest.remove(at);
                rest.extend(more);
                explore(&after, &rest, &shards, visit);
            }
        }
    }
}

fn all(wrote: &[bool], mut visit: impl FnMut(&Verdict, &[Held])) -> usize {
    let mut count = 0;
    let (state, commands) = begin(wrote);
    let shards = vec![Held::Open; wrote.len()];
    explore(&state, &commands, &shards, &mut |verdict, shards| {
        count += 1;
        visit(verdict, shards);
    });
    count
}

const CASES: [&[bool]; 7] = [
    &[false, false],
    &[true, false],
    &[false, true],
    &[true, true],
    &[true, true, false],
    &[true, false, true],
    &[true, true, true],
];

#[test]
fn whatever_is_answered_a_verdict_is_never_wrong() {
    let mut walked = 0;
    for wrote in CASES {
        walked += all(wrote, |verdict, shards| {
            let writers: Vec<(Member, Held)> = (0..)
                .zip(shards.iter().copied())
                .filter(|(member, _)| wrote[*member])
                .collect();
            match verdict {
                Verdict::Committed { left } => {
                    for (member, held) in writers {
                        let may_follow = left.contains(&member) && held == Held::Prepared;
                        assert!(held == Held::Committed || may_follow, "{verdict:?} {shards:?}");
                    }
                }
                Verdict::Aborted { left, .. } => {
                    for (member, held) in writers {
                        let may_follow = left.contains(&member) && held == Held::Prepared;
                        assert!(
                            held == Held::RolledBack || may_follow || left.contains(&member),
                            "{verdict:?} {shards:?}"
                        );
                        assert_ne!(held, Held::Committed, "{verdict:?} {shards:?}");
                    }
                }
                Verdict::Unknown { anchor, left } => {
                    for (member, held) in writers {
                        let is_open = left.contains(&member) && held == Held::Prepared;
                        assert!(member == *anchor || is_open, "{verdict:?} {shards:?}");
                    }
                }
            }
        });
    }
    assert!(walked > 1000, "{walked}");
}

#[test]
fn nothing_is_prepared_for_one_writer() {
    for wrote in [&[true][..], &[true, false], &[false, true], &[false]] {
        let (state, commands) = begin(wrote);
        assert!(!commands.iter().any(|it| matches!(it, Command::Prepare(_))));
        let mut waiting = commands;
        let mut state = state;
        while let Some(command) = waiting.pop() {
            let (after, more) = next(state, command.member(), Answer::Done);
            assert!(!more.contains(&Command::Decide { anchor: 0, together: true }));
            waiting.extend(more);
            state = after;
        }
        let left = Vec::new();
        assert_eq!(state, State::Over(Verdict::Committed { left }));
    }
}

#[test]
fn the_anchor_is_asked_only_once_all_others_are_prepared() {
    let (state, commands) = begin(&[true, true, true]);
    assert_eq!(commands, [Command::Prepare(0), Command::Prepare(1)]);
    let (state, commands) = next(state, 1, Answer::Done);
    assert!(commands.is_empty());
    let (state, commands) = next(state, 0, Answer::Done);
    let decide = Command::Decide {
        anchor: 2,
        together: true,
    };
    assert_eq!(commands, [decide]);
    // What nobody waits for changes nothing.
    assert_eq!(next(state.clone(), 0, Answer::Lost), (state, Vec::new()));
}

#[test]
fn a_refused_prepare_rolls_all_others_back() {
    let (state, _) = begin(&[true, true, true]);
    let (state, _) = next(state, 0, Answer::Done);
    let (_, commands) = next(state, 1, Answer::Refused);
    assert_eq!(
        commands,
        [Command::RollBackPrepared(0), Command::RollBack(2)]
    );
}
