//! What is written equals the golden bytes, and what is read back equals what was written.

use proptest::prelude::*;

use super::*;
use crate::frontend::{Message, tests as golden};
use crate::limits::{
    MAX_CANCEL_SECRET_BYTES, MAX_MESSAGE_BYTES, MAX_PARAMETERS, MAX_STARTUP_BYTES,
};
use crate::{Frame, startup::Startup};

fn written(write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> BytesMut {
    let mut out = BytesMut::from(&b"before"[..]);
    write(&mut out).unwrap();
    assert_eq!(&out.split_to(6)[..], b"before", "a message is appended");
    out
}

fn refused(write: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>) -> EncodeError {
    let mut out = BytesMut::from(&b"before"[..]);
    let error = write(&mut out).unwrap_err();
    assert_eq!(&out[..], b"before", "a refused message leaves nothing");
    error
}

#[test]
fn statements_and_portals_are_written_as_documented() {
    assert_eq!(written(|out| query(out, b"SELECT 1")), golden::QUERY);
    assert_eq!(
        written(|out| parse(out, b"s1", b"SELECT $1", &[23])),
        golden::PARSE
    );
    let formats = [Format::Text, Format::Binary];
    let values = [Some(&b"42"[..]), None];
    assert_eq!(
        written(|out| bind(out, b"p1", b"s1", &formats, &values, &[Format::Binary])),
        golden::BIND
    );
    assert_eq!(
        written(|out| bind(out, b"", b"", &[], &[], &[])),
        golden::BIND_UNNAMED
    );
    assert_eq!(
        written(|out| describe(out, TargetKind::Statement, b"s1")),
        golden::DESCRIBE_STATEMENT
    );
    assert_eq!(
        written(|out| describe(out, TargetKind::Portal, b"")),
        golden::DESCRIBE_PORTAL
    );
    assert_eq!(
        written(|out| close(out, TargetKind::Portal, b"p1")),
        golden::CLOSE_PORTAL
    );
    assert_eq!(written(|out| execute(out, b"p1", 100)), golden::EXECUTE);
}

#[test]
fn all_else_is_written_as_documented() {
    let mut out = BytesMut::new();
    sync(&mut out);
    flush(&mut out);
    copy_done(&mut out);
    terminate(&mut out);
    let four = [
        golden::SYNC,
        golden::FLUSH,
        golden::COPY_DONE,
        golden::TERMINATE,
    ];
    assert_eq!(out, four.concat());
    assert_eq!(written(|out| copy_data(out, b"1\t2\n")), golden::COPY_DATA);
    assert_eq!(written(|out| copy_fail(out, "oops")), golden::COPY_FAIL);
    assert_eq!(written(|out| password(out, b"secret")), golden::PASSWORD);
    let mechanism = "SCRAM-SHA-256";
    assert_eq!(
        written(|out| sasl_initial_response(out, mechanism, Some(b"n,,n=,r=abc"))),
        golden::SASL_INITIAL
    );
    assert_eq!(
        written(|out| sasl_initial_response(out, mechanism, None)),
        golden::SASL_INITIAL_BARE
    );
    assert_eq!(
        written(|out| sasl_response(out, b"c=biws")),
        golden::SASL_RESPONSE
    );
}

#[test]
fn packets_without_a_tag_are_written_as_documented() {
    let mut out = BytesMut::new();
    ssl_request(&mut out);
    assert_eq!(out.split(), b"\0\0\0\x08\x04\xd2\x16\x2f"[..]);
    gssenc_request(&mut out);
    assert_eq!(out.split(), b"\0\0\0\x08\x04\xd2\x16\x30"[..]);
    assert_eq!(
        written(|out| startup(out, &[("user", "ann"), ("database", "shop")])),
        b"\0\0\0\x20\0\x03\0\0user\0ann\0database\0shop\0\0"[..]
    );
    assert_eq!(
        written(|out| cancel_request(out, 12_345, &[1, 2, 3, 4])),
        b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x30\x39\x01\x02\x03\x04"[..]
    );
    let long = written(|out| cancel_request(out, 1, &[7; MAX_CANCEL_SECRET_BYTES]));
    assert_eq!(&long[..4], b"\0\0\x01\x0c");
}

#[test]
fn a_startup_packet_or_secret_that_no_server_takes_is_refused() {
    let name = "x".repeat(MAX_STARTUP_BYTES);
    let (bytes, max) = (4 + 10_000 + 1 + 4 + 1, MAX_STARTUP_BYTES);
    let error = refused(|out| startup(out, &[(&name, "ann")]));
    assert_eq!(error, EncodeError::TooLong { bytes, max });
    let (bytes, max) = (257, 256);
    let error = refused(|out| cancel_request(out, 1, &[7; 257]));
    assert_eq!(error, EncodeError::TooLong { bytes, max });
}

#[test]
fn a_zero_byte_inside_a_string_is_refused_and_nothing_is_written() {
    let zero = |field| EncodeError::InteriorZero { field };
    let text = b"a\0b";
    assert_eq!(refused(|out| query(out, text)), zero("query string"));
    assert_eq!(
        refused(|out| parse(out, text, b"", &[])),
        zero("statement name")
    );
    assert_eq!(
        refused(|out| parse(out, b"s", text, &[])),
        zero("query string")
    );
    assert_eq!(
        refused(|out| bind(out, b"p", text, &[], &[], &[])),
        zero("statement name")
    );
    assert_eq!(
        refused(|out| close(out, TargetKind::Portal, text)),
        zero("name")
    );
    assert_eq!(refused(|out| execute(out, text, 0)), zero("portal name"));
    assert_eq!(refused(|out| copy_fail(out, "a\0")), zero("reason"));
    assert_eq!(refused(|out| password(out, text)), zero("password"));
    assert_eq!(
        refused(|out| startup(out, &[("user", "a\0")])),
        zero("parameter value")
    );
    let error = zero("password").to_string();
    assert_eq!(error, "the password contains a zero byte");
}

#[test]
fn more_items_than_sixteen_bits_count_are_refused() {
    let (count, max) = (MAX_PARAMETERS + 1, MAX_PARAMETERS);
    let too_many = |field| EncodeError::TooMany { field, count, max };
    let values = vec![None; count];
    assert_eq!(
        refused(|out| bind(out, b"", b"", &[], &values, &[])),
        too_many("parameters")
    );
    assert_eq!(
        refused(|out| parse(out, b"", b"", &vec![0; count])),
        too_many("parameter types")
    );
    let most = written(|out| bind(out, b"", b"", &[], &values[..max], &[]));
    let frame = Frame::parse(&most, MAX_MESSAGE_BYTES).unwrap().unwrap();
    let Ok(Message::Bind(bind)) = Message::decode(frame.tag(), frame.body()) else {
        panic!("not a Bind");
    };
    assert_eq!(bind.parameters.len(), max);
}

/// What may be in a string of the protocol.
fn string() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=u8::MAX, 0..12)
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![Just(Format::Text), Just(Format::Binary)]
}

fn values() -> impl Strategy<Value = Vec<Option<Vec<u8>>>> {
    prop::collection::vec(
        prop::option::of(prop::collection::vec(any::<u8>(), 0..12)),
        0..8,
    )
}

proptest! {
    #[test]
    fn a_bind_reads_back_as_it_was_written(
        portal in string(),
        statement in string(),
        parameters in values(),
        one_format in prop::option::of(format()),
        result_formats in prop::collection::vec(format(), 0..4),
    ) {
        let borrowed: Vec<_> = parameters.iter().map(Option::as_deref).collect();
        let formats: Vec<_> = one_format.into_iter().collect();
        let out =
            written(|out| bind(out, &portal, &statement, &formats, &borrowed, &result_formats));
        let frame = Frame::parse(&out, MAX_MESSAGE_BYTES).unwrap().unwrap();
        prop_assert_eq!(frame.bytes().len(), out.len());
        let Ok(Message::Bind(read)) = Message::decode(frame.tag(), frame.body()) else {
            panic!("not a Bind");
        };
        prop_assert_eq!(read.portal.as_bytes(), &portal);
        prop_assert_eq!(read.statement.as_bytes(), &statement);
        prop_assert_eq!(read.parameters.iter().collect::<Vec<_>>(), borrowed);
        prop_assert_eq!(read.formats.iter().collect::<Vec<_>>(), formats);
        prop_assert_eq!(read.result_formats.iter().collect::<Vec<_>>(), result_formats);
    }

    #[test]
    fn a_parse_reads_back_as_it_was_written(
        name in string(),
        sql in string(),
        types in prop::collection::vec(any::<u32>(), 0..8),
    ) {
        let out = written(|out| parse(out, &name, &sql, &types));
        let frame = Frame::parse(&out, MAX_MESSAGE_BYTES).unwrap().unwrap();
        let Ok(Message::Parse(read)) = Message::decode(frame.tag(), frame.body()) else {
            panic!("not a Parse");
        };
        prop_assert_eq!(read.name.as_bytes(), &name);
        prop_assert_eq!(read.sql.as_bytes(), &sql);
        prop_assert_eq!(read.parameter_types.iter().collect::<Vec<_>>(), types);
    }

    #[test]
    fn a_startup_packet_reads_back_as_it_was_written(
        params in prop::collection::vec(("[a-z_.]{1,10}", "[^\\x00]{0,10}"), 0..6),
    ) {
        let borrowed: Vec<_> = params.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let out = written(|out| startup(out, &borrowed));
        let (packet, length) = Startup::decode(&out).unwrap().unwrap();
        prop_assert_eq!(length, out.len());
        let Startup::Parameters(read) = packet else {
            panic!("not parameters");
        };
        prop_assert_eq!(read.params, params);
    }

    #[test]
    fn a_cancel_request_reads_back_as_it_was_written(
        process in any::<i32>(),
        key in prop::collection::vec(any::<u8>(), 4..=256),
    ) {
        let out = written(|out| cancel_request(out, process, &key));
        let (packet, _) = Startup::decode(&out).unwrap().unwrap();
        let secret = key.into();
        prop_assert_eq!(packet, Startup::Cancel { process_id: process, secret });
    }
}
