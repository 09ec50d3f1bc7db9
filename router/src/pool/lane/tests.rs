use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::*;

/// Stands for a backend.
#[derive(Debug, PartialEq, Eq)]
struct Fake(u8);

struct Fixture {
    lanes: Lanes<Fake>,
    settings: Arc<Settings>,
    held: Arc<Held>,
    pace: Pace,
}

impl Fixture {
    fn new() -> Self {
        let pace = Pace::default();
        pace.took(Duration::from_micros(50));
        Self {
            lanes: Lanes::default(),
            settings: Arc::default(),
            held: Arc::new(Held::new(NonZeroUsize::MIN)),
            pace,
        }
    }

    fn request<'a>(&'a self, bytes: &'a [u8]) -> Request<'a> {
        Request {
            bytes: [bytes, &[]],
            routed: Epoch(1),
            settings: &self.settings,
            statement: None,
            pace: &self.pace,
        }
    }

    fn open(&self) -> Baton<Fake> {
        self.lanes.open(&self.settings, &self.held).unwrap()
    }

    fn join(&self, bytes: &[u8]) -> Option<Place<Fake>> {
        self.lanes.join(&self.request(bytes), false)
    }
}

fn load(baton: &Baton<Fake>) -> Vec<u8> {
    let mut out = BytesMut::new();
    let _leave = baton.load(&mut out, Some);
    out.to_vec()
}

fn turn(place: Place<Fake>) -> Turn<Fake> {
    place.now_or_never().unwrap().unwrap()
}

/// Whether it is known that there will be no turn.
fn is_sent_away(place: &mut Place<Fake>) -> bool {
    place.now_or_never().is_some_and(|turn| turn.is_err())
}

#[test]
fn the_backend_goes_from_one_to_the_next_and_comes_back_at_the_end() {
    let fixture = Fixture::new();
    let baton = fixture.open();
    let (one, two) = (fixture.join(b"1").unwrap(), fixture.join(b"2").unwrap());
    assert_eq!(load(&baton), b"12");
    assert_eq!(baton.pass(Fake(7)), None);
    let first = turn(one);
    assert_eq!((&first.lease, first.unsent.len()), (&Fake(7), 0));
    let three = fixture.join(b"3").unwrap();
    assert_eq!(first.baton.pass(first.lease), None);
    let second = turn(two);
    assert_eq!(second.baton.pass(second.lease), None);
    let third = turn(three);
    assert_eq!(third.unsent, b"3"[..]);
    assert_eq!(third.baton.pass(third.lease), Some(Fake(7)));
    assert!(fixture.join(b"4").is_none());
}

#[test]
fn whoever_joins_takes_the_shortest_line() {
    let fixture = Fixture::new();
    let mut batons: Vec<_> = (0..MOST).map(|_| fixture.open()).collect();
    let more = fixture.lanes.open(&fixture.settings, &fixture.held);
    assert!(more.is_none());
    let mut places: Vec<_> = (0..MOST).map(|_| fixture.join(b"x").unwrap()).collect();
    assert!(batons.iter().all(|baton| load(baton) == b"x"));
    // One that is over makes room for another.
    assert_eq!(batons.remove(0).pass(Fake(1)), None);
    let first = turn(places.remove(0));
    assert_eq!(first.baton.pass(first.lease), Some(Fake(1)));
    drop(fixture.open());
}

#[test]
fn what_a_backend_is_not_ready_for_does_not_join() {
    let fixture = Fixture::new();
    let _baton = fixture.open();
    let mut other = Settings::default();
    other.insert_value("TimeZone", "UTC");
    let other = Arc::new(other);
    let plain = fixture.request(b"x");
    let joins = |request: Request<'_>| fixture.lanes.join(&request, false).is_some();
    let (settings, statement, pace) = (&other, Some(5), &Pace::default());
    assert!(!joins(Request { settings, ..plain }));
    assert!(!joins(Request { statement, ..plain }));
    assert!(!joins(Request { pace, ..plain }));
    let bytes = &[0; MAX_REQUEST_BYTES + 1];
    assert!(!joins(Request {
        bytes: [bytes, &[]],
        ..plain
    }));
    assert_eq!(fixture.held.add(5), None);
    assert!(joins(Request { statement, ..plain }));
}

#[test]
fn a_lane_ends_after_many_and_sooner_while_others_wait() {
    let fixture = Fixture::new();
    for (is_crowded, most) in [(false, MOST_JOINED), (true, MOST_JOINED_IN_A_CROWD)] {
        let (mut baton, mut joined) = (fixture.open(), 0);
        while let Some(place) = fixture.lanes.join(&fixture.request(b"x"), is_crowded) {
            assert_eq!(baton.pass(Fake(0)), None);
            baton = turn(place).baton;
            joined += 1;
        }
        assert_eq!(joined, most);
        assert_eq!(baton.pass(Fake(0)), Some(Fake(0)));
    }
}

#[test]
fn with_the_first_goes_whoever_stands_behind() {
    let fixture = Fixture::new();
    let baton = fixture.open();
    let mut one = fixture.join(b"1").unwrap();
    assert_eq!(load(&baton), b"1");
    let mut two = fixture.join(b"2").unwrap();
    drop(baton);
    assert!(is_sent_away(&mut one) && is_sent_away(&mut two));
    assert!(fixture.join(b"3").is_none());
}

#[test]
fn a_turn_that_nobody_takes_sends_those_behind_away() {
    let fixture = Fixture::new();
    let baton = fixture.open();
    let one = fixture.join(b"1").unwrap();
    let mut two = fixture.join(b"2").unwrap();
    assert_eq!(load(&baton), b"12");
    drop(one);
    // An answer comes that nobody reads.
    assert_eq!(baton.pass(Fake(0)), None);
    assert!(is_sent_away(&mut two));
    // What was not written has no answer, and its place is passed over.
    let baton = fixture.open();
    let (one, two) = (fixture.join(b"1").unwrap(), fixture.join(b"2").unwrap());
    drop(one);
    assert_eq!(baton.pass(Fake(0)), None);
    assert_eq!(turn(two).unsent, b"2"[..]);
}

#[test]
fn who_waits_behind_a_slow_one_is_sent_away_at_the_second_look() {
    let fixture = Fixture::new();
    let baton = fixture.open();
    let mut one = fixture.join(b"1").unwrap();
    assert_eq!(load(&baton), b"1");
    let lane = Arc::clone(baton.0.as_ref().unwrap());
    assert!(lane.look() && !is_sent_away(&mut one));
    assert!(!lane.look() && is_sent_away(&mut one));
    // The backend answers them, so that nobody else gets it.
    assert_eq!(baton.pass(Fake(0)), None);
}

#[test]
fn a_line_that_moves_stays() {
    let fixture = Fixture::new();
    let baton = fixture.open();
    let lane = Arc::clone(baton.0.as_ref().unwrap());
    let (mut one, mut two) = (fixture.join(b"1").unwrap(), None);
    assert_eq!(load(&baton), b"1");
    let mut baton = baton;
    for _ in 0..3 {
        assert_eq!(baton.pass(Fake(0)), None);
        baton = turn(one).baton;
        one = fixture.join(b"x").unwrap();
        assert!(lane.look());
        two = Some(fixture.join(b"y").unwrap());
        assert_eq!(baton.pass(Fake(0)), None);
        baton = turn(one).baton;
        one = two.take().unwrap();
    }
    assert!(!is_sent_away(&mut one) && two.is_none());
    // Nobody is to join one that answers nothing.
    let alone = fixture.open();
    let lane = Arc::clone(alone.0.as_ref().unwrap());
    assert!(lane.look() && !lane.look());
    assert_eq!(alone.pass(Fake(0)), Some(Fake(0)));
}

/// Notes that it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[test]
fn the_first_is_woken_when_others_join() {
    let fixture = Fixture::new();
    let baton = fixture.open();
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let context = Context::from_waker(&waker);
    assert!(baton.poll_joined(&context).is_pending());
    let place = fixture.join(b"1");
    assert!(place.is_some() && woken.0.load(Ordering::SeqCst));
    assert!(baton.poll_joined(&context).is_ready());
}
