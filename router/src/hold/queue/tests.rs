use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    max_bytes: 1_000,
    max_waiting: 4,
    max_wait: Duration::from_millis(500),
};

fn hold(id: &str, deadline_ms: u32) -> Hold {
    Hold {
        id: id.to_owned(),
        ranges: Vec::new(),
        deadline_ms,
    }
}

/// A queue that knows hold `a` at epoch 1, and the time it was told at.
fn holding(deadline_ms: u32) -> (Queue, Hold, Instant) {
    let (mut queue, hold, now) = (Queue::new(LIMITS), hold("a", deadline_ms), Instant::now());
    publish(&mut queue, 1, std::slice::from_ref(&hold), now);
    (queue, hold, now)
}

fn publish(queue: &mut Queue, epoch: u64, holds: &[Hold], now: Instant) -> Vec<Effect> {
    let epoch = Epoch(epoch);
    queue.step(Event::Published { epoch, holds }, now)
}

fn arrive(queue: &mut Queue, hold: &Hold, bytes: usize, now: Instant) -> Effect {
    let arrival = Arrival {
        hold,
        epoch: Epoch(1),
        bytes,
        since: now,
    };
    queue.step(Event::Arrived(arrival), now)[0]
}

fn ticket(effect: Effect) -> Ticket {
    match effect {
        Effect::Waits { ticket, .. } => ticket,
        Effect::GoesOn | Effect::Refused(_) | Effect::Ends { .. } => panic!("{effect:?}"),
    }
}

fn ended(ticket: Ticket, how: Result<(), Reason>) -> Effect {
    Effect::Ends { ticket, how }
}

#[test]
fn statements_go_on_in_the_order_of_arrival_when_the_hold_is_gone() {
    let (mut queue, hold, now) = holding(10_000);
    let tickets: Vec<_> = (0..3)
        .map(|_| ticket(arrive(&mut queue, &hold, 1, now)))
        .collect();
    let expected: Vec<_> = tickets.iter().map(|it| ended(*it, Ok(()))).collect();
    assert_eq!(publish(&mut queue, 2, &[], now), expected);
    assert_eq!(arrive(&mut queue, &hold, 1, now), Effect::GoesOn);
}

#[test]
fn a_hold_that_stays_or_another_that_comes_releases_nobody() {
    let (mut queue, mine, now) = holding(10_000);
    ticket(arrive(&mut queue, &mine, 1, now));
    let both = [mine.clone(), hold("b", 1)];
    assert_eq!(publish(&mut queue, 2, &both, now), []);
    assert_eq!(publish(&mut queue, 3, &[mine], now), []);
}

#[test]
fn a_hold_that_has_changed_releases_those_who_wait_for_the_old_one() {
    let (mut queue, mine, now) = holding(10_000);
    let waiting = ticket(arrive(&mut queue, &mine, 1, now));
    let changed = publish(&mut queue, 2, &[hold("a", 9_000)], now);
    assert_eq!(changed, [ended(waiting, Ok(()))]);
}

#[test]
fn too_many_statements_and_too_many_bytes_are_refused() {
    let (mut queue, hold, now) = holding(10_000);
    let refused = |reason| Effect::Refused(reason);
    assert_eq!(
        arrive(&mut queue, &hold, 1_001, now),
        refused(Reason::Bytes)
    );
    let first = ticket(arrive(&mut queue, &hold, 600, now));
    assert_eq!(arrive(&mut queue, &hold, 600, now), refused(Reason::Bytes));
    queue.step(Event::Left(first), now);
    for _ in 0..LIMITS.max_waiting {
        ticket(arrive(&mut queue, &hold, 1, now));
    }
    assert_eq!(arrive(&mut queue, &hold, 1, now), refused(Reason::Count));
}

#[test]
fn whoever_waits_too_long_is_refused_and_may_not_wait_again() {
    let (mut queue, hold, now) = holding(10_000);
    let waiting = ticket(arrive(&mut queue, &hold, 1, now));
    let later = now + LIMITS.max_wait;
    let effects = queue.step(Event::TimePassed, later);
    assert_eq!(effects, [ended(waiting, Err(Reason::Time))]);
    let again = Arrival {
        hold: &hold,
        epoch: Epoch(1),
        bytes: 1,
        since: now,
    };
    let effects = queue.step(Event::Arrived(again), later);
    assert_eq!(effects, [Effect::Refused(Reason::Time)]);
}

#[test]
fn a_hold_ends_for_everybody_at_its_deadline() {
    let (mut queue, hold, now) = holding(100);
    let waiting = ticket(arrive(&mut queue, &hold, 1, now));
    assert_eq!(queue.step(Event::TimePassed, now), []);
    let later = now + Duration::from_millis(100);
    assert_eq!(
        queue.step(Event::TimePassed, later),
        [ended(waiting, Ok(()))]
    );
    assert_eq!(queue.standing(&hold, Epoch(1), later), Standing::Expired);
    assert_eq!(arrive(&mut queue, &hold, 1, later), Effect::GoesOn);
    // The same record in a further epoch is the same hold.
    publish(&mut queue, 2, std::slice::from_ref(&hold), later);
    assert_eq!(queue.standing(&hold, Epoch(2), later), Standing::Expired);
}

#[test]
fn a_hold_that_a_statement_has_seen_first_holds_it() {
    let (mut queue, now) = (Queue::new(LIMITS), Instant::now());
    let hold = hold("a", 100);
    let waiting = ticket(arrive(&mut queue, &hold, 1, now));
    assert_eq!(publish(&mut queue, 1, std::slice::from_ref(&hold), now), []);
    assert_eq!(publish(&mut queue, 2, &[], now), [ended(waiting, Ok(()))]);
}

/// An event that needs no earlier one.
#[derive(Debug, Clone)]
enum Step {
    Arrive { hold: u8, epoch: u64, bytes: usize },
    Leave(u64),
    Publish { ahead: u64, holds: u8 },
    Pass(u64),
    Close,
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..4_u8, 0..12_u64, 0..600_usize)
            .prop_map(|(hold, epoch, bytes)| Step::Arrive { hold, epoch, bytes }),
        2 => (0..20_u64).prop_map(Step::Leave),
        3 => (0..2_u64, 0..16_u8).prop_map(|(ahead, holds)| Step::Publish { ahead, holds }),
        3 => (0..300_u64).prop_map(Step::Pass),
        1 => Just(Step::Close),
    ]
}

fn numbered(number: u8) -> Hold {
    hold(&number.to_string(), 100 + u32::from(number) * 200)
}

fn is_consistent(queue: &Queue) -> Result<(), TestCaseError> {
    let bytes: usize = queue.waiting.values().map(|it| it.bytes).sum();
    prop_assert_eq!(queue.bytes, bytes);
    prop_assert!(bytes <= LIMITS.max_bytes);
    prop_assert!(queue.waiting.len() <= LIMITS.max_waiting);
    prop_assert!(!queue.closed || queue.waiting.is_empty());
    // Nobody waits for what the queue does not know, which nothing would end.
    for waiting in queue.waiting.values() {
        prop_assert!(queue.known(&waiting.hold).is_some());
    }
    Ok(())
}

proptest! {
    #[test]
    fn whatever_happens_limits_hold_and_every_ticket_ends_once_in_order(
        steps in vec(steps(), 1..60)
    ) {
        let (mut queue, mut now, mut epoch) = (Queue::new(LIMITS), Instant::now(), 0);
        let mut open: Vec<Ticket> = Vec::new();
        for step in steps {
            let all: Vec<Hold>;
            let one;
            let event = match step {
                Step::Arrive { hold, epoch, bytes } => {
                    one = numbered(hold);
                    Event::Arrived(Arrival { hold: &one, epoch: Epoch(epoch), bytes, since: now })
                }
                Step::Leave(number) => {
                    open.retain(|it| *it != Ticket(number));
                    Event::Left(Ticket(number))
                }
                Step::Publish { ahead, holds } => {
                    epoch += ahead;
                    all = (0..4).filter(|it| holds & (1 << it) != 0).map(numbered).collect();
                    Event::Published { epoch: Epoch(epoch), holds: &all }
                }
                Step::Pass(ms) => {
                    now += Duration::from_millis(ms);
                    Event::TimePassed
                }
                Step::Close => Event::Closed,
            };
            let effects = queue.step(event, now);
            let mut last = None;
            for effect in effects {
                match effect {
                    Effect::Waits { ticket, until } => {
                        prop_assert!(until > now && until <= now + LIMITS.max_wait);
                        open.push(ticket);
                    }
                    Effect::Ends { ticket, .. } => {
                        prop_assert!(Some(ticket) > last, "out of order");
                        last = Some(ticket);
                        let before = open.len();
                        open.retain(|it| *it != ticket);
                        prop_assert_eq!(open.len() + 1, before, "ended twice, or never began");
                    }
                    Effect::GoesOn | Effect::Refused(_) => {}
                }
            }
            prop_assert_eq!(&open, &queue.waiting.keys().copied().collect::<Vec<_>>());
            is_consistent(&queue)?;
            if matches!(event, Event::TimePassed) {
                for waiting in queue.waiting.values() {
                    prop_assert!(waiting.gives_up > now, "outstayed its time");
                }
            }
        }
    }
}
