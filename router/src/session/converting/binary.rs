//! Pure: where the text is in values in binary format, by their types.

use bytes::BufMut as _;

use crate::charset::Inconvertible;
use crate::route::Refusal;

/// Appends a text in another encoding.
pub(super) type Convert<'a> = &'a dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), Inconvertible>;

/// What a value is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Text, and nothing else; whatever is in text format.
    Text,
    /// A byte, and text.
    Versioned,
    /// An array of texts.
    Array,
    /// No text.
    Bytes,
    /// Not known: there may be text in it.
    Unknown,
}

/// PostgreSQL's ids of types whose values are text: text, varchar, bpchar, name, json, unknown,
/// cstring (`pg_type.dat`).
const TEXTS: [u32; 7] = [25, 1043, 1042, 19, 114, 705, 2275];

/// jsonb and jsonpath: a version and text.
const VERSIONED: [u32; 2] = [3802, 4072];

/// Arrays of [`TEXTS`].
const ARRAYS: [u32; 6] = [1009, 1015, 1014, 1003, 199, 1263];

/// Types without text: bool, bytea, "char", numbers, ids, geometry, networks, dates and times, bits,
/// uuid, ranges, and arrays of the usual ones of them.
const BYTES: [u32; 73] = [
    16, 17, 18, 20, 21, 22, 23, 26, 27, 28, 29, 30, 600, 601, 602, 603, 604, 628, 650, 700, 701,
    718, 774, 790, 829, 869, 1082, 1083, 1114, 1184, 1186, 1266, 1560, 1562, 1700, 2278, 2950,
    2970, 3220, 3904, 3906, 3908, 3910, 3912, 3926, 5069, 651, 1000, 1001, 1002, 1005, 1007, 1010,
    1011, 1012, 1013, 1016, 1017, 1021, 1022, 1028, 1040, 1041, 1115, 1182, 1183, 1185, 1187, 1231,
    1270, 1561, 1563, 2951,
];

impl Content {
    /// Of a type.
    pub(super) fn of_type(oid: u32) -> Self {
        if TEXTS.contains(&oid) {
            Self::Text
        } else if BYTES.contains(&oid) {
            Self::Bytes
        } else if VERSIONED.contains(&oid) {
            Self::Versioned
        } else if ARRAYS.contains(&oid) {
            Self::Array
        } else {
            Self::Unknown
        }
    }

    /// Appends a value to `out`, with its texts converted.
    ///
    /// # Errors
    /// The [`Refusal`] of a text that cannot be, or of a value in which none is known to be or not.
    pub(super) fn convert(
        self,
        value: &[u8],
        out: &mut Vec<u8>,
        convert: Convert<'_>,
    ) -> Result<(), Refusal> {
        match self {
            Self::Text => convert(value, out)?,
            _ if value.is_ascii() => out.extend_from_slice(value),
            Self::Bytes => out.extend_from_slice(value),
            Self::Versioned => {
                let (version, text) = value.split_at_checked(1).unwrap_or_default();
                out.extend_from_slice(version);
                convert(text, out)?;
            }
            Self::Array => array(value, out, convert)?,
            Self::Unknown => return Err(unknown()),
        }
        Ok(())
    }
}

fn unknown() -> Refusal {
    Refusal::unsupported(
        "a value in binary format whose type is not known to the router cannot be converted to or \
         from the client_encoding",
    )
    .hint("use text format, declare the type of the parameter, or set client_encoding to UTF8")
}

/// An array as PostgreSQL sends it (`array_send`): the number of dimensions, whether there are NULLs,
/// the type, length and lower bound of each dimension, then each element behind its length.
fn array(value: &[u8], out: &mut Vec<u8>, convert: Convert<'_>) -> Result<(), Refusal> {
    let dimensions = value.first_chunk().map_or(0, |it| u32::from_be_bytes(*it));
    let head = usize::try_from(dimensions).unwrap_or(usize::MAX);
    let head = head.saturating_mul(8).saturating_add(12);
    let (head, mut rest) = value.split_at_checked(head).ok_or_else(unknown)?;
    out.extend_from_slice(head);
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
            out.extend_from_slice(length);
            rest = after;
            continue;
        };
        let (element, after) = after.split_at_checked(length).ok_or_else(unknown)?;
        put_sized(out, |out| Ok(convert(element, out)?))?;
        rest = after;
    }
    match rest {
        [] => Ok(()),
        _ => Err(unknown()),
    }
}

/// Appends a value behind its length in bytes, as rows, Bind and arrays have it.
pub(super) fn put_sized(
    out: &mut Vec<u8>,
    put: impl FnOnce(&mut Vec<u8>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let start = out.len();
    out.put_i32(0);
    put(out)?;
    let length = i32::try_from(out.len() - start - 4).unwrap_or(i32::MAX);
    if let Some(place) = out.get_mut(start..start + 4) {
        place.copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text in capitals, and longer.
    fn louder(text: &[u8], out: &mut Vec<u8>) -> Result<(), Inconvertible> {
        out.extend_from_slice(&text.to_ascii_uppercase());
        out.push(b'!');
        Ok(())
    }

    fn convert(content: Content, value: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut out = Vec::new();
        content.convert(value, &mut out, &louder)?;
        Ok(out)
    }

    #[test]
    fn types_tell_where_text_is() {
        for (oid, content) in [
            (25, Content::Text),
            (1009, Content::Array),
            (3802, Content::Versioned),
            (23, Content::Bytes),
            (17, Content::Bytes),
            (0, Content::Unknown),
            (142, Content::Unknown),
            (16_400, Content::Unknown),
        ] {
            assert_eq!(Content::of_type(oid), content, "{oid}");
        }
    }

    #[test]
    fn text_in_values_is_converted_and_nothing_else() {
        assert_eq!(convert(Content::Text, b"a").unwrap(), b"A!");
        assert_eq!(convert(Content::Bytes, b"\xffa").unwrap(), b"\xffa");
        assert_eq!(
            convert(Content::Versioned, b"\x01\xffa").unwrap(),
            b"\x01\xffA!"
        );
        assert_eq!(convert(Content::Unknown, b"abc").unwrap(), b"abc");
        assert_eq!(
            convert(Content::Unknown, b"\xff").unwrap_err().sqlstate,
            "0A000"
        );
    }

    #[test]
    fn arrays_keep_their_form() {
        let head = b"\0\0\0\x01\0\0\0\x01\0\0\0\x19\0\0\0\x02\0\0\0\x01";
        let value = [&head[..], b"\0\0\0\x02ab", b"\xff\xff\xff\xff"].concat();
        let converted = [&head[..], b"\0\0\0\x03AB!", b"\xff\xff\xff\xff"].concat();
        assert_eq!(convert(Content::Array, &value).unwrap(), converted);
        for cut in [3, 15, 22] {
            let cut = [&value[..cut], b"\xff"].concat();
            assert!(convert(Content::Array, &cut).is_err());
        }
    }
}
