//! The text format: fields between delimiters, with backslashes.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{Field, Options};
use crate::route::Refusal;

/// The field of a line at a place, as the column's type reads it.
pub(super) fn field(line: &[u8], place: usize, options: &Options) -> Field {
    let mut fields = Fields {
        rest: Some(line),
        delimiter: options.delimiter,
    };
    let Some(raw) = fields.nth(place) else {
        return Field::Missing;
    };
    if raw == options.null.as_slice() {
        return Field::Null;
    }
    if memchr::memchr(b'\\', raw).is_none() {
        return Field::Value(Bytes::copy_from_slice(raw));
    }
    Field::Value(unescaped(raw))
}

/// The fields of a line as they stand there.
struct Fields<'a> {
    rest: Option<&'a [u8]>,
    delimiter: u8,
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest.take()?;
        let mut at = 0;
        while let Some(step) = memchr::memchr2(b'\\', self.delimiter, rest.get(at..)?) {
            at += step;
            if rest.get(at) == Some(&self.delimiter) {
                self.rest = rest.get(at + 1..);
                return rest.get(..at);
            }
            at = (at + 2).min(rest.len());
        }
        Some(rest)
    }
}

/// What a field with backslashes means.
fn unescaped(raw: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(raw.len());
    let mut bytes = raw.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.put_u8(byte);
            continue;
        }
        let Some(next) = bytes.next() else {
            out.put_u8(b'\\');
            break;
        };
        match next {
            b'0'..=b'7' => {
                let mut value = u32::from(next - b'0');
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(|it| matches!(it, b'0'..=b'7')) else {
                        break;
                    };
                    value = value * 8 + u32::from(digit - b'0');
                }
                out.put_u8(u8::try_from(value & 0xff).unwrap_or_default());
            }
            b'x' => {
                let mut value = None;
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(u8::is_ascii_hexdigit) else {
                        break;
                    };
                    let digit = char::from(digit).to_digit(16).unwrap_or_default();
                    value = Some(value.unwrap_or(0) * 16 + digit);
                }
                let meant = value.and_then(|value| u8::try_from(value & 0xff).ok());
                out.put_u8(meant.unwrap_or(b'x'));
            }
            b'b' => out.put_u8(0x08),
            b'f' => out.put_u8(0x0c),
            b'n' => out.put_u8(b'\n'),
            b'r' => out.put_u8(b'\r'),
            b't' => out.put_u8(b'\t'),
            b'v' => out.put_u8(0x0b),
            other => out.put_u8(other),
        }
    }
    out.freeze()
}

/// What PostgreSQL says of data that is none.
pub(super) fn corrupt(message: &str) -> Refusal {
    Refusal {
        sqlstate: "22P04",
        message: message.to_owned(),
        hint: None,
    }
}
