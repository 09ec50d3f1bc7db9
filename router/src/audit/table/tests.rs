use proptest::prelude::*;

use super::*;
use topology::records::Surface;

const INTERVAL: Duration = Duration::from_secs(600);

fn table() -> Table {
    Table::new("router-a:6432", INTERVAL)
}

fn login(user: &str, from: &str, refused: bool) -> Occasion {
    let target = format!("user:{user}");
    Occasion {
        surface: Some(Surface::Postgres),
        actor: if refused {
            "anonymous".to_owned()
        } else {
            target.clone()
        },
        from: Some(from.to_owned()),
        action: "pg_login".to_owned(),
        target,
        refused,
        reason: refused.then(|| "wrong password".to_owned()),
    }
}

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

/// Targets and counts of what is due.
fn due(table: &mut Table, now: Instant) -> Vec<(String, u64)> {
    let events = table.take(usize::MAX, now, false).into_iter();
    events
        .map(|event| (event.occasion.target, event.count))
        .collect()
}

fn address(number: usize) -> String {
    format!(
        "10.{}.{}.{}",
        number / 65_536,
        number / 256 % 256,
        number % 256
    )
}

#[test]
fn the_first_is_due_at_once_and_the_next_are_counted() {
    let (mut table, start) = (table(), Instant::now());
    let bad = || login("app", "10.0.0.7", true);
    assert!(table.note(bad(), Some("r-1"), (start, at(5))));
    let told = table.take(10, start, false);
    assert_eq!(told[0].count, 1);
    assert_eq!((told[0].first_at, told[0].last_at), (at(5), at(5)));
    assert_eq!(told[0].request_id.as_deref(), Some("r-1"));
    for second in 6..=1_005 {
        assert!(table.note(bad(), None, (start, at(second))));
    }
    let later = start + INTERVAL;
    assert!(
        table
            .take(10, later - Duration::from_secs(1), false)
            .is_empty()
    );
    let told = table.take(10, later, false);
    assert_eq!(told[0].count, 1_000);
    assert_eq!((told[0].first_at, told[0].last_at), (at(6), at(1_005)));
    assert!(table.take(10, later + INTERVAL, false).is_empty());
    assert!(table.places.is_empty());
}

#[test]
fn what_is_not_due_is_told_before_the_end() {
    let (mut table, start) = (table(), Instant::now());
    for _ in 0..3 {
        table.note(login("app", "10.0.0.7", false), None, (start, at(1)));
        table.take(10, start, false);
    }
    assert!(due(&mut table, start).is_empty());
    let told = table.take(10, start, true);
    assert_eq!(told.iter().map(|event| event.count).sum::<u64>(), 2);
}

#[test]
fn who_tries_many_users_from_one_address_takes_a_bounded_number_of_places() {
    let (mut table, start) = (table(), Instant::now());
    for number in 0..2_000 {
        let user = format!("user-{number}");
        assert!(table.note(login(&user, "10.0.0.7", true), None, (start, at(1))));
    }
    assert!(table.note(login("app", "10.0.0.8", true), None, (start, at(1))));
    let told = due(&mut table, start);
    assert_eq!(told.len(), MAX_OF_ADDRESS + 2);
    assert!(told.contains(&(SEVERAL.to_owned(), 2_000 - 16)), "{told:?}");
    assert!(told.contains(&("user:app".to_owned(), 1)), "{told:?}");
    // A /64 of IPv6 is one address to this.
    for number in 0..100 {
        let from = format!("2001:db8::{number:x}");
        table.note(login("app", &from, true), None, (start, at(1)));
    }
    let told = table.take(usize::MAX, start, false);
    assert_eq!(told.len(), MAX_OF_ADDRESS + 1);
    let mut told = told.iter();
    let several = told.find(|event| event.occasion.target == SEVERAL);
    let from = several.and_then(|event| event.occasion.from.as_deref());
    assert_eq!(from, Some("2001:db8::/64"));
}

#[test]
fn what_has_no_place_is_counted_and_refusals_take_none_of_logins() {
    let (mut table, start) = (table(), Instant::now());
    let mut listed = 0;
    for number in 0..1_000 {
        let bad = login("app", &address(number), true);
        listed += usize::from(table.note(bad, None, (start, at(1))));
    }
    assert_eq!(listed, MAX_REFUSALS);
    for number in 0..MAX_LOGINS {
        let good = login("app", &address(number), false);
        assert!(table.note(good, None, (start, at(1))));
    }
    assert!(!table.note(login("app", &address(9_999), false), None, (start, at(1))));
    let told = table.take(usize::MAX, start, false);
    let unlisted: Vec<_> = told
        .iter()
        .filter(|event| event.occasion.action == UNLISTED)
        .map(|event| (event.occasion.refused, event.count))
        .collect();
    assert_eq!(told.len(), MAX_REFUSALS + MAX_LOGINS + 2);
    assert!(unlisted.contains(&(true, 1_000 - 128)), "{unlisted:?}");
    assert!(unlisted.contains(&(false, 1)), "{unlisted:?}");
    // A while later there is room again, without anybody having taken anything.
    let later = start + INTERVAL;
    assert!(table.note(login("app", &address(9_999), true), None, (later, at(2))));
}

#[test]
fn no_more_is_taken_than_is_asked_for_and_the_oldest_first() {
    let (mut table, start) = (table(), Instant::now());
    for second in (0..10).rev() {
        let user = format!("{second}");
        table.note(login(&user, "10.0.0.7", false), None, (start, at(second)));
    }
    let told = table.take(3, start, false);
    let first: Vec<_> = told.iter().map(|event| event.first_at).collect();
    assert_eq!(first, [at(0), at(1), at(2)]);
    assert_eq!(due(&mut table, start).len(), 7);
}

proptest! {
    #[test]
    fn every_event_is_counted_once_and_places_are_bounded(
        steps in prop::collection::vec((0_usize..600, 0_usize..300, any::<bool>(), 0_u64..400), 1..2_000),
    ) {
        let (mut table, mut now) = (table(), Instant::now());
        let (mut happened, mut told) = (0_u64, 0_u64);
        for (user, from, refused, pause) in steps {
            let occasion = login(&format!("{user}"), &address(from), refused);
            table.note(occasion, None, (now, at(1)));
            happened += 1;
            if pause < 20 {
                now += Duration::from_secs(pause * 30);
                told += due(&mut table, now).iter().map(|(_, count)| count).sum::<u64>();
            }
            prop_assert!(table.places.len() <= MAX_REFUSALS + MAX_LOGINS + 2);
        }
        let rest = table.take(usize::MAX, now, true);
        told += rest.iter().map(|event| event.count).sum::<u64>();
        prop_assert_eq!(told, happened);
    }
}
