//! Golden bytes of what servers send, written by hand from the protocol's documentation, and what
//! is refused.

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_MESSAGE_BYTES;
use crate::{Format, Frame, SqlState, Text};

pub(super) const AUTHENTICATION_OK: &[u8] = b"R\0\0\0\x08\0\0\0\0";
const CLEARTEXT: &[u8] = b"R\0\0\0\x08\0\0\0\x03";
const MD5: &[u8] = b"R\0\0\0\x0c\0\0\0\x05\x01\x02\x03\x04";
pub(super) const SASL: &[u8] = b"R\0\0\0\x2a\0\0\0\x0aSCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0";
pub(super) const SASL_CONTINUE: &[u8] = b"R\0\0\0\x0f\0\0\0\x0br=abcde";
pub(super) const SASL_FINAL: &[u8] = b"R\0\0\0\x0c\0\0\0\x0cv=sg";
const GSS: &[u8] = b"R\0\0\0\x0a\0\0\0\x08ab";
pub(super) const KEY: &[u8] = b"K\0\0\0\x0c\0\0\x30\x39\x01\x02\x03\x04";
pub(super) const COMPLETE: &[u8] = b"C\0\0\0\x0fINSERT 0 1\0";
pub(super) const COPY_IN: &[u8] = b"G\0\0\0\x0b\0\0\x02\0\0\0\0";
const COPY_OUT: &[u8] = b"H\0\0\0\x09\x01\0\x01\0\x01";
const COPY_BOTH: &[u8] = b"W\0\0\0\x07\0\0\0";
const COPY_DATA: &[u8] = b"d\0\0\0\x081\t2\n";
pub(super) const ROW: &[u8] = b"D\0\0\0\x13\0\x03\0\0\0\x011\xff\xff\xff\xff\0\0\0\0";
pub(super) const ERROR: &[u8] = b"E\0\0\0\x28SERROR\0VERROR\0C42P01\0Mno table\0P15\0\0";
pub(super) const NOTICE: &[u8] = b"N\0\0\0\x20SNOTICE\0VNOTICE\0C00000\0Mhi\0\0";
const FUNCTION_RESULT: &[u8] = b"V\0\0\0\x0c\0\0\0\x04\0\0\0\x2a";
const FUNCTION_NULL: &[u8] = b"V\0\0\0\x08\xff\xff\xff\xff";
pub(super) const NEGOTIATE: &[u8] = b"v\0\0\0\x15\0\x03\0\0\0\0\0\x01_pq_.foo\0";
const NOTIFICATION: &[u8] = b"A\0\0\0\x10\0\0\0\x07chan\0hi\0";
pub(super) const PARAMETERS: &[u8] = b"t\0\0\0\x0e\0\x02\0\0\0\x17\0\0\0\x19";
pub(super) const STATUS: &[u8] = b"S\0\0\0\x15TimeZone\0Etc/UTC\0";
pub(super) const READY: &[u8] = b"Z\0\0\0\x05I";
pub(super) const COLUMNS: &[u8] =
    b"T\0\0\0\x1b\0\x01id\0\0\0\x40\0\0\x01\0\0\0\x17\0\x04\xff\xff\xff\xff\0\0";

/// Messages that are nothing but their tag.
const BARE: [(&[u8], Message<'_>); 7] = [
    (b"1\0\0\0\x04", Message::ParseComplete),
    (b"2\0\0\0\x04", Message::BindComplete),
    (b"3\0\0\0\x04", Message::CloseComplete),
    (b"c\0\0\0\x04", Message::CopyDone),
    (b"I\0\0\0\x04", Message::EmptyQueryResponse),
    (b"n\0\0\0\x04", Message::NoData),
    (b"s\0\0\0\x04", Message::PortalSuspended),
];

/// Messages whose body has a form, so that a cut or a byte more is an error.
const FORMED: [&[u8]; 21] = [
    AUTHENTICATION_OK,
    CLEARTEXT,
    MD5,
    SASL,
    COMPLETE,
    COPY_IN,
    COPY_OUT,
    COPY_BOTH,
    ROW,
    ERROR,
    NOTICE,
    FUNCTION_RESULT,
    FUNCTION_NULL,
    NEGOTIATE,
    NOTIFICATION,
    PARAMETERS,
    STATUS,
    READY,
    COLUMNS,
    BARE[0].0,
    BARE[6].0,
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

fn authentication(bytes: &[u8]) -> Authentication<'_> {
    match decode(bytes) {
        Message::Authentication(step) => step,
        other => panic!("{other:?}"),
    }
}

#[test]
fn steps_of_a_login_read_as_documented() {
    assert_eq!(authentication(AUTHENTICATION_OK), Authentication::Ok);
    assert_eq!(authentication(CLEARTEXT), Authentication::CleartextPassword);
    let salt = [1, 2, 3, 4];
    assert_eq!(authentication(MD5), Authentication::Md5Password { salt });
    assert_eq!(
        authentication(SASL_CONTINUE),
        Authentication::SaslContinue(b"r=abcde")
    );
    assert_eq!(
        authentication(SASL_FINAL),
        Authentication::SaslFinal(b"v=sg")
    );
    let (method, data) = (8, &b"ab"[..]);
    assert_eq!(authentication(GSS), Authentication::Other { method, data });
    let Authentication::Sasl(mechanisms) = authentication(SASL) else {
        panic!("not SASL");
    };
    let names: Vec<_> = mechanisms.iter().collect();
    assert_eq!(names, ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]);
    assert!(mechanisms.contains("SCRAM-SHA-256"));
    assert!(!mechanisms.contains("SCRAM-SHA"));
    let shown = "[\"SCRAM-SHA-256-PLUS\", \"SCRAM-SHA-256\"]";
    assert_eq!(format!("{mechanisms:?}"), shown);
}

#[test]
fn a_key_has_a_secret_of_4_to_256_bytes_and_does_not_show_it() {
    let key = BackendKeyData {
        process_id: 12_345,
        secret: &[1, 2, 3, 4],
    };
    assert_eq!(decode(KEY), Message::BackendKeyData(key));
    assert_eq!(
        format!("{key:?}"),
        "BackendKeyData { process_id: 12345, .. }"
    );
    let longest = [&[0, 0, 0, 1][..], &[7; 256]].concat();
    assert_eq!(BackendKeyData::decode(&longest).unwrap().secret, [7; 256]);
    let field = "secret";
    assert_eq!(reason(b'K', &[0; 7]), Reason::Truncated { field });
    let bytes = 2;
    assert_eq!(reason(b'K', &[0; 262]), Reason::Trailing { bytes });
}

#[test]
fn messages_without_a_body_read_as_documented() {
    for (golden, message) in BARE {
        assert_eq!(decode(golden), message);
    }
    for (byte, status) in [
        (b'I', TransactionStatus::Idle),
        (b'T', TransactionStatus::InTransaction),
        (b'E', TransactionStatus::Failed),
    ] {
        let body = [byte];
        let read = Message::decode(b'Z', &body);
        assert_eq!(read, Ok(Message::ReadyForQuery(status)));
        assert_eq!(status.byte(), byte);
    }
    let (field, value) = ("transaction status", 88);
    assert_eq!(reason(b'Z', b"X"), Reason::UnknownValue { field, value });
}

#[test]
fn a_command_tag_ends_with_its_rows_where_it_has_some() {
    let tag = text("INSERT 0 1");
    assert_eq!(
        decode(COMPLETE),
        Message::CommandComplete(CommandComplete { tag })
    );
    let rows = |tag| CommandComplete { tag: text(tag) }.rows();
    assert_eq!(rows("INSERT 0 1"), Some(1));
    assert_eq!(rows("SELECT 18446744073709551615"), Some(u64::MAX));
    for tag in ["BEGIN", "CREATE TABLE", "SELECT ", "SELECT -1", ""] {
        assert_eq!(rows(tag), None, "{tag:?}");
    }
    let not_utf8 = CommandComplete {
        tag: Text::new(b"\xff 1"),
    };
    assert_eq!(not_utf8.rows(), None);
}

#[test]
fn copy_reads_as_documented() {
    let Message::CopyIn(copy) = decode(COPY_IN) else {
        panic!("not a CopyInResponse");
    };
    assert_eq!((copy.format, copy.columns.len()), (Format::Text, 2));
    let Message::CopyOut(copy) = decode(COPY_OUT) else {
        panic!("not a CopyOutResponse");
    };
    assert_eq!(
        (copy.format, copy.columns.of(0)),
        (Format::Binary, Format::Binary)
    );
    assert!(matches!(decode(COPY_BOTH), Message::CopyBoth(copy) if copy.columns.is_empty()));
    assert_eq!(decode(COPY_DATA), Message::CopyData(b"1\t2\n"));
    let code = 2;
    assert_eq!(reason(b'G', b"\x02\0\0"), Reason::UnknownFormat { code });
}

#[test]
fn rows_and_columns_read_as_documented() {
    let Message::DataRow(row) = decode(ROW) else {
        panic!("not a DataRow");
    };
    let values: Vec<_> = row.values.iter().collect();
    assert_eq!(values, [Some(&b"1"[..]), None, Some(b"")]);
    let Message::RowDescription(description) = decode(COLUMNS) else {
        panic!("not a RowDescription");
    };
    assert_eq!((description.len(), description.is_empty()), (1, false));
    let columns: Vec<_> = description.columns().collect();
    let id = Column {
        name: text("id"),
        table_oid: 0x4000,
        table_column: 1,
        type_oid: 23,
        type_bytes: 4,
        type_modifier: -1,
        format: Format::Text,
    };
    assert_eq!(columns, [id]);
    assert!(format!("{description:?}").contains("\"id\""));
    assert!(RowDescription::decode(b"\0\0").unwrap().is_empty());
}

#[test]
fn the_fields_of_a_diagnostic_are_found_by_their_codes() {
    let Message::ErrorResponse(error) = decode(ERROR) else {
        panic!("not an ErrorResponse");
    };
    assert_eq!(error.severity(), Some(text("ERROR")));
    assert_eq!(error.code(), Some(SqlState::UNDEFINED_TABLE));
    assert_eq!(error.message(), Some(text("no table")));
    assert_eq!(error.field(field::POSITION), Some(text("15")));
    assert_eq!((error.detail(), error.hint()), (None, None));
    let codes: Vec<_> = error.fields().map(|(code, _)| code).collect();
    assert_eq!(codes, b"SVCMP");
    let shown = "{'S': \"ERROR\", 'V': \"ERROR\", 'C': \"42P01\", 'M': \"no table\", 'P': \"15\"}";
    assert_eq!(format!("{error:?}"), shown);
    assert!(matches!(decode(NOTICE), Message::NoticeResponse(_)));
}

#[test]
fn a_diagnostic_of_an_old_or_odd_server_is_read_as_far_as_it_goes() {
    let old = Diagnostic::decode_error(b"SFATAL\0C57P01\0D\0Dtwice\0Hwait\0\0").unwrap();
    assert_eq!(old.severity(), Some(text("FATAL")));
    assert_eq!(old.detail(), Some(text("")), "the first of two counts");
    assert_eq!(old.hint(), Some(text("wait")));
    assert_eq!(old.message(), None);
    let odd = Diagnostic::decode_notice(b"Cshort\0\xffx\0\0").unwrap();
    assert_eq!(odd.code(), None);
    assert_eq!(odd.field(0xff), Some(text("x")));
    assert_eq!(Diagnostic::decode_error(b"\0").unwrap().fields().count(), 0);
    let field = "field value";
    let open = Diagnostic::decode_error(b"Mopen").unwrap_err();
    assert_eq!(open.reason, Reason::Unterminated { field });
    let field = "field code";
    let open = Diagnostic::decode_notice(b"Mx\0").unwrap_err();
    assert_eq!(open.reason, Reason::Truncated { field });
    assert_eq!(open.message, "NoticeResponse");
}

#[test]
fn the_small_messages_around_statements_read_as_documented() {
    assert_eq!(
        decode(FUNCTION_RESULT),
        Message::FunctionCallResponse(Some(b"\0\0\0\x2a"))
    );
    assert_eq!(decode(FUNCTION_NULL), Message::FunctionCallResponse(None));
    let (name, value) = (text("TimeZone"), text("Etc/UTC"));
    assert_eq!(
        decode(STATUS),
        Message::ParameterStatus(ParameterStatus { name, value })
    );
    let (process_id, channel, payload) = (7, text("chan"), text("hi"));
    assert_eq!(
        decode(NOTIFICATION),
        Message::NotificationResponse(NotificationResponse {
            process_id,
            channel,
            payload
        })
    );
    let Message::ParameterDescription(types) = decode(PARAMETERS) else {
        panic!("not a ParameterDescription");
    };
    assert_eq!(types.iter().collect::<Vec<_>>(), [23, 25]);
}

#[test]
fn a_negotiation_names_the_options_that_are_not_known() {
    let Message::NegotiateProtocolVersion(answer) = decode(NEGOTIATE) else {
        panic!("not a NegotiateProtocolVersion");
    };
    assert_eq!(answer.version, 0x0003_0000);
    assert_eq!(answer.options().collect::<Vec<_>>(), ["_pq_.foo"]);
    let shown = "NegotiateProtocolVersion { version: 196608, options: [\"_pq_.foo\"] }";
    assert_eq!(format!("{answer:?}"), shown);
    let none = NegotiateProtocolVersion::decode(b"\0\x03\0\x02\0\0\0\0").unwrap();
    assert_eq!((none.version, none.options().count()), (0x0003_0002, 0));
    let odd = NegotiateProtocolVersion::decode(b"\0\x03\0\0\0\0\0\x02\0a\0").unwrap();
    assert_eq!(odd.options().collect::<Vec<_>>(), ["", "a"]);
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
    let value = truncated("column value");
    assert_eq!(reason(b'D', b"\xff\xff\xff\xff\xff\xff"), value);
    assert_eq!(reason(b'D', b"\0\x01\x7f\xff\xff\xffab"), value);
    let (field, length) = ("column value", i32::MIN);
    let negative = Reason::NegativeLength { field, length };
    assert_eq!(reason(b'D', b"\0\x01\x80\0\0\0"), negative);
    let field = "column name";
    let unterminated = Reason::Unterminated { field };
    assert_eq!(reason(b'T', b"\xff\xff"), unterminated);
    let field = "option";
    let unterminated = Reason::Unterminated { field };
    assert_eq!(
        reason(b'v', b"\0\x03\0\0\xff\xff\xff\xff\0\0"),
        unterminated
    );
    let types = truncated("parameter types");
    assert_eq!(reason(b't', b"\xff\xff\0\0\0\x17"), types);
    let formats = truncated("column formats");
    assert_eq!(reason(b'H', b"\0\xff\xff"), formats);
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
    is_copy(decode(COLUMNS));
}

/// Reads all that a message can give, so that its iterators run as well.
fn walk(tag: u8, body: &[u8]) {
    let Ok(message) = Message::decode(tag, body) else {
        return;
    };
    assert!(!format!("{message:?}").is_empty());
    match message {
        Message::DataRow(row) => assert_eq!(row.values.iter().count(), row.values.len()),
        Message::RowDescription(columns) => {
            assert_eq!(columns.columns().count(), columns.len());
        }
        Message::ErrorResponse(diagnostic) | Message::NoticeResponse(diagnostic) => {
            let written: usize = diagnostic
                .fields()
                .map(|(_, text)| 2 + text.as_bytes().len())
                .sum();
            assert_eq!(written + 1, body.len(), "no field is left out");
        }
        Message::CommandComplete(complete) => drop(complete.rows()),
        _ => {}
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
