//! Pure: texts of clients whose encoding is not UTF-8, to UTF-8 and back, character for character as
//! PostgreSQL converts them. The tables are PostgreSQL's own: `tests/e2e/pgwire/encodings.rs` holds
//! each character against a server.
//!
//! Bytes below 0x80 at the place of a character are ASCII in all of them.

use std::sync::OnceLock;

mod double;
mod names;
mod single;

use double::Double;

/// An encoding.
#[derive(Debug)]
pub struct Charset {
    name: &'static str,
    form: Form,
}

#[derive(Debug)]
enum Form {
    /// A byte a character; what those from 0x80 on are, and the way back in order.
    Single(&'static [u16; 128], OnceLock<Vec<(u16, u8)>>),
    /// Up to three bytes a character.
    Double(&'static Double),
}

/// What a client's encoding is to the router.
#[derive(Debug, Clone, Copy)]
pub enum Named {
    /// UTF-8, or bytes that the server takes for it.
    AsItIs(&'static str),
    /// One that is converted.
    Converted(&'static Charset),
    /// One that PostgreSQL knows and the router cannot convert.
    Unsupported(&'static str),
}

/// A text that cannot be converted, in PostgreSQL's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Inconvertible {
    /// Bytes that are no character of their encoding.
    #[error("invalid byte sequence for encoding \"{encoding}\": {}", hex(.bytes))]
    Invalid {
        /// The encoding.
        encoding: &'static str,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// A character that the other encoding has not.
    #[error(
        "character with byte sequence {} in encoding \"{from}\" has no equivalent in encoding \"{to}\"",
        hex(.bytes)
    )]
    NoEquivalent {
        /// Its encoding.
        from: &'static str,
        /// The other one.
        to: &'static str,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl Inconvertible {
    /// Its SQLSTATE.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "22021",
            Self::NoEquivalent { .. } => "22P05",
        }
    }
}

/// Bytes as PostgreSQL shows them: `0xe2 0x98`.
fn hex(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("0x{byte:02x}")).collect();
    bytes.join(" ")
}

const UTF8: &str = "UTF8";

impl Named {
    /// UTF-8.
    pub const UTF8: Self = Self::AsItIs(UTF8);

    /// The encoding of this name, or none if PostgreSQL knows no such one, or has none of it for a
    /// database in UTF-8. Only letters and digits are compared, so that the `'utf-8'` of asyncpg,
    /// which has the quotes in the value, is one.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        let kept = name.chars().filter(char::is_ascii_alphanumeric);
        let compared: String = kept.map(|c| c.to_ascii_lowercase()).collect();
        let mut known = names::NAMES.iter();
        let (_, name) = known.find(|(alias, _)| *alias == compared)?;
        Some(match *name {
            UTF8 | "SQL_ASCII" => Self::AsItIs(name),
            name => match CHARSETS.iter().find(|charset| charset.name == name) {
                Some(charset) => Self::Converted(charset),
                None => Self::Unsupported(name),
            },
        })
    }

    /// Its name as it is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AsItIs(name) | Self::Unsupported(name) => name,
            Self::Converted(charset) => charset.name,
        }
    }

    /// What converts it.
    #[must_use]
    pub fn charset(self) -> Option<&'static Charset> {
        match self {
            Self::Converted(charset) => Some(charset),
            Self::AsItIs(_) | Self::Unsupported(_) => None,
        }
    }
}

impl Charset {
    const fn single(name: &'static str, table: &'static [u16; 128]) -> Self {
        Self {
            name,
            form: Form::Single(table, OnceLock::new()),
        }
    }

    const fn double(name: &'static str, double: &'static Double) -> Self {
        Self {
            name,
            form: Form::Double(double),
        }
    }

    /// Its name as it is shown.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Appends a text in this encoding to `out` in UTF-8, up to a character that does not end in it;
    /// gives how many bytes were read.
    ///
    /// # Errors
    /// [`Inconvertible`]; what is before it was appended.
    pub fn decode_part(&self, text: &[u8], out: &mut Vec<u8>) -> Result<usize, Inconvertible> {
        let mut at = 0;
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let ascii = rest.iter().take_while(|byte| byte.is_ascii()).count();
            out.extend_from_slice(rest.get(..ascii).unwrap_or_default());
            at += ascii;
            let Some((&first, after)) = rest.get(ascii..).and_then(<[u8]>::split_first) else {
                continue;
            };
            let (length, found) = match &self.form {
                Form::Single(table, _) => (1, table.get(usize::from(first & 0x7f)).copied()),
                Form::Double(double) => {
                    let length = double.length(first);
                    let Some(tail) = after.get(..length - 1) else {
                        return Ok(at);
                    };
                    if !double.is_valid(first, tail) {
                        return Err(self.invalid(text.get(at..at + length)));
                    }
                    (length, Some(double.decode(first, tail)))
                }
            };
            let bytes = text.get(at..at + length);
            let c = found.filter(|found| *found != 0).map(u32::from);
            let c = c.and_then(char::from_u32);
            let c = c.ok_or_else(|| Inconvertible::NoEquivalent {
                from: self.name,
                to: UTF8,
                bytes: bytes.unwrap_or_default().to_vec(),
            })?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            at += length;
        }
        Ok(at)
    }

    /// A text in this encoding, in UTF-8.
    ///
    /// # Errors
    /// [`Inconvertible`].
    pub fn decode(&self, text: &[u8]) -> Result<Vec<u8>, Inconvertible> {
        let mut out = Vec::with_capacity(text.len() * 2);
        let read = self.decode_part(text, &mut out)?;
        if read < text.len() {
            return Err(self.invalid(text.get(read..)));
        }
        Ok(out)
    }

    /// What a text that is not whole ends with.
    #[must_use]
    pub fn invalid(&self, bytes: Option<&[u8]>) -> Inconvertible {
        Inconvertible::Invalid {
            encoding: self.name,
            bytes: bytes.unwrap_or_default().to_vec(),
        }
    }

    /// Appends a text in UTF-8 to `out` in this encoding.
    ///
    /// # Errors
    /// [`Inconvertible`]; what is before it was appended.
    pub fn encode(&self, text: &[u8], out: &mut Vec<u8>) -> Result<(), Inconvertible> {
        if text.is_ascii() {
            out.extend_from_slice(text);
            return Ok(());
        }
        let text = std::str::from_utf8(text).map_err(|error| {
            let from = error.valid_up_to();
            let to = from + error.error_len().unwrap_or(text.len() - from);
            Inconvertible::Invalid {
                encoding: UTF8,
                bytes: text.get(from..to).unwrap_or_default().to_vec(),
            }
        })?;
        for c in text.chars() {
            if !self.put(c, out) {
                return Err(Inconvertible::NoEquivalent {
                    from: UTF8,
                    to: self.name,
                    bytes: c.to_string().into_bytes(),
                });
            }
        }
        Ok(())
    }

    /// As [`Self::encode`], with `?` for what cannot be converted: for messages about something else.
    pub fn encode_as_far_as_possible(&self, text: &[u8], out: &mut Vec<u8>) {
        for c in String::from_utf8_lossy(text).chars() {
            if !self.put(c, out) {
                out.push(b'?');
            }
        }
    }

    /// Appends a character; false when the encoding has none such.
    fn put(&self, c: char, out: &mut Vec<u8>) -> bool {
        if c.is_ascii() {
            out.push(c as u8);
            return true;
        }
        let Ok(point) = u16::try_from(u32::from(c)) else {
            return false;
        };
        match &self.form {
            Form::Single(table, back) => {
                let back = back.get_or_init(|| turned(table));
                let found = back.binary_search_by_key(&point, |(point, _)| *point);
                match found.ok().and_then(|at| back.get(at)) {
                    Some((_, byte)) => out.push(*byte),
                    None => return false,
                }
                true
            }
            Form::Double(double) => double.put(point, out),
        }
    }
}

/// The way back of a table, in the order of the characters.
fn turned(table: &[u16; 128]) -> Vec<(u16, u8)> {
    let pairs = table.iter().zip(0x80_u8..=0xff);
    let mut pairs: Vec<(u16, u8)> = pairs
        .filter(|(point, _)| **point != 0)
        .map(|(point, byte)| (*point, byte))
        .collect();
    pairs.sort_unstable();
    pairs
}

static CHARSETS: [Charset; 34] = [
    Charset::single("LATIN1", &single::LATIN1),
    Charset::single("LATIN2", &single::LATIN2),
    Charset::single("LATIN3", &single::LATIN3),
    Charset::single("LATIN4", &single::LATIN4),
    Charset::single("LATIN5", &single::LATIN5),
    Charset::single("LATIN6", &single::LATIN6),
    Charset::single("LATIN7", &single::LATIN7),
    Charset::single("LATIN8", &single::LATIN8),
    Charset::single("LATIN9", &single::LATIN9),
    Charset::single("LATIN10", &single::LATIN10),
    Charset::single("ISO_8859_5", &single::ISO_8859_5),
    Charset::single("ISO_8859_6", &single::ISO_8859_6),
    Charset::single("ISO_8859_7", &single::ISO_8859_7),
    Charset::single("ISO_8859_8", &single::ISO_8859_8),
    Charset::single("WIN866", &single::WIN866),
    Charset::single("WIN874", &single::WIN874),
    Charset::single("WIN1250", &single::WIN1250),
    Charset::single("WIN1251", &single::WIN1251),
    Charset::single("WIN1252", &single::WIN1252),
    Charset::single("WIN1253", &single::WIN1253),
    Charset::single("WIN1254", &single::WIN1254),
    Charset::single("WIN1255", &single::WIN1255),
    Charset::single("WIN1256", &single::WIN1256),
    Charset::single("WIN1257", &single::WIN1257),
    Charset::single("WIN1258", &single::WIN1258),
    Charset::single("KOI8R", &single::KOI8R),
    Charset::single("KOI8U", &single::KOI8U),
    Charset::double("EUC_JP", &double::EUC_JP),
    Charset::double("EUC_KR", &double::EUC_KR),
    Charset::double("EUC_CN", &double::EUC_CN),
    Charset::double("SJIS", &double::SJIS),
    Charset::double("BIG5", &double::BIG5),
    Charset::double("GBK", &double::GBK),
    Charset::double("UHC", &double::UHC),
];

#[cfg(test)]
mod tests;
