use wire::backend::{Column, TransactionStatus, encode};

use super::*;

/// A client that reads LATIN1, as it has been told.
fn latin1() -> Conversion {
    let mut conversion = Conversion::new();
    conversion.expect(Named::find("LATIN1").unwrap());
    let status = written(|out| encode::parameter_status(out, "client_encoding", "LATIN1"));
    conversion.pass(&status);
    conversion.pass(&ready(TransactionStatus::Idle));
    conversion.ready.clear();
    conversion.release();
    conversion
}

fn written(write: impl FnOnce(&mut BytesMut)) -> BytesMut {
    let mut out = BytesMut::new();
    write(&mut out);
    out
}

fn row(values: &[Option<&[u8]>]) -> BytesMut {
    written(|out| encode::data_row(out, values).unwrap())
}

fn ready(status: TransactionStatus) -> BytesMut {
    written(|out| encode::ready_for_query(out, status))
}

fn complete(tag: &str) -> BytesMut {
    written(|out| encode::command_complete(out, tag))
}

fn description(name: &str, type_oid: u32, format: Format) -> BytesMut {
    let mut column = Column::computed(name, type_oid, -1);
    column.format = format;
    written(|out| encode::row_description(out, &[column]).unwrap())
}

/// The messages that are ready.
fn tags(conversion: &Conversion) -> String {
    let mut rest: &[u8] = &conversion.ready;
    let mut tags = String::new();
    while let Ok(Some(header)) = Header::parse(rest, usize::MAX) {
        tags.push(char::from(header.tag));
        rest = &rest[header.frame_bytes()..];
    }
    tags
}

#[test]
fn answers_are_converted_however_they_are_cut() {
    let answers = [
        description("prénom", 25, Format::Text),
        row(&[Some("é".as_bytes()), None, Some(b"abc")]),
        written(|out| local_error(out, "\"é\" is not ☃")),
        ready(TransactionStatus::Idle),
    ]
    .concat();
    let expected = [
        written(|out| {
            let mut column = Column::computed("", 25, -1);
            column.name = wire::Text::new(b"pr\xe9nom");
            encode::row_description(out, &[column]).unwrap();
        }),
        row(&[Some(b"\xe9"), None, Some(b"abc")]),
        {
            let utf8 = written(|out| local_error(out, "\"e\" is not ?"));
            let at = utf8.windows(3).position(|it| it == b"\"e\"").unwrap();
            let mut latin1 = utf8;
            latin1[at + 1] = 0xe9;
            latin1
        },
        ready(TransactionStatus::Idle),
    ]
    .concat();
    for size in 1..=answers.len() {
        let mut conversion = latin1();
        for piece in answers.chunks(size) {
            conversion.pass(piece);
        }
        let ready = conversion.ready.escape_ascii().to_string();
        assert_eq!(ready, expected.escape_ascii().to_string());
        assert!(conversion.is_at_end() && conversion.failure().is_none());
    }
}

fn local_error(out: &mut BytesMut, message: &str) {
    use wire::backend::Report;
    Report::error(wire::SqlState::INTERNAL_ERROR, message.to_owned()).encode(out);
}

#[test]
fn the_encoding_is_told_before_the_end_of_an_answer() {
    let mut conversion = latin1();
    conversion.pass(&complete("ROLLBACK"));
    conversion.pass(&ready(TransactionStatus::Idle));
    assert!(conversion.settle(Named::UTF8));
    assert_eq!(tags(&conversion), "CSZ");
    conversion.release();
    assert!(!conversion.settle(Named::UTF8));
    conversion.ready.clear();
    conversion.pass(&row(&[Some("é".as_bytes())]));
    assert_eq!(*conversion.ready, *row(&[Some("é".as_bytes())]));
}

#[test]
fn what_comes_before_a_change_is_in_the_encoding_of_before() {
    let mut conversion = latin1();
    let utf8 = row(&[Some("é".as_bytes())]);
    conversion.pass(&utf8);
    conversion.pass(&written(|out| {
        encode::parameter_status(out, "client_encoding", "UTF8");
    }));
    conversion.pass(&utf8);
    let ready = conversion.ready.to_vec();
    assert!(ready.starts_with(&row(&[Some(b"\xe9")])) && ready.ends_with(&utf8));
}

/// An answer with a row that cannot be told; gives what is told of it, and the SQLSTATE of the error
/// that follows.
fn untold(done: &str, status: TransactionStatus) -> (String, &'static str) {
    let mut conversion = latin1();
    conversion.pass(&row(&[Some(b"a")]));
    conversion.pass(&row(&[Some("☃".as_bytes())]));
    conversion.pass(&row(&[Some(b"b")]));
    conversion.pass(&complete(done));
    conversion.pass(&ready(status));
    assert!(!conversion.is_at_end());
    let tags = tags(&conversion);
    let (refusal, is_answered) = conversion.failure().unwrap();
    assert!(is_answered && conversion.failure().is_none());
    conversion.pass(&row(&[Some(b"c")]));
    assert!(self::tags(&conversion).len() > tags.len());
    (tags, refusal.sqlstate)
}

#[test]
fn what_cannot_be_told_ends_the_answer() {
    use TransactionStatus::{Idle, InTransaction};
    assert_eq!(untold("SELECT 3", Idle), ("D".to_owned(), "22P05"));
    assert_eq!(untold("SELECT 3", InTransaction), ("D".to_owned(), "22P05"));
    // It is undone with its transaction, or it is not.
    assert_eq!(untold("UPDATE 3", InTransaction), ("D".to_owned(), "22P05"));
    assert_eq!(untold("UPDATE 3", Idle), ("D".to_owned(), "08007"));
}

#[test]
fn what_cannot_be_told_before_a_sync_fails_the_batch() {
    let mut conversion = latin1();
    conversion.pass(&row(&[Some("☃".as_bytes())]));
    conversion.pass(&complete("INSERT 0 1"));
    let (refusal, is_answered) = conversion.failure().unwrap();
    assert_eq!((refusal.sqlstate, is_answered), ("22P05", false));
}

#[test]
fn values_in_binary_format_are_converted_by_their_types() {
    let mut conversion = latin1();
    assert_eq!(conversion.binds(true, true), Ok(true));
    assert!(conversion.asks_next());
    let mut answers = written(encode::bind_complete);
    answers.extend_from_slice(&description("a", 25, Format::Binary));
    answers.extend_from_slice(&row(&[Some("é".as_bytes())]));
    conversion.pass(&answers);
    assert_eq!(tags(&conversion), "2D");
    assert!(conversion.ready.ends_with(b"\xe9"));
    // Bytes that are no text stay what they are.
    conversion.pass(&description("a", 17, Format::Binary));
    conversion.pass(&row(&[Some("é".as_bytes())]));
    assert!(conversion.ready.ends_with("é".as_bytes()));
    conversion.pass(&description("a", 16_500, Format::Binary));
    conversion.pass(&row(&[Some(b"abc")]));
    assert!(conversion.failure().is_none());
    conversion.pass(&row(&[Some("é".as_bytes())]));
    assert_eq!(conversion.failure().unwrap().0.sqlstate, "0A000");
}

#[test]
fn a_description_of_a_statement_says_nothing_of_formats() {
    let mut conversion = latin1();
    conversion.pass(&description("a", 17, Format::Binary));
    conversion.pass(&written(|out| {
        encode::parameter_description(out, &[]).unwrap();
    }));
    conversion.pass(&description("a", 25, Format::Text));
    conversion.pass(&row(&[Some(b"\xc3")]));
    assert!(conversion.ready.ends_with(b"\xc3"));
}

#[test]
fn other_portals_than_the_unnamed_one_give_text() {
    let mut conversion = latin1();
    assert!(conversion.binds(false, true).is_err());
    assert_eq!(conversion.binds(false, false), Ok(false));
    assert_eq!(conversion.looks_at(false), Ok(false));
    assert_eq!(conversion.binds(true, true), Ok(true));
    assert!(conversion.looks_at(false).is_err());
    assert_eq!(conversion.looks_at(true), Ok(false));
}

#[test]
fn the_error_of_a_copy_that_was_no_text_says_so() {
    let mut conversion = latin1();
    let refusal = Refusal::unsupported("no text");
    conversion.copied.begin(Some(refusal));
    let mut said = BytesMut::new();
    let code = wire::SqlState::parse(b"57014").unwrap();
    wire::backend::Report::error(code, "COPY from stdin failed: no text").encode(&mut said);
    conversion.pass(&said);
    let told = String::from_utf8_lossy(&conversion.ready).into_owned();
    assert!(told.contains("C0A000") && !told.contains("57014"), "{told}");
}

#[test]
fn values_are_text_in_the_batch_that_sets_the_encoding() {
    let mut conversion = Conversion::new();
    conversion.expect(Named::find("LATIN1").unwrap());
    assert!(conversion.binds(true, true).is_err());
    assert_eq!(conversion.binds(true, false), Ok(false));
    conversion.pass(&ready(TransactionStatus::Idle));
    assert_eq!(conversion.binds(true, true), Ok(true));
}
