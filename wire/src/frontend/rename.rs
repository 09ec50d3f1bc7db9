//! Copies of a client's messages under another statement name: what the client calls a statement
//! and what a backend knows it as differ when backends are shared.
//!
//! Only the name is replaced; all other bytes are copied unread, for the backend to judge.

use bytes::{BufMut, BytesMut};

use crate::frame::HEADER_BYTES;
use crate::frontend::{TargetKind, tag};
use crate::read::Reader;
use crate::write::frame_length;
use crate::{DecodeError, EncodeError};

/// Writes the Bind of this body with another statement name.
///
/// # Errors
/// The body has no names, or the frame can't be written. Nothing was written then.
pub fn bind_renamed(out: &mut BytesMut, body: &[u8], statement: &[u8]) -> Result<(), EncodeError> {
    let mut reader = Reader::new("Bind", body);
    reader.text("portal name")?;
    let before = taken(body, &reader);
    reader.text("statement name")?;
    put(out, tag::BIND, [before, statement, b"\0", reader.rest()])
}

/// Writes the Parse of this body with another statement name.
///
/// # Errors
/// As [`bind_renamed`].
pub fn parse_renamed(out: &mut BytesMut, body: &[u8], statement: &[u8]) -> Result<(), EncodeError> {
    let mut reader = Reader::new("Parse", body);
    reader.text("statement name")?;
    put(out, tag::PARSE, [b"", statement, b"\0", reader.rest()])
}

/// Writes the Describe of this body with another name.
///
/// # Errors
/// As [`bind_renamed`].
pub fn describe_renamed(out: &mut BytesMut, body: &[u8], name: &[u8]) -> Result<(), EncodeError> {
    let kind = kind("Describe", body)?;
    put(out, tag::DESCRIBE, [&[kind.byte()], name, b"\0", b""])
}

/// Writes the Close of this body with another name.
///
/// # Errors
/// As [`bind_renamed`].
pub fn close_renamed(out: &mut BytesMut, body: &[u8], name: &[u8]) -> Result<(), EncodeError> {
    let kind = kind("Close", body)?;
    put(out, tag::CLOSE, [&[kind.byte()], name, b"\0", b""])
}

fn kind(message: &'static str, body: &[u8]) -> Result<TargetKind, DecodeError> {
    super::Target::decode(message, body).map(|target| target.kind)
}

/// The part of the body that the reader has passed.
fn taken<'a>(body: &'a [u8], reader: &Reader<'a>) -> &'a [u8] {
    body.get(..body.len() - reader.rest().len())
        .unwrap_or_default()
}

/// Writes a frame of these parts, the second of which is the new name.
fn put(out: &mut BytesMut, tag: u8, parts: [&[u8]; 4]) -> Result<(), EncodeError> {
    let [_, name, _, _] = parts;
    if name.contains(&0) {
        return Err(EncodeError::InteriorZero { field: "name" });
    }
    let body_bytes = parts.iter().map(|part| part.len()).sum();
    let length = frame_length(body_bytes)?;
    out.reserve(HEADER_BYTES + body_bytes);
    out.put_u8(tag);
    out.put_i32(length);
    for part in parts {
        out.put_slice(part);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
