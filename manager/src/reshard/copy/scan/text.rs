//! Rows in the text format: a line each, values between tabs, and a backslash before whatever would
//! be taken for one of these.

use std::borrow::Cow;

use topology::{Key, KeyType};

use super::{Malformed, Step, token};

const NULL: &[u8] = b"\\N";

pub(super) fn row(bytes: &[u8], key_type: KeyType) -> Result<Step, Malformed> {
    // A line feed within a value is written as a backslash and an n.
    let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
        return Ok(Step::Incomplete);
    };
    let line = bytes.get(..end).unwrap_or_default();
    let key = line.split(|byte| *byte == b'\t').next().unwrap_or_default();
    if key == NULL {
        return Err(Malformed::NullKey);
    }
    let key = unescaped(key);
    Ok(Step::Row {
        bytes: end + 1,
        token: token(Key::from_text(key_type, &key))?,
    })
}

fn unescaped(value: &[u8]) -> Cow<'_, [u8]> {
    if !value.contains(&b'\\') {
        return Cow::Borrowed(value);
    }
    let mut plain = Vec::with_capacity(value.len());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'\\' => match bytes.next().unwrap_or(b'\\') {
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'v' => 0x0b,
                other => other,
            },
            other => other,
        });
    }
    Cow::Owned(plain)
}
