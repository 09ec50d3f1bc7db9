//! Golden bytes of what clients send, written by hand from the protocol's documentation, and what
//! is refused.

use proptest::prelude::*;

use super::*;
use crate::Frame;
use crate::limits::MAX_MESSAGE_BYTES;

pub(super) const QUERY: &[u8] = b"Q\0\0\0\x0dSELECT 1\0";
pub(super) const PARSE: &[u8] = b"P\0\0\0\x17s1\0SELECT $1\0\0\x01\0\0\0\x17";
pub(super) const BIND: &[u8] = b"B\0\0\0\x20p1\0s1\0\
    \0\x02\0\0\0\x01\
    \0\x02\0\0\0\x0242\xff\xff\xff\xff\
    \0\x01\0\x01";
pub(super) const BIND_UNNAMED: &[u8] = b"B\0\0\0\x0c\0\0\0\0\0\0\0\0";
pub(super) const DESCRIBE_STATEMENT: &[u8] = b"D\0\0\0\x08Ss1\0";
pub(super) const DESCRIBE_PORTAL: &[u8] = b"D\0\0\0\x06P\0";
pub(super) const EXECUTE: &[u8] = b"E\0\0\0\x0bp1\0\0\0\0\x64";
pub(super) const CLOSE_PORTAL: &[u8] = b"C\0\0\0\x08Pp1\0";
pub(super) const SYNC: &[u8] = b"S\0\0\0\x04";
pub(super) const FLUSH: &[u8] = b"H\0\0\0\x04";
pub(super) const TERMINATE: &[u8] = b"X\0\0\0\x04";
pub(super) const COPY_DATA: &[u8] = b"d\0\0\0\x081\t2\n";
pub(super) const COPY_DONE: &[u8] = b"c\0\0\0\x04";
pub(super) const COPY_FAIL: &[u8] = b"f\0\0\0\x09oops\0";
pub(super) const PASSWORD: &[u8] = b"p\0\0\0\x0bsecret\0";
pub(super) const SASL_INITIAL: &[u8] = b"p\0\0\0\x21SCRAM-SHA-256\0\0\0\0\x0bn,,n=,r=abc";
pub(super) const SASL_INITIAL_BARE: &[u8] = b"p\0\0\0\x16SCRAM-SHA-256\0\xff\xff\xff\xff";
pub(super) const SASL_RESPONSE: &[u8] = b"p\0\0\0\x0ac=biws";
const FUNCTION_CALL: &[u8] = b"F\0\0\0\x1c\0\0\x05\x1a\
    \0\x01\0\x01\
    \0\x02\0\0\0\x04\0\0\0\x2a\xff\xff\xff\xff\
    \0\x01";

/// Messages whose body has a form, so that a cut or a byte more is an error.
const FORMED: [&[u8]; 14] = [
    QUERY,
    PARSE,
    BIND,
    BIND_UNNAMED,
    DESCRIBE_STATEMENT,
    DESCRIBE_PORTAL,
    EXECUTE,
    CLOSE_PORTAL,
    SYNC,
    FLUSH,
    TERMINATE,
    COPY_DONE,
    COPY_FAIL,
    FUNCTION_CALL,
];

fn frame(bytes: &[u8]) -> Frame<'_> {
    let frame = Frame::parse(bytes, MAX_MESSAGE_BYTES).unwrap().unwrap();
    assert_eq!(frame.bytes(), bytes, "a golden message is one whole frame");
    frame
}

fn decode(bytes: &[u8]) -> Message<'_> {
    let frame = frame(bytes);
    Message::decode(frame.tag(), frame.body()).unwrap()
}

fn reason(tag: u8, body: &[u8]) -> Reason {
    Message::decode(tag, body).unwrap_err().reason
}

fn text(text: &str) -> Text<'_> {
    Text::new(text.as_bytes())
}

#[test]
fn statements_and_portals_read_as_documented() {
    let sql = text("SELECT 1");
    assert_eq!(decode(QUERY), Message::Query(Query { sql }));
    assert_eq!(
        decode(PARSE),
        Message::Parse(Parse {
            name: text("s1"),
            sql: text("SELECT $1"),
            parameter_types: Oids::new(&[0, 0, 0, 23]),
        })
    );
    let (kind, name) = (TargetKind::Statement, text("s1"));
    assert_eq!(
        decode(DESCRIBE_STATEMENT),
        Message::Describe(Target { kind, name })
    );
    let (kind, name) = (TargetKind::Portal, text(""));
    assert_eq!(
        decode(DESCRIBE_PORTAL),
        Message::Describe(Target { kind, name })
    );
    let name = text("p1");
    assert_eq!(decode(CLOSE_PORTAL), Message::Close(Target { kind, name }));
    let (portal, max_rows) = (text("p1"), 100);
    assert_eq!(
        decode(EXECUTE),
        Message::Execute(Execute { portal, max_rows })
    );
}

#[test]
fn bind_reads_as_documented() {
    let Message::Bind(bind) = decode(BIND) else {
        panic!("not a Bind");
    };
    assert_eq!((bind.portal, bind.statement), (text("p1"), text("s1")));
    let values: Vec<_> = bind.parameters.iter().collect();
    assert_eq!(values, [Some(&b"42"[..]), None]);
    assert_eq!(bind.parameter(0), Some((Format::Text, Some(&b"42"[..]))));
    assert_eq!(bind.parameter(1), Some((Format::Binary, None)));
    assert_eq!(bind.parameter(2), None);
    let both: Vec<_> = bind.parameters_with_formats().collect();
    assert_eq!(
        both,
        [(Format::Text, Some(&b"42"[..])), (Format::Binary, None)]
    );
    let formats: Vec<_> = bind.result_formats.iter().collect();
    assert_eq!(formats, [Format::Binary]);

    let Message::Bind(bind) = decode(BIND_UNNAMED) else {
        panic!("not a Bind");
    };
    assert!(bind.portal.is_empty() && bind.statement.is_empty());
    assert!(bind.formats.is_empty() && bind.parameters.is_empty());
    assert!(bind.result_formats.is_empty());
}

#[test]
fn one_parameter_format_stands_for_all() {
    let body = b"\0\0\0\x01\0\x01\0\x02\0\0\0\x01a\0\0\0\x01b\0\0";
    let bind = Bind::decode(body).unwrap();
    let formats: Vec<_> = bind.parameters_with_formats().map(|(f, _)| f).collect();
    assert_eq!(formats, [Format::Binary, Format::Binary]);
}

#[test]
fn messages_without_a_body_and_copy_read_as_documented() {
    assert_eq!(decode(SYNC), Message::Sync);
    assert_eq!(decode(FLUSH), Message::Flush);
    assert_eq!(decode(TERMINATE), Message::Terminate);
    assert_eq!(decode(COPY_DONE), Message::CopyDone);
    assert_eq!(decode(COPY_DATA), Message::CopyData(b"1\t2\n"));
    assert_eq!(decode(COPY_FAIL), Message::CopyFail(text("oops")));
}

#[test]
fn function_call_reads_as_documented() {
    let Message::FunctionCall(call) = decode(FUNCTION_CALL) else {
        panic!("not a FunctionCall");
    };
    assert_eq!((call.function, call.result_format), (1306, Format::Binary));
    assert_eq!(call.formats.of(1), Format::Binary);
    let arguments: Vec<_> = call.arguments.iter().collect();
    assert_eq!(arguments, [Some(&b"\0\0\0\x2a"[..]), None]);
}

fn password(bytes: &[u8]) -> Password<'_> {
    match decode(bytes) {
        Message::Password(password) => password,
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_to_authentication_read_as_what_was_asked_for() {
    assert_eq!(password(PASSWORD).password().unwrap(), "secret");
    let mechanism = text("SCRAM-SHA-256");
    let data = Some(&b"n,,n=,r=abc"[..]);
    assert_eq!(
        password(SASL_INITIAL).sasl_initial_response().unwrap(),
        SaslInitialResponse { mechanism, data }
    );
    let data = None;
    assert_eq!(
        password(SASL_INITIAL_BARE).sasl_initial_response().unwrap(),
        SaslInitialResponse { mechanism, data }
    );
    assert_eq!(password(SASL_RESPONSE).sasl_response(), b"c=biws");
    let wrong_kind = password(SASL_RESPONSE).sasl_initial_response();
    assert_eq!(wrong_kind.unwrap_err().message, "SASLInitialResponse");
    let lying = Password::new(b"SCRAM-SHA-256\0\x7f\xff\xff\xffn,,").sasl_initial_response();
    let field = "initial response";
    assert_eq!(lying.unwrap_err().reason, Reason::Truncated { field });
}

#[test]
fn a_password_is_not_shown() {
    let shown = format!("{:?}", decode(PASSWORD));
    assert_eq!(shown, "Password(Password(7 bytes))");
}

#[test]
fn every_cut_and_every_byte_too_many_is_refused() {
    for golden in FORMED {
        let frame = frame(golden);
        for end in 0..frame.body().len() {
            let cut = Message::decode(frame.tag(), &frame.body()[..end]);
            assert!(cut.is_err(), "{golden:?} cut at {end}: {cut:?}");
        }
        let longer = [frame.body(), b"\0"].concat();
        let bytes = 1;
        assert_eq!(reason(frame.tag(), &longer), Reason::Trailing { bytes });
    }
}

#[test]
fn counts_and_lengths_that_lie_are_refused() {
    let truncated = |field| Reason::Truncated { field };
    let formats = truncated("parameter formats");
    assert_eq!(reason(b'B', b"\0\0\xff\xff\0\0"), formats);
    let parameter = truncated("parameter");
    assert_eq!(reason(b'B', b"\0\0\0\0\xff\xff\0\0\0\0"), parameter);
    assert_eq!(reason(b'B', b"\0\0\0\0\0\x01\x7f\xff\xff\xffab"), parameter);
    let types = truncated("parameter types");
    assert_eq!(reason(b'P', b"\0\0\xff\xff\0\0\0\x17"), types);
    let (field, length) = ("parameter", -2);
    assert_eq!(
        reason(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0"),
        Reason::NegativeLength { field, length }
    );
}

#[test]
fn what_has_no_meaning_is_refused_with_the_server_s_own_code() {
    let two_for_three =
        b"\0\0\0\x02\0\0\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0";
    let (formats, parameters) = (2, 3);
    let count = Reason::FormatCount {
        formats,
        parameters,
    };
    assert_eq!(reason(b'B', two_for_three), count);
    let call =
        b"\0\0\0\x01\0\x02\0\0\0\0\0\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0";
    assert_eq!(reason(b'F', call), count);
    let code = 2;
    let error = Message::decode(b'B', b"\0\0\0\x01\0\x02\0\0\0\0").unwrap_err();
    assert_eq!(error.reason, Reason::UnknownFormat { code });
    assert_eq!(error.sqlstate(), crate::SqlState::INVALID_PARAMETER_VALUE);
    let (field, value) = ("kind", 120);
    let error = Message::decode(b'D', b"xs1\0").unwrap_err();
    assert_eq!(error.reason, Reason::UnknownValue { field, value });
    assert_eq!(error.sqlstate(), crate::SqlState::PROTOCOL_VIOLATION);
    let expected = "malformed Describe message: the kind is 120, which has no meaning";
    assert_eq!(error.to_string(), expected);
    assert_eq!(reason(b'z', b""), Reason::UnknownTag { tag: b'z' });
    let error = Message::decode(b'z', b"").unwrap_err().to_string();
    assert_eq!(error, "malformed frontend message: unknown tag 0x7a");
    let field = "query string";
    assert_eq!(reason(b'Q', b"SELECT 1"), Reason::Unterminated { field });
}

#[test]
fn exactly_the_known_tags_are_read() {
    for tag in 0..=u8::MAX {
        let is_unknown =
            Message::decode(tag, b"").is_err_and(|e| e.reason == Reason::UnknownTag { tag });
        assert_eq!(is_unknown, !tag::ALL.contains(tag), "tag {tag:#04x}");
    }
}

/// A view that is `Copy` owns no memory, so that no length can make the decoder allocate.
#[test]
fn a_decoded_message_owns_no_memory() {
    fn is_copy<T: Copy>(_: T) {}
    is_copy(decode(BIND));
}

/// Reads all that a message can give, so that its iterators run as well.
fn walk(tag: u8, body: &[u8]) {
    if let Ok(message) = Message::decode(tag, body) {
        assert!(!format!("{message:?}").is_empty());
        if let Message::Bind(bind) = message {
            let walked = bind.parameters_with_formats().count();
            assert_eq!(walked, bind.parameters.len());
            let last = bind.parameters.len();
            assert!(bind.parameter(last).is_none());
        }
        if let Message::Password(password) = message {
            drop((password.password(), password.sasl_initial_response()));
        }
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(tag: u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
        walk(tag, &body);
    }

    #[test]
    fn any_damage_to_a_message_is_read_or_refused(
        which in 0..FORMED.len(),
        at: prop::sample::Index,
        byte: u8,
        more in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let frame = frame(FORMED[which]);
        let mut body = frame.body().to_vec();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = byte;
        }
        body.extend(more);
        walk(frame.tag(), &body);
    }
}
