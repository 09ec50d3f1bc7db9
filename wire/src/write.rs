//! Writing frames: the header whose length is known only at the end, and checked strings.

use bytes::{BufMut, BytesMut};

use crate::limits::{MAX_ANSWER_TEXT_BYTES, MAX_MESSAGE_BYTES};
use crate::{EncodeError, Format};

const LENGTH_BYTES: usize = 4;

/// Writes a frame whose body may turn out impossible; then nothing is written.
pub(crate) fn try_frame(
    out: &mut BytesMut,
    tag: u8,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_u8(tag);
    let written = try_untagged(out, body);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Writes a packet without a tag: a length and a body.
pub(crate) fn try_untagged(
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_i32(0);
    let written = body(out).and_then(|()| patch_length(out, start));
    if written.is_err() {
        out.truncate(start);
    }
    written
}

/// Writes a frame whose body is bounded by what its encoder puts into it.
pub(crate) fn frame(out: &mut BytesMut, tag: u8, body: impl FnOnce(&mut BytesMut)) {
    let written = try_frame(out, tag, |out| {
        body(out);
        Ok(())
    });
    written.expect("the encoder of a bounded message keeps it short");
}

fn patch_length(out: &mut BytesMut, start: usize) -> Result<(), EncodeError> {
    let bytes = out.len() - start;
    let length = frame_length(bytes - LENGTH_BYTES)?;
    if let Some(field) = out.get_mut(start..start + LENGTH_BYTES) {
        field.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

/// The length field of a body of that many bytes.
pub(crate) fn frame_length(body_bytes: usize) -> Result<i32, EncodeError> {
    let too_long = EncodeError::TooLong {
        bytes: body_bytes,
        max: MAX_MESSAGE_BYTES,
    };
    if body_bytes > MAX_MESSAGE_BYTES {
        return Err(too_long);
    }
    i32::try_from(body_bytes + LENGTH_BYTES).map_err(|_| too_long)
}

/// Writes a string and its zero byte.
pub(crate) fn text(
    out: &mut BytesMut,
    text: &[u8],
    field: &'static str,
) -> Result<(), EncodeError> {
    if text.contains(&0) {
        return Err(EncodeError::InteriorZero { field });
    }
    out.put_slice(text);
    out.put_u8(0);
    Ok(())
}

/// Writes a string up to its first zero byte and not more than the limit of our own answers.
pub(crate) fn cut_text(out: &mut BytesMut, text: &str) {
    let (short, _) = text.split_at(text.floor_char_boundary(MAX_ANSWER_TEXT_BYTES));
    let shown = short.split('\0').next().unwrap_or(short);
    out.put_slice(shown.as_bytes());
    out.put_u8(0);
}

/// Writes a count of sixteen bits.
pub(crate) fn count(
    out: &mut BytesMut,
    count: usize,
    field: &'static str,
) -> Result<(), EncodeError> {
    let max = usize::from(u16::MAX);
    let count = u16::try_from(count).map_err(|_| EncodeError::TooMany { field, count, max })?;
    out.put_u16(count);
    Ok(())
}

/// Writes a value's length and the value, or -1 for NULL.
pub(crate) fn value(out: &mut BytesMut, value: Option<&[u8]>) -> Result<(), EncodeError> {
    let Some(bytes) = value else {
        out.put_i32(-1);
        return Ok(());
    };
    let too_long = EncodeError::TooLong {
        bytes: bytes.len(),
        max: MAX_MESSAGE_BYTES,
    };
    // Checked before the copy, so that an impossible value costs nothing.
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(too_long);
    }
    out.put_i32(i32::try_from(bytes.len()).map_err(|_| too_long)?);
    out.put_slice(bytes);
    Ok(())
}

/// Writes a count and that many format codes.
pub(crate) fn formats(
    out: &mut BytesMut,
    formats: &[Format],
    field: &'static str,
) -> Result<(), EncodeError> {
    count(out, formats.len(), field)?;
    for format in formats {
        out.put_i16(format.code());
    }
    Ok(())
}
