//! What the machine does, step by step; that it loses nothing is for the model in
//! `manager/tests/model` to show.

use std::collections::HashSet;

use super::*;

const EVENTS: [Event; 6] = [
    Event::Done,
    Event::Failed,
    Event::Refused,
    Event::Asked(Goal::Move),
    Event::Asked(Goal::Back),
    Event::Asked(Goal::Finish),
];

fn follow(machine: Machine, steps: usize) -> (Machine, Vec<Step>) {
    let mut machine = machine;
    let mut done = Vec::new();
    for _ in 0..steps {
        done.push(machine.step());
        machine = machine.on(Event::Done);
    }
    (machine, done)
}

/// Every machine that any events can lead to.
fn reachable() -> HashSet<Machine> {
    let mut found = HashSet::new();
    let mut open = vec![Machine::recovered(Phase::Planned, Goal::Move)];
    while let Some(machine) = open.pop() {
        if found.insert(machine) {
            open.extend(EVENTS.map(|event| machine.on(event)));
            open.push(Machine::recovered(machine.phase(), machine.goal()));
        }
    }
    found
}

#[test]
fn a_leg_without_trouble_goes_to_its_mirror_and_is_cleaned_when_it_is_finished() {
    let machine = Machine::recovered(Phase::Planned, Goal::Move);
    let (machine, done) = follow(machine, 17);
    let expected = [
        Step::RaiseTerm,
        Step::Preflight,
        Step::Prepare,
        Step::Record(Phase::Copying),
        Step::Discard,
        Step::Copy,
        Step::Record(Phase::Following(Side::From)),
        Step::Follow,
        Step::Verify,
        Step::Record(Phase::Holding(Side::From)),
        Step::AwaitAcks,
        Step::Fence,
        Step::Drain,
        Step::Open,
        Step::Record(Phase::Following(Side::To)),
        Step::Follow,
        Step::Stay,
    ];
    assert_eq!(done, expected);
    let (machine, done) = follow(machine.on(Event::Asked(Goal::Finish)), 7);
    let expected = [
        Step::Record(Phase::Cleaning(Side::To)),
        Step::StopStreams,
        Step::Remove,
        Step::AwaitRouters,
        Step::DropGuards,
        Step::Record(Phase::Done(Side::To)),
        Step::End,
    ];
    assert_eq!(done, expected);
    assert_eq!(machine.phase(), Phase::Done(Side::To));
}

#[test]
fn a_rollback_is_the_cutover_the_other_way() {
    let stay = Machine::recovered(Phase::Following(Side::To), Goal::Move);
    let (stay, _) = follow(stay, 2);
    assert_eq!(stay.step(), Step::Stay);
    let (machine, done) = follow(stay.on(Event::Asked(Goal::Back)), 9);
    let expected = [
        Step::Follow,
        Step::Verify,
        Step::Record(Phase::Holding(Side::To)),
        Step::AwaitAcks,
        Step::Fence,
        Step::Drain,
        Step::Record(Phase::Opening(Side::From)),
        Step::Unfence,
        Step::Record(Phase::Following(Side::From)),
    ];
    assert_eq!(done, expected);
    assert_eq!(machine.step(), Step::Record(Phase::Cleaning(Side::From)));
}

#[test]
fn whatever_goes_wrong_in_a_cutover_takes_it_back() {
    for steps in 0..5 {
        for event in [Event::Failed, Event::Refused] {
            let holding = Machine::recovered(Phase::Following(Side::From), Goal::Move);
            let (holding, _) = follow(holding, 4 + steps);
            assert_eq!(holding.phase(), Phase::Holding(Side::From));
            let (machine, done) = follow(holding.on(event), 4);
            let expected = [
                Step::Record(Phase::Aborting(Side::From)),
                Step::Close,
                Step::Unfence,
                Step::Record(Phase::Following(Side::From)),
            ];
            assert_eq!(done, expected, "{:?}", holding.step());
            assert_eq!(machine.step(), Step::Rest);
        }
    }
}

#[test]
fn a_leader_that_finds_a_cutover_under_way_takes_it_back() {
    let (_, done) = follow(
        Machine::recovered(Phase::Holding(Side::From), Goal::Move),
        2,
    );
    assert_eq!(
        done,
        [Step::RaiseTerm, Step::Record(Phase::Aborting(Side::From))]
    );
}

#[test]
fn the_owner_is_opened_without_a_record_only_before_a_flip_was_sent() {
    let (fenced, _) = follow(
        Machine::recovered(Phase::Following(Side::From), Goal::Move),
        6,
    );
    assert_eq!(fenced.step(), Step::Drain);
    let away = fenced.on(Event::Failed).on(Event::Failed);
    assert_eq!(away.step(), Step::CloseUnrecorded);
    let (sent, _) = follow(fenced, 2);
    assert_eq!(sent.step(), Step::Record(Phase::Following(Side::To)));
    let away = sent.on(Event::Failed).on(Event::Failed);
    assert_eq!(away.step(), Step::Record(Phase::Aborting(Side::From)));
}

#[test]
fn a_leg_that_cannot_begin_leaves_nothing() {
    let (preflight, _) = follow(Machine::recovered(Phase::Planned, Goal::Move), 1);
    let refused = preflight.on(Event::Refused);
    assert_eq!(refused.step(), Step::Record(Phase::Cleaning(Side::From)));
}

#[test]
fn a_mirror_that_is_lost_after_the_flip_takes_the_way_back_with_it() {
    let (stay, _) = follow(
        Machine::recovered(Phase::Following(Side::To), Goal::Move),
        2,
    );
    let severed = stay.on(Event::Refused).on(Event::Done);
    assert_eq!(
        (severed.phase(), severed.step()),
        (Phase::Severed, Step::StopStreams)
    );
    let halted = severed
        .on(Event::Done)
        .on(Event::Asked(Goal::Back))
        .on(Event::Done);
    assert_eq!(
        (halted.phase(), halted.step()),
        (Phase::Severed, Step::Halt)
    );
    let finished = halted.on(Event::Asked(Goal::Finish));
    assert_eq!(finished.step(), Step::Record(Phase::Cleaning(Side::To)));
}

#[test]
fn only_a_record_changes_the_phase_and_an_owner_changes_only_while_it_is_held() {
    for machine in reachable() {
        for event in EVENTS {
            let next = machine.on(event);
            match machine.step() {
                Step::Record(phase) if event == Event::Done => assert_eq!(next.phase(), phase),
                _ => assert_eq!(next.phase(), machine.phase(), "{machine:?} {event:?}"),
            }
            if next.phase().owner() != machine.phase().owner() {
                assert!(matches!(machine.phase(), Phase::Holding(_)), "{machine:?}");
            }
        }
    }
}

#[test]
fn a_leg_can_always_be_brought_to_its_end() {
    for machine in reachable() {
        for goal in [Goal::Back, Goal::Finish] {
            let (end, _) = follow(machine.on(Event::Asked(goal)), 60);
            let severed = end.phase() == Phase::Severed && goal == Goal::Back;
            assert!(
                end.step() == Step::End || severed,
                "{machine:?} {goal:?}: {end:?}"
            );
        }
    }
}
