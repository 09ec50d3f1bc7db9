//! The wire codec, fed with what a client and PostgreSQL really said, changed and cut anywhere.

use bytes::BytesMut;
use tests::random::Random;
use wire::backend;
use wire::frontend::{self, Bind};
use wire::startup::Startup;
use wire::{Scanner, Step};

use crate::mutation::mutate;
use crate::{Outcome, ensure};

const STARTUP: &[u8] = include_bytes!("../../wire/testdata/startup.bin");
const FROM_CLIENT: &[u8] = include_bytes!("../../wire/testdata/from_client.bin");
const FROM_SERVER: &[u8] = include_bytes!("../../wire/testdata/from_server.bin");

/// Longest frame that is taken whole.
const MAX_WHOLE: usize = 1 << 16;

/// The frames of a captured stream, read by hand.
fn split(mut stream: &[u8]) -> Vec<&[u8]> {
    let mut frames = Vec::new();
    while let Some((header, _)) = stream.split_first_chunk::<5>() {
        let [_, length @ ..] = header;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(0) + 1;
        let Some((frame, rest)) = stream.split_at_checked(length) else {
            break;
        };
        frames.push(frame);
        stream = rest;
    }
    frames
}

/// What a scanner made of a stream.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    /// Streamed bytes and whole frames, in order.
    passed: Vec<(bool, Vec<u8>)>,
    error: Option<String>,
}

impl Seen {
    fn push(&mut self, whole: bool, bytes: &[u8]) {
        match self.passed.last_mut() {
            Some((false, before)) if !whole => before.extend_from_slice(bytes),
            _ => self.passed.push((whole, bytes.to_vec())),
        }
    }
}

fn scan(mut scanner: Scanner, chunks: &[&[u8]]) -> Result<Seen, String> {
    let (mut seen, mut buffer) = (Seen::default(), Vec::new());
    for chunk in chunks {
        buffer.extend_from_slice(chunk);
        loop {
            let passed = match scanner.next(&buffer) {
                Ok(Step::Stream { bytes, .. }) => {
                    seen.push(false, bytes);
                    bytes.len()
                }
                Ok(Step::Whole(frame)) => {
                    seen.push(true, frame.bytes());
                    frame.bytes().len()
                }
                Ok(Step::Incomplete { missing }) => {
                    ensure!(missing > 0, "nothing is missing");
                    break;
                }
                Err(error) => {
                    seen.error = Some(error.to_string());
                    return Ok(seen);
                }
            };
            ensure!(passed > 0, "the scanner stands still");
            buffer.drain(..passed);
        }
    }
    Ok(seen)
}

/// A stream that is cut anywhere means what it means in one piece.
pub(crate) fn frames(random: &mut Random) -> Outcome {
    let from_client = random.chance(50);
    let frames = split(if from_client {
        FROM_CLIENT
    } else {
        FROM_SERVER
    });
    let mut stream = Vec::new();
    for _ in 0..1 + random.below(8) {
        let frame: &&[u8] = random.pick(&frames);
        stream.extend_from_slice(frame);
    }
    let is_captured = random.chance(30);
    if !is_captured {
        mutate(random, &mut stream);
    }
    let scanner = || {
        if from_client {
            Scanner::frontend(MAX_WHOLE)
        } else {
            Scanner::backend(MAX_WHOLE)
        }
    };
    let at_once = scan(scanner(), &[&stream])?;
    let (mut chunks, mut rest) = (Vec::new(), &*stream);
    while !rest.is_empty() {
        let (chunk, after) = rest.split_at((1 + random.below(40)).min(rest.len()));
        chunks.push(chunk);
        rest = after;
    }
    let cut = scan(scanner(), &chunks)?;
    ensure!(
        at_once == cut,
        "{at_once:?}\ncut: {cut:?}\nstream: {stream:?}"
    );
    if is_captured {
        let passed: Vec<u8> = at_once.passed.into_iter().flat_map(|(_, it)| it).collect();
        ensure!(passed == stream, "not all of {stream:?} was passed");
    }
    Ok(())
}

/// No message is read beyond its end, whatever it says of itself.
pub(crate) fn messages(random: &mut Random) -> Outcome {
    let from_client = random.chance(50);
    let frames = split(if from_client {
        FROM_CLIENT
    } else {
        FROM_SERVER
    });
    let frame = *random.pick(&frames);
    let mut tag = frame.first().copied().unwrap_or_default();
    let mut body = frame.get(5..).unwrap_or_default().to_vec();
    mutate(random, &mut body);
    if random.chance(10) {
        tag = random.byte();
    }
    // Writing it down goes through all of its parts.
    if from_client {
        if let Ok(message) = frontend::Message::decode(tag, &body) {
            drop(format!("{message:?}"));
        }
    } else if let Ok(message) = backend::Message::decode(tag, &body) {
        drop(format!("{message:?}"));
    }
    Ok(())
}

/// A start-up packet is known by its whole length, and never by a part of it.
pub(crate) fn startup(random: &mut Random) -> Outcome {
    let mut packet = STARTUP.to_vec();
    mutate(random, &mut packet);
    let Ok(Some((startup, length))) = Startup::decode(&packet) else {
        return Ok(());
    };
    drop(format!("{startup:?}"));
    ensure!(length <= packet.len(), "{length} bytes of {packet:?}");
    let part = packet.get(..random.below(length)).unwrap_or_default();
    let early = Startup::decode(part);
    ensure!(
        !matches!(early, Ok(Some(_))),
        "{part:?} is a part of {packet:?}"
    );
    Ok(())
}

/// A Bind that gets another statement's name is the same otherwise.
pub(crate) fn renaming(random: &mut Random) -> Outcome {
    let frames = split(FROM_CLIENT);
    let binds: Vec<&[u8]> = frames
        .into_iter()
        .filter(|frame| frame.first() == Some(&b'B'))
        .collect();
    let mut body = random.pick(&binds).get(5..).unwrap_or_default().to_vec();
    mutate(random, &mut body);
    let before = Bind::decode(&body);
    let mut out = BytesMut::new();
    let renamed = frontend::bind_renamed(&mut out, &body, b"router_7");
    let (Ok(before), Ok(())) = (before, renamed) else {
        return Ok(());
    };
    let after = Bind::decode(out.get(5..).unwrap_or_default());
    let after = after.map_err(|error| format!("{error}: {out:?} from {body:?}"))?;
    ensure!(after.statement.as_bytes() == b"router_7", "{after:?}");
    let rest = |bind: Bind<'_>| {
        let text = |it| format!("{it:?}");
        let parameters = format!("{:?} {:?}", bind.formats, bind.parameters);
        (
            bind.portal.as_bytes().to_vec(),
            parameters,
            text(bind.result_formats),
        )
    };
    ensure!(rest(before) == rest(after), "{before:?} became {after:?}");
    Ok(())
}
