//! The CSV format: as PostgreSQL reads it, where quotes may begin and end anywhere in a field.

use bytes::{BufMut as _, BytesMut};

use super::text::corrupt;
use super::{Field, Options, Scan};
use crate::route::Refusal;

/// Follows whether a byte of a line stands within quotes.
pub(super) fn follow(scan: &mut Scan, byte: u8, options: &Options) {
    let escape = (options.escape != options.quote).then_some(options.escape);
    if scan.quoted && escape == Some(byte) {
        scan.escaped = !scan.escaped;
    }
    if byte == options.quote && !scan.escaped {
        scan.quoted = !scan.quoted;
    }
    if escape != Some(byte) {
        scan.escaped = false;
    }
}

/// The field of a line at a place.
pub(super) fn field(line: &[u8], place: usize, options: &Options) -> Result<Field, Refusal> {
    let mut rest = Some(line);
    for _ in 0..place {
        let Some(line) = rest else {
            return Ok(Field::Missing);
        };
        rest = take(line, options)?.rest;
    }
    let Some(line) = rest else {
        return Ok(Field::Missing);
    };
    let taken = take(line, options)?;
    let is_null = if !taken.quoted && taken.raw == options.null.as_slice() {
        !options.key_is_never_null
    } else {
        options.key_may_be_quoted_null && taken.value == options.null
    };
    Ok(if is_null {
        Field::Null
    } else {
        Field::Value(taken.value.freeze())
    })
}

struct Taken<'a> {
    raw: &'a [u8],
    value: BytesMut,
    quoted: bool,
    rest: Option<&'a [u8]>,
}

/// The first field, and what is behind its delimiter.
fn take<'a>(line: &'a [u8], options: &Options) -> Result<Taken<'a>, Refusal> {
    let (mut value, mut quoted, mut within) = (BytesMut::new(), false, false);
    let mut at = 0;
    while let Some(byte) = line.get(at).copied() {
        if within {
            let next = line.get(at + 1).copied();
            let escapes = next.filter(|it| *it == options.escape || *it == options.quote);
            match escapes {
                Some(next) if byte == options.escape => {
                    value.put_u8(next);
                    at += 1;
                }
                _ if byte == options.quote => within = false,
                _ => value.put_u8(byte),
            }
        } else if byte == options.delimiter {
            let raw = line.get(..at).unwrap_or_default();
            let rest = line.get(at + 1..);
            return Ok(Taken {
                raw,
                value,
                quoted,
                rest,
            });
        } else if byte == options.quote {
            (quoted, within) = (true, true);
        } else {
            value.put_u8(byte);
        }
        at += 1;
    }
    if within {
        return Err(corrupt("unterminated CSV quoted field"));
    }
    Ok(Taken {
        raw: line,
        value,
        quoted,
        rest: None,
    })
}
