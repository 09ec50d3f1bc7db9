//! A rename replaces the name and nothing else.

use proptest::prelude::*;

use super::*;
use crate::Reason;
use crate::frontend::encode;
use crate::frontend::tests as golden;

fn body(golden: &[u8]) -> &[u8] {
    &golden[HEADER_BYTES..]
}

fn renamed(rename: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> Vec<u8> {
    let mut out = BytesMut::from(&b"before"[..]);
    rename(&mut out).unwrap();
    assert!(out.starts_with(b"before"), "a message is appended");
    out[6..].to_vec()
}

fn refused(rename: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> EncodeError {
    let mut out = BytesMut::new();
    let error = rename(&mut out).unwrap_err();
    assert!(out.is_empty(), "a refused message leaves nothing");
    error
}

#[test]
fn each_message_keeps_all_but_the_name() {
    assert_eq!(
        renamed(|out| bind_renamed(out, body(golden::BIND), b"other")),
        b"B\0\0\0\x23p1\0other\0\0\x02\0\0\0\x01\0\x02\0\0\0\x0242\xff\xff\xff\xff\0\x01\0\x01"
    );
    assert_eq!(
        renamed(|out| parse_renamed(out, body(golden::PARSE), b"other")),
        b"P\0\0\0\x1aother\0SELECT $1\0\0\x01\0\0\0\x17"
    );
    assert_eq!(
        renamed(|out| describe_renamed(out, body(golden::DESCRIBE_STATEMENT), b"other")),
        b"D\0\0\0\x0bSother\0"
    );
    assert_eq!(
        renamed(|out| close_renamed(out, body(golden::CLOSE_PORTAL), b"other")),
        b"C\0\0\0\x0bPother\0"
    );
}

#[test]
fn the_same_name_gives_the_same_bytes_and_the_empty_name_is_a_name() {
    assert_eq!(
        renamed(|out| bind_renamed(out, body(golden::BIND), b"s1")),
        golden::BIND
    );
    assert_eq!(
        renamed(|out| describe_renamed(out, body(golden::DESCRIBE_STATEMENT), b"")),
        b"D\0\0\0\x06S\0"
    );
}

#[test]
fn a_body_without_its_names_is_refused() {
    let field = "statement name";
    let reason = Reason::Unterminated { field };
    let message = "Bind";
    assert_eq!(
        refused(|out| bind_renamed(out, b"p1\0s1", b"x")),
        EncodeError::Malformed(DecodeError { message, reason })
    );
    let field = "kind";
    let reason = Reason::Truncated { field };
    let message = "Close";
    assert_eq!(
        refused(|out| close_renamed(out, b"", b"x")),
        EncodeError::Malformed(DecodeError { message, reason })
    );
    refused(|out| parse_renamed(out, b"s1", b"x"));
    refused(|out| describe_renamed(out, b"Ss1\0\0", b"x"));
}

#[test]
fn a_name_with_a_zero_byte_is_refused() {
    let error = refused(|out| bind_renamed(out, body(golden::BIND), b"a\0b"));
    assert_eq!(error, EncodeError::InteriorZero { field: "name" });
}

proptest! {
    #[test]
    fn a_renamed_bind_equals_one_written_with_that_name(
        names in prop::collection::vec(prop::collection::vec(1..=u8::MAX, 0..10), 3),
        parameters in prop::collection::vec(
            prop::option::of(prop::collection::vec(any::<u8>(), 0..10)), 0..5),
    ) {
        let [portal, old, new] = &names[..] else { panic!("three names") };
        let values: Vec<_> = parameters.iter().map(Option::as_deref).collect();
        let (mut before, mut after) = (BytesMut::new(), BytesMut::new());
        encode::bind(&mut before, portal, old, &[], &values, &[]).unwrap();
        encode::bind(&mut after, portal, new, &[], &values, &[]).unwrap();
        prop_assert_eq!(renamed(|out| bind_renamed(out, body(&before), new)), &after[..]);
    }

    #[test]
    fn what_follows_the_names_is_copied_unread(rest in prop::collection::vec(any::<u8>(), 0..40)) {
        let body = [&b"p\0s\0"[..], &rest].concat();
        let bytes = renamed(|out| bind_renamed(out, &body, b"name"));
        prop_assert_eq!(&bytes[HEADER_BYTES..], [&b"p\0name\0"[..], &rest].concat());
        let body = [&b"s\0"[..], &rest].concat();
        let bytes = renamed(|out| parse_renamed(out, &body, b"name"));
        prop_assert_eq!(&bytes[HEADER_BYTES..], [&b"name\0"[..], &rest].concat());
    }
}
