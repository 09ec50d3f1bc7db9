use proptest::prelude::*;

use super::*;

/// A message to the backend, or what stands between two.
#[derive(Debug, Clone, Copy)]
enum Item {
    /// A message of the extended protocol: its answer, whether the client reads it, whether the
    /// backend fails at it.
    Extended(Answer, bool, bool),
    /// A message that is sent to fail.
    Poison,
    /// What the router says itself.
    Local,
    /// Sync, and whether the client reads its answer.
    Sync(bool),
    /// A simple query: how many commands it completes, whether it fails then, whether the client
    /// reads the answer.
    Query(u8, bool, bool),
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let answer = (0_usize..6, 0_u64..9).prop_map(|(kind, id)| match kind {
        0 => Answer::Parse(id),
        1 => Answer::Bind,
        2 => Answer::ClosePortal,
        3 => Answer::CloseStatement(id),
        4 => Answer::Describe,
        _ => Answer::Execute,
    });
    let extended = (answer, any::<bool>(), prop::bool::weighted(0.1));
    let item = prop_oneof![
        12 => extended.prop_map(|(answer, forward, fails)| Item::Extended(answer, forward, fails)),
        1 => Just(Item::Poison),
        3 => Just(Item::Local),
        3 => any::<bool>().prop_map(Item::Sync),
        1 => (0_u8..3, any::<bool>(), any::<bool>()).prop_map(|(n, e, f)| Item::Query(n, e, f)),
    ];
    // A simple query follows a Sync, since a backend that has failed skips it otherwise.
    prop::collection::vec(item, 0..60).prop_map(|items| {
        let synced = items.into_iter().flat_map(|item| match item {
            Item::Query(..) => vec![Item::Sync(false), item],
            Item::Extended(..) | Item::Poison | Item::Local | Item::Sync(_) => vec![item],
        });
        synced.chain([Item::Sync(true)]).collect()
    })
}

/// What the backend sends for each item, and what the client has to read of it and of the rest:
/// worked out without [`Expectations`].
fn play(items: &[Item]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut failed = false;
    let mut play = Vec::new();
    for item in items {
        play.push(match *item {
            Item::Local => (vec![], if failed { vec![] } else { b"!".to_vec() }),
            Item::Sync(forward) => {
                failed = false;
                (b"Z".to_vec(), if forward { b"Z".to_vec() } else { vec![] })
            }
            Item::Query(commands, fails, forward) => {
                let mut sent = b"TDC".repeat(usize::from(commands));
                sent.extend(if fails { &b"EZ"[..] } else { b"Z" });
                let read = match (forward, fails) {
                    (true, _) => sent.clone(),
                    (false, true) => b"E".to_vec(),
                    (false, false) => vec![],
                };
                (sent, read)
            }
            Item::Extended(..) | Item::Poison if failed => (vec![], vec![]),
            Item::Poison => {
                failed = true;
                (b"E".to_vec(), b"?".to_vec())
            }
            Item::Extended(_, _, true) => {
                failed = true;
                (b"E".to_vec(), b"E".to_vec())
            }
            Item::Extended(answer, forward, false) => {
                let sent = match answer {
                    Answer::Parse(_) => b"1".to_vec(),
                    Answer::Bind => b"2".to_vec(),
                    Answer::ClosePortal | Answer::CloseStatement(_) => b"3".to_vec(),
                    Answer::Describe => b"tT".to_vec(),
                    Answer::Execute => b"DDNC".to_vec(),
                    Answer::Ready | Answer::Commands => b"Z".to_vec(),
                };
                let read = if forward { sent.clone() } else { vec![] };
                (sent, read)
            }
        });
    }
    play
}

fn expect(expected: &mut Expectations, item: Item, number: u64) {
    match item {
        Item::Extended(answer, true, _) => expected.forward_change(answer, number),
        Item::Extended(answer, false, _) => expected.drop_answer(answer),
        Item::Poison => expected.replace_error(Bytes::from_static(b"?")),
        Item::Local => expected.local(Bytes::from_static(b"!"), Some(number)),
        Item::Sync(true) | Item::Query(_, _, true) => expected.forward(Answer::Ready),
        Item::Sync(false) | Item::Query(_, _, false) => expected.drop_answer(Answer::Ready),
    }
}

/// Feeds frames as the relay does and gives what the client reads.
fn feed(expected: &mut Expectations, frames: &mut VecDeque<u8>) -> Vec<u8> {
    let mut read = Vec::new();
    loop {
        while let Some(local) = expected.next_local() {
            read.extend_from_slice(&local);
        }
        let Some(tag) = frames.pop_front() else {
            return read;
        };
        match expected.on_frame(tag, b"") {
            Some(Verdict::Forward) => read.push(tag),
            Some(Verdict::Drop) => {}
            Some(Verdict::Replace(instead)) => read.extend_from_slice(&instead),
            None => panic!("{:?} has no place", char::from(tag)),
        }
    }
}

proptest! {
    #[test]
    fn the_client_reads_what_it_asked_for_in_order(
        items in items(),
        pauses in prop::collection::vec(any::<bool>(), 256),
    ) {
        let play = play(&items);
        let mut expected = Expectations::default();
        let (mut frames, mut read) = (VecDeque::new(), Vec::new());
        let mut pauses = pauses.into_iter().cycle();
        for (number, (item, (sent, _))) in (0..).zip(items.iter().zip(&play)) {
            expect(&mut expected, *item, number);
            frames.extend(sent);
            // The backend may answer at once, or only after further messages were sent.
            if pauses.next().unwrap_or(true) {
                read.extend(feed(&mut expected, &mut frames));
            }
        }
        read.extend(feed(&mut expected, &mut frames));
        let wanted: Vec<u8> = play.into_iter().flat_map(|(_, read)| read).collect();
        prop_assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(&wanted));
        prop_assert!(expected.is_empty());
    }

    #[test]
    fn what_was_skipped_is_undone_and_nothing_else(items in items()) {
        let mut failed = false;
        let mut undone = Vec::new();
        for (number, item) in (0_u64..).zip(&items) {
            let (has_change, fails) = match *item {
                Item::Extended(_, forward, fails) => (forward, fails),
                Item::Local => (true, false),
                Item::Poison => (false, true),
                Item::Sync(_) => { failed = false; continue }
                Item::Query(..) => continue,
            };
            failed |= fails;
            if failed && has_change {
                undone.push(number);
            }
        }
        let mut expected = Expectations::default();
        let mut frames = VecDeque::new();
        for (number, (item, (sent, _))) in (0..).zip(items.iter().zip(play(&items))) {
            expect(&mut expected, *item, number);
            frames.extend(sent);
        }
        feed(&mut expected, &mut frames);
        prop_assert_eq!(expected.take_seen().undone, undone);
    }

    #[test]
    fn no_frame_makes_it_panic(
        items in items(),
        frames in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..4)), 0..80),
    ) {
        let mut expected = Expectations::default();
        for (number, item) in (0..).zip(items) {
            expect(&mut expected, item, number);
        }
        for (tag, body) in frames {
            while expected.next_local().is_some() {}
            if expected.on_frame(tag, &body).is_none() {
                break;
            }
        }
    }
}

#[test]
fn each_rollback_of_a_script_is_known_by_its_place() {
    let mut expected = Expectations::default();
    expected.forward(Answer::Ready);
    for tag in [&b"ROLLBACK\0"[..], b"SELECT 1\0", b"ROLLBACK\0", b"SET\0"] {
        expected.on_frame(b'C', tag);
    }
    expected.on_frame(b'Z', b"I");
    let seen = expected.take_seen();
    let rollbacks: Vec<usize> = (0..4).filter(|at| seen.is_rollback(*at)).collect();
    assert_eq!(
        (seen.completed, rollbacks, seen.rolled_back()),
        (4, vec![0, 2], false)
    );
}

#[test]
fn a_skipped_close_leaves_the_statement_on_the_backend() {
    let mut expected = Expectations::default();
    expected.forward(Answer::Bind);
    expected.drop_answer(Answer::Parse(8));
    expected.drop_answer(Answer::CloseStatement(7));
    expected.forward(Answer::Ready);
    expected.on_frame(b'E', b"");
    let seen = expected.take_seen();
    assert_eq!((seen.unprepared, seen.unclosed), (vec![8], vec![7]));
}

#[test]
fn what_was_not_answered_when_the_backend_went_is_undone() {
    let mut expected = Expectations::default();
    expected.forward_change(Answer::Parse(1), 0);
    expected.local(Bytes::from_static(b"!"), Some(1));
    expected.forward(Answer::Ready);
    expected.on_frame(b'1', b"");
    expected.abandon();
    assert!(expected.is_empty());
    assert_eq!(expected.take_seen().undone, [1]);
}

#[test]
fn an_outdated_plan_is_told_from_other_errors() {
    let mut expected = Expectations::default();
    expected.forward(Answer::Ready);
    expected.on_frame(b'E', b"SERROR\0C0A000\0Rstandard_ProcessUtility\0\0");
    assert_eq!(expected.take_seen().outdated, None);
    expected.forward(Answer::Ready);
    expected.on_frame(b'Z', b"I");
    expected.on_frame(b'E', b"SERROR\0C0A000\0RRevalidateCachedQuery\0\0");
    assert_eq!(expected.take_seen().outdated, Some(Outdated::Plans));
}

fn guard(code: &str) -> Vec<u8> {
    format!("SERROR\0C{code}\0Mthis row is on another shard\0\0").into_bytes()
}

fn simple(back: Back) -> Expectations {
    let mut expected = Expectations::default();
    expected.forward(Answer::Ready);
    expected.may_take_back(back);
    expected
}

#[test]
fn an_answer_that_begins_with_a_guards_refusal_is_taken_back() {
    for code in ["VG001", "VG002"] {
        let mut expected = simple(Back::Unread);
        assert_eq!(expected.on_frame(b'E', &guard(code)), Some(Verdict::Drop));
        assert!(expected.keeps_back());
        assert_eq!(expected.on_frame(b'Z', b"I"), Some(Verdict::Drop));
        let seen = expected.take_seen();
        assert!(seen.is_taken_back() && expected.is_empty());
        assert_eq!(seen.status, Some(b'I'));
        assert!(!expected.keeps_back());
    }
}

#[test]
fn what_the_client_has_read_of_is_not_taken_back() {
    // A row, a notice, a completed statement.
    for (tag, body) in [(b'T', &b""[..]), (b'N', b"\0"), (b'C', b"UPDATE 1\0")] {
        let mut expected = simple(Back::Unread);
        assert_eq!(expected.on_frame(tag, body), Some(Verdict::Forward));
        let told = expected.on_frame(b'E', &guard("VG001"));
        let Some(Verdict::Replace(frame)) = told else {
            panic!("{told:?}");
        };
        assert!(frame.windows(6).any(|bytes| bytes == b"C40001"));
        assert_eq!(expected.on_frame(b'Z', b"I"), Some(Verdict::Forward));
        assert!(matches!(
            expected.take_seen().guarded,
            Some(Guarded::Told(_))
        ));
    }
}

#[test]
fn no_client_reads_a_guards_code() {
    for (code, read) in [
        ("VG001", "C40001"),
        ("VG002", "C40001"),
        ("VG003", "C55006"),
        ("VG004", "CXX000"),
        ("VG999", "CXX000"),
    ] {
        let mut expected = simple(Back::Never);
        let told = expected.on_frame(b'E', &guard(code));
        let Some(Verdict::Replace(frame)) = told else {
            panic!("{code}: {told:?}");
        };
        let text = String::from_utf8_lossy(&frame);
        assert!(text.contains(read) && !text.contains(code), "{text:?}");
    }
    // What is no passing refusal is the client's at once.
    let mut expected = simple(Back::Unread);
    let told = expected.on_frame(b'E', &guard("VG003"));
    assert!(matches!(told, Some(Verdict::Replace(_))));
    assert!(!expected.keeps_back());
}

#[test]
fn a_batch_is_kept_from_the_client_until_something_is_executed() {
    let batch = || {
        let mut expected = Expectations::default();
        expected.forward_change(Answer::Parse(7), 0);
        expected.forward(Answer::Bind);
        expected.forward(Answer::Describe);
        expected.forward(Answer::Execute);
        expected.forward(Answer::Ready);
        expected.may_take_back(Back::Kept);
        for (tag, body) in [(b'1', &b""[..]), (b'2', b""), (b'N', b"\0"), (b'T', b"")] {
            assert_eq!(expected.on_frame(tag, body), Some(Verdict::Forward));
            assert!(expected.keeps_back());
        }
        expected
    };
    let mut refused = batch();
    assert_eq!(refused.on_frame(b'E', &guard("VG002")), Some(Verdict::Drop));
    assert_eq!(refused.on_frame(b'Z', b"I"), Some(Verdict::Drop));
    assert!(refused.take_seen().is_taken_back());
    let mut done = batch();
    assert!(done.rows_are_forwarded());
    assert!(!done.keeps_back());
    let mut failed = batch();
    assert_eq!(failed.on_frame(b'E', b"C23505\0\0"), Some(Verdict::Forward));
    assert!(!failed.keeps_back());
}

#[test]
fn of_a_statement_of_a_string_the_client_reads_all_but_its_end() {
    let mut expected = Expectations::default();
    expected.forward(Answer::Commands);
    for (tag, body, verdict) in [
        (b'T', &b""[..], Verdict::Forward),
        (b'D', b"", Verdict::Forward),
        (b'C', b"SELECT 1", Verdict::Forward),
        (b'Z', b"T", Verdict::Drop),
    ] {
        assert_eq!(expected.on_frame(tag, body), Some(verdict));
    }
    assert!(expected.is_empty());
    let seen = expected.take_seen();
    assert_eq!((seen.status, seen.completed), (Some(b'T'), 1));
}

#[test]
fn what_was_not_sent_is_as_if_it_had_never_come() {
    let mut expected = Expectations::default();
    expected.drop_answer(Answer::Parse(3));
    expected.drop_answer(Answer::CloseStatement(4));
    expected.forward_change(Answer::Parse(5), 9);
    expected.forward(Answer::Ready);
    let seen = expected.forget_unsent();
    assert!(expected.is_empty());
    assert_eq!((seen.unprepared, seen.unclosed), (vec![3, 5], vec![4]));
    assert_eq!(seen.undone, vec![9]);
}

/// A commit that a client has flushed is ended by a Sync of the router's own.
#[test]
fn a_notification_is_the_clients_whatever_is_answered() {
    let mut expected = Expectations::default();
    expected.forward(Answer::Execute);
    expected.drop_answer(Answer::Ready);
    let frames = [b'C', b'N', b'S', b'A', b'Z'];
    let verdicts = frames.map(|tag| expected.on_frame(tag, b"").unwrap());
    assert_eq!(
        verdicts.map(|verdict| matches!(verdict, Verdict::Forward)),
        [true, false, false, true, false]
    );
}
