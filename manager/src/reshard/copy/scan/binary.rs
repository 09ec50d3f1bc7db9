//! Rows in the binary format: a header, per row a count of columns and per column a length and its
//! bytes, and a count of -1 at the end.

use topology::{Key, KeyType};

use super::{Malformed, Step, token};

const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The header that we write: the signature, no flags, no extension.
pub(super) const HEAD: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A row of -1 columns.
pub(super) const TAIL: &[u8] = &[0xff, 0xff];

/// Flags that change what the rows look like.
const CRITICAL_FLAGS: u32 = 0xffff_0000;

pub(super) fn head(bytes: &[u8]) -> Result<Step, Malformed> {
    let Some((signature, rest)) = bytes.split_first_chunk() else {
        return Ok(Step::Incomplete);
    };
    let Some((flags, rest)) = rest.split_first_chunk() else {
        return Ok(Step::Incomplete);
    };
    let Some((extension, rest)) = rest.split_first_chunk() else {
        return Ok(Step::Incomplete);
    };
    if signature != SIGNATURE || u32::from_be_bytes(*flags) & CRITICAL_FLAGS != 0 {
        return Err(Malformed::Header);
    }
    let extension = i32::from_be_bytes(*extension);
    let extension = usize::try_from(extension).map_err(|_| Malformed::Length(extension))?;
    Ok(match rest.get(extension..) {
        Some(rest) => Step::Between {
            bytes: bytes.len() - rest.len(),
        },
        None => Step::Incomplete,
    })
}

pub(super) fn row(bytes: &[u8], columns: i16, key_type: KeyType) -> Result<Step, Malformed> {
    let Some((found, mut rest)) = bytes.split_first_chunk() else {
        return Ok(Step::Incomplete);
    };
    let found = i16::from_be_bytes(*found);
    if found == -1 {
        return Ok(Step::End { bytes: TAIL.len() });
    }
    if found != columns {
        let expected = columns;
        return Err(Malformed::Columns { found, expected });
    }
    let mut key: Option<&[u8]> = None;
    for column in 0..columns {
        let Some((length, after)) = rest.split_first_chunk() else {
            return Ok(Step::Incomplete);
        };
        rest = match i32::from_be_bytes(*length) {
            -1 if column == 0 => return Err(Malformed::NullKey),
            -1 => after,
            length => {
                let bytes = usize::try_from(length).map_err(|_| Malformed::Length(length))?;
                let Some((value, after)) = after.split_at_checked(bytes) else {
                    return Ok(Step::Incomplete);
                };
                key = key.or(Some(value));
                after
            }
        };
    }
    let key = key.ok_or(Malformed::NullKey)?;
    Ok(Step::Row {
        bytes: bytes.len() - rest.len(),
        token: token(Key::from_binary(key_type, key))?,
    })
}
