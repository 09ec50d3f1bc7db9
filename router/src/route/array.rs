//! PostgreSQL's two array formats, element by element. Only arrays of one dimension without
//! bounds of their own; what an element means is for the caller to say.

use std::borrow::Cow;

/// Why bytes are not read as an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InvalidArray {
    /// PostgreSQL would refuse it too.
    Malformed,
    /// An array, but with bounds or of several dimensions.
    Shape,
}

/// The elements of an array in text format; none is NULL.
#[derive(Debug)]
pub(super) struct TextElements<'a> {
    /// What follows the last element that was read, its delimiter included.
    rest: &'a str,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the first element, which may be missing.
    First,
    /// After a comma.
    Next,
    /// After the closing brace, or after an error.
    Done,
}

impl<'a> TextElements<'a> {
    /// Reads `{a,b}`.
    pub(super) fn try_new(text: &'a str) -> Result<Self, InvalidArray> {
        let text = text.trim_start_matches(is_space);
        if text.starts_with('[') {
            return Err(InvalidArray::Shape);
        }
        let rest = text.strip_prefix('{').ok_or(InvalidArray::Malformed)?;
        Ok(Self {
            rest,
            state: State::First,
        })
    }

    fn step(&mut self) -> Result<Option<Option<Cow<'a, str>>>, InvalidArray> {
        let rest = self.rest.trim_start_matches(is_space);
        if let (State::First, Some(after)) = (self.state, rest.strip_prefix('}')) {
            return self.close(after).map(|()| None);
        }
        let (element, after) = match rest.strip_prefix('"') {
            Some(quoted) => {
                let (text, after) = quoted_element(quoted)?;
                (Some(text), after.trim_start_matches(is_space))
            }
            None if rest.starts_with('{') => return Err(InvalidArray::Shape),
            None => bare_element(rest)?,
        };
        if let Some(next) = after.strip_prefix(',') {
            self.rest = next;
            self.state = State::Next;
        } else {
            let after = after.strip_prefix('}').ok_or(InvalidArray::Malformed)?;
            self.close(after)?;
        }
        Ok(Some(element))
    }

    fn close(&mut self, after: &str) -> Result<(), InvalidArray> {
        self.state = State::Done;
        if after.chars().all(is_space) {
            Ok(())
        } else {
            Err(InvalidArray::Malformed)
        }
    }
}

impl<'a> Iterator for TextElements<'a> {
    type Item = Result<Option<Cow<'a, str>>, InvalidArray>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.state == State::Done {
            return None;
        }
        let step = self.step();
        if step.is_err() {
            self.state = State::Done;
        }
        step.transpose()
    }
}

/// The text up to the closing quote, and what follows that.
fn quoted_element(text: &str) -> Result<(Cow<'_, str>, &str), InvalidArray> {
    let mut unescaped: Option<String> = None;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                let (element, after) = split(text, at, 1)?;
                return Ok((unescaped.map_or(Cow::Borrowed(element), Cow::Owned), after));
            }
            '\\' => {
                let (_, escaped) = chars.next().ok_or(InvalidArray::Malformed)?;
                unescaped
                    .get_or_insert_with(|| before(text, at))
                    .push(escaped);
            }
            other => {
                if let Some(unescaped) = &mut unescaped {
                    unescaped.push(other);
                }
            }
        }
    }
    Err(InvalidArray::Malformed)
}

/// The text up to the next delimiter without the blanks at its end, and what follows it with the
/// delimiter. NULL without quotes and escapes is no text.
fn bare_element(text: &str) -> Result<(Option<Cow<'_, str>>, &str), InvalidArray> {
    let mut unescaped: Option<String> = None;
    // A blank that is escaped stays.
    let mut kept_bytes = 0;
    let mut chars = text.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            ',' | '}' => {
                let (element, after) = split(text, at, 0)?;
                return match unescaped {
                    Some(mut owned) => {
                        let trimmed = owned.trim_end_matches(is_space).len().max(kept_bytes);
                        owned.truncate(trimmed);
                        Ok((Some(Cow::Owned(owned)), after))
                    }
                    None => match element.trim_end_matches(is_space) {
                        "" => Err(InvalidArray::Malformed),
                        null if null.eq_ignore_ascii_case("null") => Ok((None, after)),
                        element => Ok((Some(Cow::Borrowed(element)), after)),
                    },
                };
            }
            '{' | '"' => return Err(InvalidArray::Malformed),
            '\\' => {
                let (_, escaped) = chars.next().ok_or(InvalidArray::Malformed)?;
                let owned = unescaped.get_or_insert_with(|| before(text, at));
                owned.push(escaped);
                kept_bytes = owned.len();
            }
            other => {
                if let Some(unescaped) = &mut unescaped {
                    unescaped.push(other);
                }
            }
        }
    }
    Err(InvalidArray::Malformed)
}

fn before(text: &str, at: usize) -> String {
    text.get(..at).unwrap_or_default().to_owned()
}

/// The text before a byte, and the text that follows `skip` bytes later.
fn split(text: &str, at: usize, skip: usize) -> Result<(&str, &str), InvalidArray> {
    match (text.get(..at), text.get(at.saturating_add(skip)..)) {
        (Some(head), Some(tail)) => Ok((head, tail)),
        (_, None) | (None, _) => Err(InvalidArray::Malformed),
    }
}

/// array_isspace of PostgreSQL.
fn is_space(char: char) -> bool {
    matches!(char, ' ' | '\t' | '\n' | '\r' | '\x0b' | '\x0c')
}

/// The elements of an array in binary format; none is NULL.
#[derive(Debug)]
pub(super) struct BinaryElements<'a> {
    /// The type of the elements.
    pub(super) element_oid: u32,
    left: u32,
    rest: &'a [u8],
}

impl<'a> BinaryElements<'a> {
    /// Reads the header: dimensions, flags, element type, and a size and lower bound for the one
    /// dimension.
    pub(super) fn try_new(bytes: &'a [u8]) -> Result<Self, InvalidArray> {
        let mut rest = bytes;
        let dimensions = take_u32(&mut rest)?;
        let _has_nulls = take_u32(&mut rest)?;
        let element_oid = take_u32(&mut rest)?;
        let left = match dimensions {
            0 => 0,
            1 => {
                let size = take_u32(&mut rest)?;
                let _lower_bound = take_u32(&mut rest)?;
                size
            }
            _ => return Err(InvalidArray::Shape),
        };
        Ok(Self {
            element_oid,
            left,
            rest,
        })
    }

    fn step(&mut self) -> Result<Option<&'a [u8]>, InvalidArray> {
        let length = take_u32(&mut self.rest)?;
        if length == u32::MAX {
            return Ok(None);
        }
        let length = usize::try_from(length).map_err(|_| InvalidArray::Malformed)?;
        let (element, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(InvalidArray::Malformed)?;
        self.rest = rest;
        Ok(Some(element))
    }
}

impl<'a> Iterator for BinaryElements<'a> {
    type Item = Result<Option<&'a [u8]>, InvalidArray>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = match self.left.checked_sub(1) {
            Some(left) => left,
            None if self.rest.is_empty() => return None,
            None => {
                self.rest = &[];
                return Some(Err(InvalidArray::Malformed));
            }
        };
        let step = self.step();
        if step.is_err() {
            self.left = 0;
            self.rest = &[];
        }
        Some(step)
    }
}

fn take_u32(bytes: &mut &[u8]) -> Result<u32, InvalidArray> {
    let (head, rest) = bytes.split_first_chunk().ok_or(InvalidArray::Malformed)?;
    *bytes = rest;
    Ok(u32::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Option<String>>, InvalidArray> {
        let own = |element: Option<Cow<'_, str>>| element.map(Cow::into_owned);
        TextElements::try_new(text)?
            .map(|element| element.map(own))
            .collect()
    }

    #[test]
    fn text_arrays_are_read_as_postgresql_reads_them() {
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("{}"), Ok(vec![]));
        assert_eq!(read(" { } "), Ok(vec![]));
        assert_eq!(read("{1,2}"), Ok(vec![some("1"), some("2")]));
        assert_eq!(
            read("{ a b , NULL,\"null\" }"),
            Ok(vec![some("a b"), None, some("null")])
        );
        assert_eq!(
            read(r#"{"a\"b\\",\N\U}"#),
            Ok(vec![some("a\"b\\"), some("NU")])
        );
        assert_eq!(read(r"{a\  ,\é}"), Ok(vec![some("a "), some("é")]));
        assert_eq!(read(r#"{""}"#), Ok(vec![some("")]));
        assert_eq!(read("{{1},{2}}"), Err(InvalidArray::Shape));
        assert_eq!(read("[2:3]={1,2}"), Err(InvalidArray::Shape));
        for malformed in [
            "", "1", "{", "{1", "{1,}", "{,1}", "{1}2", "{\"a\"b}", "{a\"b\"}", "{a\\",
        ] {
            assert_eq!(read(malformed), Err(InvalidArray::Malformed), "{malformed}");
        }
    }

    #[test]
    fn binary_arrays_end_where_their_header_says() {
        let word = |value: u32| value.to_be_bytes();
        let bytes = [
            word(1),
            word(0),
            word(23),
            word(2),
            word(1),
            word(4),
            word(7),
            word(u32::MAX),
        ]
        .concat();
        let elements: Result<Vec<_>, _> = BinaryElements::try_new(&bytes).unwrap().collect();
        assert_eq!(elements, Ok(vec![Some(&[0, 0, 0, 7][..]), None]));
        for cut in 12..bytes.len() {
            let Ok(mut elements) = BinaryElements::try_new(&bytes[..cut]) else {
                continue;
            };
            assert!(elements.any(|element| element.is_err()), "{cut}");
        }
        let longer = [bytes, vec![0]].concat();
        assert!(
            BinaryElements::try_new(&longer)
                .unwrap()
                .any(|element| element.is_err())
        );
    }
}
