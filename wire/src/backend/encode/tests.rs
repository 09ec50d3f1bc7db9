//! What is written equals the golden bytes, and what is read back equals what was written.

use proptest::prelude::*;

use super::*;
use crate::backend::{Message, Report, Severity, field, tests as golden};
use crate::limits::{MAX_ANSWER_TEXT_BYTES, MAX_COLUMNS, MAX_MESSAGE_BYTES, MAX_REPORT_FIELDS};
use crate::{Frame, SqlState, Text};

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

fn encoded(report: &Report) -> BytesMut {
    written(|out| {
        report.encode(out);
        Ok(())
    })
}

fn read(bytes: &[u8]) -> Message<'_> {
    let frame = Frame::parse(bytes, MAX_MESSAGE_BYTES).unwrap().unwrap();
    assert_eq!(frame.bytes().len(), bytes.len());
    Message::decode(frame.tag(), frame.body()).unwrap()
}

#[test]
fn a_login_is_written_as_documented() {
    let mut out = BytesMut::new();
    authentication_ok(&mut out);
    assert_eq!(out, golden::AUTHENTICATION_OK);
    let mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"];
    assert_eq!(
        written(|out| authentication_sasl(out, &mechanisms)),
        golden::SASL
    );
    assert_eq!(
        written(|out| authentication_sasl_continue(out, b"r=abcde")),
        golden::SASL_CONTINUE
    );
    assert_eq!(
        written(|out| authentication_sasl_final(out, b"v=sg")),
        golden::SASL_FINAL
    );
    assert_eq!(
        written(|out| negotiate_protocol_version(out, ["_pq_.foo"].into_iter())),
        golden::NEGOTIATE
    );
    assert_eq!(
        written(|out| backend_key_data(out, 12_345, &[1, 2, 3, 4])),
        golden::KEY
    );
    let mut out = BytesMut::new();
    parameter_status(&mut out, "TimeZone", "Etc/UTC");
    assert_eq!(out, golden::STATUS);
}

#[test]
fn results_are_written_as_documented() {
    let id = Column {
        table_oid: 0x4000,
        table_column: 1,
        ..Column::computed("id", 23, 4)
    };
    assert_eq!(written(|out| row_description(out, &[id])), golden::COLUMNS);
    let values = [Some(&b"1"[..]), None, Some(b"")];
    assert_eq!(written(|out| data_row(out, &values)), golden::ROW);
    assert_eq!(
        written(|out| parameter_description(out, &[23, 25])),
        golden::PARAMETERS
    );
    let columns = [Format::Text, Format::Text];
    assert_eq!(
        written(|out| copy_in_response(out, Format::Text, &columns)),
        golden::COPY_IN
    );
    let mut out = BytesMut::new();
    command_complete(&mut out, "INSERT 0 1");
    ready_for_query(&mut out, TransactionStatus::Idle);
    assert_eq!(out, [golden::COMPLETE, golden::READY].concat());
}

#[test]
fn messages_without_a_body_are_written_as_documented() {
    let mut out = BytesMut::new();
    parse_complete(&mut out);
    bind_complete(&mut out);
    close_complete(&mut out);
    empty_query_response(&mut out);
    no_data(&mut out);
    portal_suspended(&mut out);
    let expected = b"1\0\0\0\x042\0\0\0\x043\0\0\0\x04I\0\0\0\x04n\0\0\0\x04s\0\0\0\x04";
    assert_eq!(&out[..], expected);
}

#[test]
fn a_report_is_written_as_an_error_or_a_notice() {
    let error = Report::error(SqlState::UNDEFINED_TABLE, "no table").field(field::POSITION, "15");
    assert_eq!(encoded(&error), golden::ERROR);
    let success = SqlState::parse(b"00000").unwrap();
    let notice = Report::new(Severity::Notice, success, "hi");
    assert_eq!(encoded(&notice), golden::NOTICE);
    for (severity, word, tag) in [
        (Severity::Error, "ERROR", tag::ERROR_RESPONSE),
        (Severity::Fatal, "FATAL", tag::ERROR_RESPONSE),
        (Severity::Warning, "WARNING", tag::NOTICE_RESPONSE),
        (Severity::Notice, "NOTICE", tag::NOTICE_RESPONSE),
        (Severity::Info, "INFO", tag::NOTICE_RESPONSE),
    ] {
        let out = encoded(&Report::new(severity, success, "x"));
        assert_eq!(out[0], tag);
        let (Message::ErrorResponse(read) | Message::NoticeResponse(read)) = read(&out) else {
            panic!("not a diagnostic");
        };
        assert_eq!(read.severity(), Some(Text::new(word.as_bytes())));
    }
}

#[test]
fn a_report_says_what_was_put_into_it() {
    let report = Report::fatal(SqlState::TOO_MANY_CONNECTIONS, String::from("full"))
        .detail("100 of 100")
        .hint("come later");
    assert_eq!(
        (report.severity(), report.code(), report.message()),
        (Severity::Fatal, SqlState::TOO_MANY_CONNECTIONS, "full")
    );
    let out = encoded(&report);
    let Message::ErrorResponse(read) = read(&out) else {
        panic!("not an ErrorResponse");
    };
    assert_eq!(read.code(), Some(SqlState::TOO_MANY_CONNECTIONS));
    assert_eq!(read.detail(), Some(Text::new(b"100 of 100")));
    assert_eq!(read.hint(), Some(Text::new(b"come later")));
}

#[test]
fn a_report_stays_readable_whatever_is_put_into_it() {
    let long = "\u{fc}".repeat(MAX_ANSWER_TEXT_BYTES);
    let mut report = Report::error(SqlState::INTERNAL_ERROR, "before\0after").detail(long);
    report = report.field(0, "would end the report");
    for _ in 0..100 {
        report = report.field(field::CONTEXT, "again");
    }
    let out = encoded(&report);
    let Message::ErrorResponse(read) = read(&out) else {
        panic!("not an ErrorResponse");
    };
    assert_eq!(read.message(), Some(Text::new(b"before")));
    let detail = read.detail().unwrap();
    assert_eq!(detail.as_bytes().len(), MAX_ANSWER_TEXT_BYTES);
    assert!(detail.as_str().is_ok(), "no character is cut in two");
    assert_eq!(read.fields().count(), 4 + MAX_REPORT_FIELDS);
}

#[test]
fn texts_without_an_error_are_cut_at_a_zero_byte() {
    let mut out = BytesMut::new();
    parameter_status(&mut out, "a\0b", "c\0d");
    assert_eq!(&out[..], b"S\0\0\0\x08a\0c\0");
}

#[test]
fn what_cannot_be_written_is_refused_and_leaves_nothing() {
    let zero = |field| EncodeError::InteriorZero { field };
    assert_eq!(
        refused(|out| authentication_sasl(out, &["A", "B\0"])),
        zero("mechanism")
    );
    assert_eq!(
        refused(|out| row_description(out, &[Column::computed("a\0", 23, 4)])),
        zero("column name")
    );
    assert_eq!(
        refused(|out| negotiate_protocol_version(out, ["ok", "a\0"].into_iter())),
        zero("option")
    );
    let (count, max) = (MAX_COLUMNS + 1, MAX_COLUMNS);
    let too_many = |field| EncodeError::TooMany { field, count, max };
    assert_eq!(
        refused(|out| data_row(out, &vec![None; count])),
        too_many("columns")
    );
    assert_eq!(
        refused(|out| parameter_description(out, &vec![0; count])),
        too_many("parameter types")
    );
    assert_eq!(
        refused(|out| copy_in_response(out, Format::Text, &vec![Format::Text; count])),
        too_many("columns")
    );
    let options = std::iter::repeat_n("x", count);
    assert_eq!(
        refused(|out| negotiate_protocol_version(out, options)),
        too_many("options")
    );
    let text = "65536 columns are more than 65535";
    assert_eq!(too_many("columns").to_string(), text);
}

proptest! {
    #[test]
    fn a_row_reads_back_as_it_was_written(
        values in prop::collection::vec(
            prop::option::of(prop::collection::vec(any::<u8>(), 0..12)), 0..12),
    ) {
        let borrowed: Vec<_> = values.iter().map(Option::as_deref).collect();
        let out = written(|out| data_row(out, &borrowed));
        let Message::DataRow(row) = read(&out) else { panic!("not a DataRow") };
        prop_assert_eq!(row.values.len(), borrowed.len());
        prop_assert_eq!(row.values.iter().collect::<Vec<_>>(), borrowed);
    }

    #[test]
    fn columns_read_back_as_they_were_written(
        parts in prop::collection::vec(
            (prop::collection::vec(1..=u8::MAX, 0..12), any::<(u32, i16, u32, i16, i32, bool)>()),
            0..8),
    ) {
        let columns: Vec<_> = parts.iter().map(|(name, numbers)| {
            let (table_oid, table_column, type_oid, type_bytes, type_modifier, binary) = *numbers;
            let format = if binary { Format::Binary } else { Format::Text };
            let name = Text::new(name);
            Column { name, table_oid, table_column, type_oid, type_bytes, type_modifier, format }
        }).collect();
        let out = written(|out| row_description(out, &columns));
        let Message::RowDescription(described) = read(&out) else {
            panic!("not a RowDescription")
        };
        prop_assert_eq!(described.columns().collect::<Vec<_>>(), columns);
    }

    #[test]
    fn any_report_is_readable(
        message in ".{0,20}",
        more in prop::collection::vec((any::<u8>(), ".{0,10}"), 0..20),
    ) {
        let mut report = Report::error(SqlState::INTERNAL_ERROR, message.clone());
        for (code, text) in more {
            report = report.field(code, text);
        }
        let out = encoded(&report);
        let Message::ErrorResponse(diagnostic) = read(&out) else {
            panic!("not an ErrorResponse");
        };
        let shown = message.split('\0').next().unwrap_or_default();
        prop_assert_eq!(diagnostic.message(), Some(Text::new(shown.as_bytes())));
    }
}
