//! What a client and `PostgreSQL` 15 really said to each other: every message is read, and written
//! again byte for byte where there is an encoder.
//!
//! The captured session logs in with a later minor version and an unknown extension, runs simple
//! and extended queries in text and binary format, copies in and out, fails, notifies, calls a
//! function, and ends; at the end stands the first answer to a user with a SCRAM password.
#![cfg(test)]

use bytes::BytesMut;
use wire::backend::{self, Authentication, Message};
use wire::frontend::{self, encode};
use wire::startup::Startup;
use wire::{EncodeError, Frame, Scanner, SqlState, Step, TagSet};

const STARTUP: &[u8] = include_bytes!("../testdata/startup.bin");
const FROM_CLIENT: &[u8] = include_bytes!("../testdata/from_client.bin");
const FROM_SERVER: &[u8] = include_bytes!("../testdata/from_server.bin");

/// All frames of a stream, none of them streamed.
fn frames(scanner: Scanner, stream: &'static [u8]) -> Vec<Frame<'static>> {
    let mut scanner = scanner.streaming(TagSet::of(&[]));
    let (mut frames, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let Ok(Step::Whole(frame)) = scanner.next(rest) else {
            panic!("no whole frame in {rest:?}");
        };
        rest = &rest[frame.bytes().len()..];
        frames.push(frame);
    }
    frames
}

fn from_server() -> Vec<Frame<'static>> {
    frames(Scanner::backend(1 << 20), FROM_SERVER)
}

fn read(frame: &Frame<'static>) -> Message<'static> {
    Message::decode(frame.tag(), frame.body()).unwrap()
}

/// Writes a client's message as it was read; `false` if there is no encoder for it.
fn write_as_client(out: &mut BytesMut, frame: &Frame<'_>) -> Result<bool, EncodeError> {
    use frontend::Message;
    match Message::decode(frame.tag(), frame.body())? {
        Message::Query(query) => encode::query(out, query.sql.as_bytes())?,
        Message::Parse(parse) => {
            let types: Vec<_> = parse.parameter_types.iter().collect();
            encode::parse(out, parse.name.as_bytes(), parse.sql.as_bytes(), &types)?;
        }
        Message::Bind(bind) => {
            let formats: Vec<_> = bind.formats.iter().collect();
            let parameters: Vec<_> = bind.parameters.iter().collect();
            let results: Vec<_> = bind.result_formats.iter().collect();
            let (portal, statement) = (bind.portal.as_bytes(), bind.statement.as_bytes());
            encode::bind(out, portal, statement, &formats, &parameters, &results)?;
        }
        Message::Describe(target) => encode::describe(out, target.kind, target.name.as_bytes())?,
        Message::Close(target) => encode::close(out, target.kind, target.name.as_bytes())?,
        Message::Execute(execute) => {
            encode::execute(out, execute.portal.as_bytes(), execute.max_rows)?;
        }
        Message::Sync => encode::sync(out),
        Message::Flush => encode::flush(out),
        Message::Terminate => encode::terminate(out),
        Message::CopyData(data) => encode::copy_data(out, data)?,
        Message::CopyDone => encode::copy_done(out),
        Message::CopyFail(reason) => encode::copy_fail(out, reason.as_str().unwrap())?,
        Message::Password(_) | Message::FunctionCall(_) => return Ok(false),
    }
    Ok(true)
}

/// As [`write_as_client`], for the login's messages and those around statements of a server.
fn write_as_server(out: &mut BytesMut, frame: &Frame<'static>) -> Result<bool, EncodeError> {
    use backend::encode;
    match read(frame) {
        Message::Authentication(Authentication::Ok) => encode::authentication_ok(out),
        Message::Authentication(Authentication::Sasl(mechanisms)) => {
            let names: Vec<_> = mechanisms.iter().map(|m| m.as_str().unwrap()).collect();
            encode::authentication_sasl(out, &names)?;
        }
        Message::NegotiateProtocolVersion(answer) => {
            let options: Vec<_> = answer.options().map(|o| o.as_str().unwrap()).collect();
            encode::negotiate_protocol_version(out, options.into_iter())?;
        }
        Message::BackendKeyData(key) => encode::backend_key_data(out, key.process_id, key.secret)?,
        Message::ParameterStatus(status) => {
            let (name, value) = (status.name.as_str(), status.value.as_str());
            encode::parameter_status(out, name.unwrap(), value.unwrap());
        }
        Message::ReadyForQuery(status) => encode::ready_for_query(out, status),
        Message::CommandComplete(complete) => {
            encode::command_complete(out, complete.tag.as_str().unwrap());
        }
        Message::CopyIn(copy) => {
            let columns: Vec<_> = copy.columns.iter().collect();
            encode::copy_in_response(out, copy.format, &columns)?;
        }
        Message::ParameterDescription(types) => {
            encode::parameter_description(out, &types.iter().collect::<Vec<_>>())?;
        }
        Message::RowDescription(description) => {
            encode::row_description(out, &description.columns().collect::<Vec<_>>())?;
        }
        Message::DataRow(row) => encode::data_row(out, &row.values.iter().collect::<Vec<_>>())?,
        Message::ParseComplete => encode::parse_complete(out),
        Message::BindComplete => encode::bind_complete(out),
        Message::CloseComplete => encode::close_complete(out),
        Message::EmptyQueryResponse => encode::empty_query_response(out),
        Message::NoData => encode::no_data(out),
        Message::PortalSuspended => encode::portal_suspended(out),
        Message::Authentication(_)
        | Message::CopyBoth(_)
        | Message::CopyData(_)
        | Message::CopyDone
        | Message::CopyOut(_)
        | Message::ErrorResponse(_)
        | Message::FunctionCallResponse(_)
        | Message::NoticeResponse(_)
        | Message::NotificationResponse(_) => return Ok(false),
    }
    Ok(true)
}

#[test]
fn a_real_startup_packet_is_read() {
    let (startup, length) = Startup::decode(STARTUP).unwrap().unwrap();
    assert_eq!(length, STARTUP.len());
    let Startup::Parameters(parameters) = startup else {
        panic!("not parameters");
    };
    assert_eq!((parameters.minor, parameters.user()), (2, Ok("postgres")));
    assert_eq!(parameters.get("application_name"), Some("golden"));
    assert!(parameters.needs_negotiation());
}

#[test]
fn a_real_client_s_messages_are_read_and_written_byte_for_byte() {
    let mut not_written = Vec::new();
    for frame in frames(Scanner::frontend(1 << 20), FROM_CLIENT) {
        let mut out = BytesMut::new();
        if write_as_client(&mut out, &frame).unwrap() {
            assert_eq!(out, frame.bytes());
        } else {
            not_written.push(frame.tag());
        }
    }
    assert_eq!(not_written, [frontend::tag::FUNCTION_CALL]);
}

#[test]
fn a_real_server_s_messages_are_read_and_written_byte_for_byte() {
    let mut written = 0;
    for frame in from_server() {
        let mut out = BytesMut::new();
        if write_as_server(&mut out, &frame).unwrap() {
            assert_eq!(out, frame.bytes());
            written += 1;
        }
    }
    // All but errors, notices, notifications, what is copied out, and the function's result.
    assert_eq!((written, from_server().len()), (71, 84));
}

#[test]
fn a_real_session_shows_every_message_but_those_of_replication_and_passwords() {
    let seen: Vec<_> = from_server().iter().map(Frame::tag).collect();
    let unseen: Vec<_> = (0..128)
        .filter(|tag| backend::tag::ALL.contains(*tag) && !seen.contains(tag))
        .collect();
    assert_eq!(unseen, [backend::tag::COPY_BOTH_RESPONSE]);
}

#[test]
fn a_real_server_s_errors_and_values_are_found() {
    let frames = from_server();
    let messages: Vec<_> = frames.iter().map(read).collect();
    let codes = messages.iter().filter_map(|message| match message {
        Message::ErrorResponse(error) => Some(error.code().unwrap().to_string()),
        _ => None,
    });
    let codes: Vec<_> = codes.collect();
    assert_eq!(codes, ["42703", "57014", "23505", "22012", "25P02"]);
    let duplicate = messages.iter().find_map(|message| match message {
        Message::ErrorResponse(error) if error.code() == SqlState::parse(b"23505") => Some(*error),
        _ => None,
    });
    let duplicate = duplicate.unwrap();
    assert_eq!(duplicate.severity().unwrap(), "ERROR");
    assert_eq!(duplicate.field(backend::field::TABLE).unwrap(), "t");
    assert_eq!(
        duplicate.field(backend::field::CONSTRAINT).unwrap(),
        "t_pkey"
    );
    let first_row = messages.iter().find_map(|message| match message {
        Message::DataRow(row) => Some(row.values.iter().collect::<Vec<_>>()),
        _ => None,
    });
    assert_eq!(first_row.unwrap(), [Some(&b"1"[..]), None, Some(b"")]);
    let sum = messages.iter().find_map(|message| match message {
        Message::FunctionCallResponse(value) => *value,
        _ => None,
    });
    assert_eq!(sum, Some(&42_i32.to_be_bytes()[..]));
    let offered = messages.iter().any(|message| {
        matches!(message, Message::Authentication(Authentication::Sasl(mechanisms))
            if mechanisms.contains("SCRAM-SHA-256"))
    });
    assert!(offered, "SCRAM is offered");
}
