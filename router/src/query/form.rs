//! A statement's form: its text with a parameter in the place of each constant, so that texts that
//! differ in their constants only share one analysis.
//!
//! Only a lexer, and one that gives up early: whatever is rare in it makes the text one without a
//! form, which is then analysed as it is. What the form means is for the parser to say; a constant
//! that a parameter cannot stand for (`interval '1 day'`) makes a form that is not SQL.

use std::ops::Range;

/// Most constants of a form; texts with more are bulk loads.
const MAX_CONSTANTS: usize = 64;

/// A constant in the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constant {
    /// Where its value stands, without quotes.
    pub value: Range<usize>,
    /// Whether it is a string, whose type depends on its place.
    pub quoted: bool,
}

/// A form, in buffers that are used again.
#[derive(Debug, Default)]
pub struct Form {
    /// The text with `$1`, `$2`, ... in the places of the constants.
    pub text: String,
    /// The constants in order.
    pub constants: Vec<Constant>,
}

impl Form {
    /// Reads the form of a text; false when it has none, or no constants.
    pub fn read(&mut self, sql: &str) -> bool {
        self.text.clear();
        self.constants.clear();
        self.scan(sql).is_some() && !self.constants.is_empty()
    }

    /// None when something is met that this lexer leaves to the parser.
    fn scan(&mut self, sql: &str) -> Option<()> {
        let bytes = sql.as_bytes();
        let mut at = 0;
        // What lies before this place has been copied.
        let mut copied = 0;
        while let Some(&byte) = bytes.get(at) {
            match kind_of(byte) {
                Kind::Plain => at += 1,
                Kind::Word => at = word_end(bytes, at)?,
                Kind::Digit => {
                    let end = number_end(bytes, at)?;
                    self.put(sql.get(copied..at)?, at..end, false)?;
                    copied = end;
                    at = end;
                }
                Kind::Quote => {
                    let end = string_end(bytes, at)?;
                    self.put(sql.get(copied..at)?, at + 1..end, true)?;
                    copied = end + 1;
                    at = copied;
                }
                Kind::Name => at = past(bytes, at + 1, b'"')?,
                // Parameters and dollar quotes, escapes.
                Kind::Rare => return None,
                // Numbers such as `.5`; comments, which may hold hints.
                Kind::Mark => match (byte, bytes.get(at + 1)) {
                    (b'.', Some(b'0'..=b'9')) | (b'-', Some(b'-')) | (b'/', Some(b'*')) => {
                        return None;
                    }
                    _ => at += 1,
                },
            }
        }
        self.text.push_str(sql.get(copied..)?);
        Some(())
    }

    fn put(&mut self, before: &str, value: Range<usize>, quoted: bool) -> Option<()> {
        if self.constants.len() == MAX_CONSTANTS {
            return None;
        }
        self.constants.push(Constant { value, quoted });
        let number = self.constants.len();
        self.text.push_str(before);
        self.text.push('$');
        for divisor in [10, 1] {
            if number >= divisor {
                let digit = u8::try_from(number / divisor % 10).ok()?;
                self.text.push(char::from(b'0' + digit));
            }
        }
        Some(())
    }
}

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Nothing that matters.
    Plain,
    Word,
    Digit,
    Quote,
    /// A name in quotes.
    Name,
    /// What depends on the byte behind it.
    Mark,
    /// What is left to the parser.
    Rare,
}

/// The kind of each byte.
#[expect(
    clippy::indexing_slicing,
    reason = "computed by the compiler, where nothing else is to be had"
)]
const KINDS: [Kind; 256] = {
    let mut kinds = [Kind::Plain; 256];
    let mut byte: u8 = 0;
    loop {
        kinds[byte as usize] = match byte {
            b'0'..=b'9' => Kind::Digit,
            b'\'' => Kind::Quote,
            b'"' => Kind::Name,
            b'.' | b'-' | b'/' => Kind::Mark,
            b'$' | b'\\' => Kind::Rare,
            _ if is_word(byte) => Kind::Word,
            _ => Kind::Plain,
        };
        if byte == u8::MAX {
            break kinds;
        }
        byte += 1;
    }
};

/// The closing quote of the string that opens at `open`. None for an escape or a doubled quote in
/// it, and for a string right after or before another one, which may be its continuation.
fn string_end(bytes: &[u8], open: usize) -> Option<usize> {
    let end = past(bytes, open + 1, b'\'')?.checked_sub(1)?;
    let inner = bytes.get(open + 1..end)?;
    let doubled = bytes.get(end + 1) == Some(&b'\'');
    (!doubled && !inner.contains(&b'\\')).then_some(end)
}

/// The end of the digits at `begin`; none unless they are a whole number of their own.
fn number_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let rest = bytes.get(begin..)?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits) {
        Some(&next) if next == b'.' || next == b'$' || next == b'\'' || is_word(next) => None,
        _ => Some(begin + digits),
    }
}

/// The end of the word at `begin`; none when it is a prefix of a string (`E'...'`, `U&'...'`).
fn word_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let rest = bytes.get(begin..)?;
    let length = rest.iter().position(|&byte| !goes_on(byte));
    let length = length.unwrap_or(rest.len());
    match rest.get(length) {
        Some(b'\'' | b'$' | b'&') => None,
        _ => Some(begin + length),
    }
}

/// The place after the next `wanted`.
fn past(bytes: &[u8], from: usize, wanted: u8) -> Option<usize> {
    Some(from + memchr::memchr(wanted, bytes.get(from..)?)? + 1)
}

fn kind_of(byte: u8) -> Kind {
    let kind = KINDS.get(usize::from(byte));
    kind.copied().unwrap_or(Kind::Plain)
}

const fn is_word(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80..)
}

/// Whether a word goes on with a byte.
fn goes_on(byte: u8) -> bool {
    matches!(kind_of(byte), Kind::Word | Kind::Digit)
}

#[cfg(test)]
mod tests {
    use super::Form;

    fn form(sql: &str) -> Option<(String, Vec<&str>)> {
        let mut form = Form::default();
        form.read(sql).then(|| {
            let values = form
                .constants
                .iter()
                .map(|it| sql.get(it.value.clone()).unwrap());
            (form.text.clone(), values.collect())
        })
    }

    #[test]
    fn constants_become_parameters_in_their_order() {
        let (text, values) =
            form("SELECT a1 FROM t WHERE k = 42 AND name IN ('x', 'y z')").unwrap();
        assert_eq!(text, "SELECT a1 FROM t WHERE k = $1 AND name IN ($2, $3)");
        assert_eq!(values, ["42", "x", "y z"]);
    }

    #[test]
    fn the_tenth_constant_has_two_digits() {
        let (text, values) = form("SELECT 1,2,3,4,5,6,7,8,9,0,'ten and one'").unwrap();
        assert_eq!(text, "SELECT $1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11");
        assert_eq!(values.len(), 11);
    }

    #[test]
    fn quoted_names_are_left_alone() {
        let (text, _) = form(r#"SELECT "a 1's" FROM "t2" WHERE k=7"#).unwrap();
        assert_eq!(text, r#"SELECT "a 1's" FROM "t2" WHERE k=$1"#);
    }

    #[test]
    fn texts_without_constants_or_with_rare_ones_have_no_form() {
        let rare = [
            "SELECT a FROM t",
            "SELECT $1",
            "SELECT $$x$$, 1",
            "SELECT E'a', 1",
            "SELECT U&'a', 1",
            "SELECT 'it''s'",
            "SELECT 'a\\b'",
            "SELECT 1.5",
            "SELECT .5",
            "SELECT 1e3",
            "SELECT 0x1F",
            "SELECT 1_000",
            "SELECT 1 -- shard",
            "SELECT 1 /* shard */",
            "SELECT 'open",
            "SELECT \"open",
            "",
        ];
        for sql in rare {
            assert_eq!(form(sql), None, "{sql}");
        }
        assert_eq!(form(&format!("SELECT {}", "1,".repeat(65))), None);
    }

    #[test]
    fn text_that_is_not_ascii_keeps_its_bytes() {
        let (text, values) = form("SELECT größe FROM t WHERE ort = 'Köln'").unwrap();
        assert_eq!(text, "SELECT größe FROM t WHERE ort = $1");
        assert_eq!(values, ["Köln"]);
    }
}
