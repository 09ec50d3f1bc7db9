//! Headers, frames, sets of tags, and the scanner over every way of cutting a stream.

use proptest::prelude::*;

use super::*;
use crate::SqlState;
use crate::limits::{MAX_MESSAGE_BYTES, MAX_SMALL_MESSAGE_BYTES};
use crate::{backend, frontend};

#[test]
fn a_header_is_a_tag_and_a_length_that_counts_itself() {
    let header = Header::parse(b"Q\0\0\0\x0dSELECT 1\0", 100)
        .unwrap()
        .unwrap();
    assert_eq!((header.tag, header.body_bytes), (b'Q', 9));
    assert_eq!(header.frame_bytes(), 14);
    for end in 0..HEADER_BYTES {
        let cut = &b"Q\0\0\0\x0d"[..end];
        assert_eq!(Header::parse(cut, 100), Ok(None));
    }
}

#[test]
fn lengths_below_four_and_above_the_limit_are_refused_by_the_header_alone() {
    for length in [i32::MIN, -1, 0, 3] {
        let bytes = [&b"Q"[..], &length.to_be_bytes()].concat();
        let error = Header::parse(&bytes, 100).unwrap_err();
        assert_eq!(error, FrameError::BadLength { tag: b'Q', length });
        assert_eq!(error.sqlstate(), SqlState::PROTOCOL_VIOLATION);
    }
    let (tag, body_bytes, max) = (b'Q', 101, 100);
    let error = Header::parse(b"Q\0\0\0\x69", max).unwrap_err();
    assert_eq!(
        error,
        FrameError::TooLong {
            tag,
            body_bytes,
            max
        }
    );
    assert_eq!(error.sqlstate(), SqlState::PROGRAM_LIMIT_EXCEEDED);
    let text = "message with tag 0x51 has 101 bytes, more than 100";
    assert_eq!(error.to_string(), text);
    let exactly = Header::parse(b"Q\0\0\0\x68", max).unwrap().unwrap();
    assert_eq!(exactly.body_bytes, max);
}

#[test]
fn a_frame_is_given_when_all_of_it_is_there() {
    let bytes = b"S\0\0\0\x04Q\0\0\0\x05\0";
    let sync = Frame::parse(bytes, 10).unwrap().unwrap();
    assert_eq!((sync.tag(), sync.body()), (b'S', &b""[..]));
    let query = Frame::parse(&bytes[5..], 10).unwrap().unwrap();
    assert_eq!((query.body(), query.bytes()), (&b"\0"[..], &bytes[5..]));
    assert_eq!(Frame::parse(&bytes[5..10], 10), Ok(None));
}

#[test]
fn a_set_holds_exactly_its_tags() {
    let set = TagSet::of(&[b'A', 0, 127, 200]);
    let held: Vec<_> = (0..=u8::MAX).filter(|tag| set.contains(*tag)).collect();
    assert_eq!(held, [0, b'A', 127]);
    let rest = set.without(TagSet::of(b"AB"));
    assert!(!rest.contains(b'A') && rest.contains(127));
    assert_eq!(format!("{:?}", TagSet::of(b"dD")), "{'D', 'd'}");
}

#[test]
fn rows_are_streamed_and_all_else_is_whole() {
    let bytes = b"T\0\0\0\x06\0\0D\0\0\0\x06\0\0D\0\0\0\x06\0\0C\0\0\0\x05\0";
    let mut scanner = Scanner::backend(100);
    let Ok(Step::Whole(description)) = scanner.next(bytes) else {
        panic!("the description is whole");
    };
    assert_eq!(description.tag(), b'T');
    let rest = &bytes[description.bytes().len()..];
    let run = &rest[..14];
    let step = scanner.next(rest).unwrap();
    assert_eq!(
        step,
        Step::Stream {
            bytes: run,
            begun: 2
        }
    );
    let Ok(Step::Whole(complete)) = scanner.next(&rest[14..]) else {
        panic!("the end is whole");
    };
    assert_eq!(complete.tag(), b'C');
    assert_eq!(scanner.next(b""), Ok(Step::Incomplete { missing: 5 }));
    assert!(scanner.is_at_boundary());
}

#[test]
fn a_streamed_frame_is_passed_on_before_its_end_is_there() {
    let mut scanner = Scanner::backend(100);
    let beginning = b"D\0\0\0\x0dabc";
    let step = scanner.next(beginning).unwrap();
    let bytes = &beginning[..];
    assert_eq!(step, Step::Stream { bytes, begun: 1 });
    assert!(!scanner.is_at_boundary());
    assert_eq!(scanner.next(b""), Ok(Step::Incomplete { missing: 6 }));
    let bytes = &b"defghi"[..];
    let step = scanner.next(b"defghiZ\0\0").unwrap();
    assert_eq!(step, Step::Stream { bytes, begun: 0 });
    assert!(scanner.is_at_boundary());
    let missing = 2;
    assert_eq!(scanner.next(b"Z\0\0"), Ok(Step::Incomplete { missing }));
}

#[test]
fn a_whole_frame_that_is_not_all_there_says_how_much_is_missing() {
    let mut scanner = Scanner::frontend(100);
    let missing = 9;
    assert_eq!(
        scanner.next(b"Q\0\0\0\x0d"),
        Ok(Step::Incomplete { missing })
    );
}

#[test]
fn an_empty_set_of_streamed_tags_gives_every_frame_whole() {
    let mut scanner = Scanner::backend(100).streaming(TagSet::of(&[]));
    let row = b"D\0\0\0\x06\0\0";
    assert!(matches!(scanner.next(row), Ok(Step::Whole(frame)) if frame.bytes() == row));
}

#[test]
fn a_stream_that_cannot_be_followed_is_refused() {
    let mut scanner = Scanner::frontend(100);
    let tag = b'!';
    assert_eq!(scanner.next(b"!"), Err(FrameError::UnknownTag { tag }));
    let (tag, length) = (b'Q', 3);
    let error = scanner.next(b"Q\0\0\0\x03").unwrap_err();
    assert_eq!(error, FrameError::BadLength { tag, length });
    let (body_bytes, max) = (101, 100);
    let error = scanner.next(b"Q\0\0\0\x69").unwrap_err();
    let too_long = FrameError::TooLong {
        tag,
        body_bytes,
        max,
    };
    assert_eq!(error, too_long);
    // A backend's tag is none of a frontend's.
    let tag = b'Z';
    let error = scanner.next(b"Z\0\0\0\x05I").unwrap_err();
    assert_eq!(error, FrameError::UnknownTag { tag });
}

#[test]
fn what_precedes_a_bad_header_is_given_first() {
    let mut scanner = Scanner::backend(100);
    let chunk = b"D\0\0\0\x06\0\0D\0\0\0\x01";
    let bytes = &chunk[..7];
    assert_eq!(scanner.next(chunk), Ok(Step::Stream { bytes, begun: 1 }));
    let (tag, length) = (b'D', 1);
    let error = scanner.next(&chunk[7..]).unwrap_err();
    assert_eq!(error, FrameError::BadLength { tag, length });
}

#[test]
fn each_tag_has_the_limit_that_the_server_has() {
    fn longest(tag: u8, body_bytes: usize) -> Result<Step<'static>, FrameError> {
        let length = u32::try_from(body_bytes + 4).unwrap().to_be_bytes();
        let header: &'static [u8] = Box::leak([&[tag][..], &length].concat().into());
        Scanner::frontend(usize::MAX).next(header)
    }
    for tag in (0..=u8::MAX).filter(|tag| frontend::tag::ALL.contains(*tag)) {
        let max = if frontend::tag::SMALL.contains(tag) {
            MAX_SMALL_MESSAGE_BYTES
        } else {
            MAX_MESSAGE_BYTES
        };
        assert!(longest(tag, max).is_ok(), "{}", char::from(tag));
        let body_bytes = max + 1;
        let too_long = FrameError::TooLong {
            tag,
            body_bytes,
            max,
        };
        assert_eq!(longest(tag, body_bytes), Err(too_long));
    }
    // A caller's smaller limit holds for small messages too, but not for what is streamed.
    let sync = Scanner::frontend(2).next(b"E\0\0\0\x07").unwrap_err();
    assert!(matches!(sync, FrameError::TooLong { max: 2, .. }));
    assert!(Scanner::backend(2).next(b"D\0\x01\0\0").is_ok());
}

/// What a scanner gave of a stream: the bytes in order, whole frames apart.
#[derive(Debug, Default, PartialEq, Eq)]
struct Passed {
    bytes: Vec<u8>,
    whole: Vec<Vec<u8>>,
    begun: usize,
    left: Vec<u8>,
    error: Option<FrameError>,
}

/// Feeds a scanner as a relay does: what is left stays in front of the next chunk.
fn relay<'a>(mut scanner: Scanner, chunks: impl Iterator<Item = &'a [u8]>) -> Passed {
    let mut passed = Passed::default();
    for chunk in chunks {
        passed.left.extend_from_slice(chunk);
        loop {
            let step = match scanner.next(&passed.left) {
                Ok(step) => step,
                Err(error) => {
                    passed.error = Some(error);
                    return passed;
                }
            };
            let taken = match step {
                Step::Stream { bytes, begun } => {
                    assert!(!bytes.is_empty(), "a run is never empty");
                    passed.begun += begun;
                    bytes.len()
                }
                Step::Whole(frame) => {
                    assert!(
                        scanner.is_at_boundary(),
                        "a whole frame begins at a boundary"
                    );
                    passed.whole.push(frame.bytes().to_vec());
                    frame.bytes().len()
                }
                Step::Incomplete { missing } => {
                    assert!(missing > 0, "something is missing");
                    break;
                }
            };
            passed.bytes.extend(passed.left.drain(..taken));
        }
    }
    passed
}

/// Cuts a stream at these places.
fn chunks<'a>(stream: &'a [u8], cuts: &'a [prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    ends.push(stream.len());
    ends.sort_unstable();
    let mut start = 0;
    let chunk = |end| {
        let chunk = &stream[start..end];
        start = end;
        chunk
    };
    ends.into_iter().map(chunk).collect()
}

fn stream_of(tags: TagSet) -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<u8> = (0..128).filter(|tag| tags.contains(*tag)).collect();
    let often = prop_oneof![prop::sample::select(known), Just(b'd'), Just(b'd')];
    let frame = (often, prop::collection::vec(any::<u8>(), 0..20));
    prop::collection::vec(frame, 0..12).prop_map(|frames| {
        let frames = frames.into_iter().map(|(tag, body)| {
            let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
            [&[tag][..], &length, &body].concat()
        });
        frames.collect::<Vec<_>>().concat()
    })
}

proptest! {
    #[test]
    fn every_way_of_cutting_a_stream_gives_the_same(
        from_client in stream_of(frontend::tag::ALL),
        from_server in stream_of(backend::tag::ALL),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
    ) {
        for (scanner, stream) in [
            (Scanner::frontend(1_000), &from_client),
            (Scanner::backend(1_000), &from_server),
        ] {
            let at_once = relay(scanner.clone(), [stream.as_slice()].into_iter());
            prop_assert_eq!(&at_once.bytes, stream);
            prop_assert!(at_once.left.is_empty() && at_once.error.is_none());
            let cut = relay(scanner.clone(), chunks(stream, &cuts).into_iter());
            prop_assert_eq!(&cut, &at_once);
            let byte_by_byte = relay(scanner, stream.chunks(1));
            prop_assert_eq!(&byte_by_byte, &at_once);
        }
    }

    #[test]
    fn any_bytes_end_alike_however_they_are_cut(
        noise in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(0), Just(b'd'), Just(b'D'), Just(b'Q'), Just(9)], 0..80),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
    ) {
        for scanner in [Scanner::frontend(50), Scanner::backend(50)] {
            let at_once = relay(scanner.clone(), [noise.as_slice()].into_iter());
            let cut = relay(scanner, chunks(&noise, &cuts).into_iter());
            // After an error a relay reads no further, so only what precedes it is the same.
            prop_assert_eq!(at_once.error, cut.error);
            prop_assert_eq!(at_once.whole, cut.whole);
            prop_assert_eq!(at_once.begun, cut.begun);
            prop_assert_eq!(at_once.bytes, cut.bytes);
        }
    }
}
