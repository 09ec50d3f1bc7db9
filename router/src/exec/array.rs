//! Pure: PostgreSQL's text form of arrays, e.g. `{1,NULL,"a,b",{2}}`, in both directions.

use std::borrow::Cow;

/// PostgreSQL's own limit of dimensions (MAXDIM).
pub const MAX_DIMENSIONS: usize = 6;

/// What a [`Reader`] meets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// An array begins: the whole one or one inside it.
    Open,
    /// The innermost open array ends.
    Close,
    /// A NULL element.
    Null,
    /// An element's own text.
    Element(Cow<'a, str>),
}

/// A text that is not an array.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed array text")]
pub struct Malformed;

/// Walks over an array's text without building it. After an error it gives nothing more.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a str,
    delimiter: char,
    depth: usize,
    /// What may come at this place.
    expects: Expects,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expects {
    /// The outermost brace.
    Start,
    /// An element, an inner array, or the end of an empty array.
    First,
    /// An element or an inner array.
    Item,
    /// A delimiter or the end of the array.
    Next,
    /// Nothing.
    End,
}

impl<'a> Reader<'a> {
    /// Reads an array whose elements are divided by `delimiter`.
    #[must_use]
    pub fn new(text: &'a str, delimiter: u8) -> Self {
        Self {
            rest: without_bounds(text),
            delimiter: char::from(delimiter),
            depth: 0,
            expects: Expects::Start,
        }
    }

    fn step(&mut self) -> Result<Event<'a>, Malformed> {
        if self.expects == Expects::Next && self.take(self.delimiter) {
            self.expects = Expects::Item;
        }
        if self.take('{') {
            if matches!(self.expects, Expects::Next | Expects::End) || self.depth == MAX_DIMENSIONS
            {
                return Err(Malformed);
            }
            self.depth += 1;
            self.expects = Expects::First;
            return Ok(Event::Open);
        }
        if self.take('}') {
            if !matches!(self.expects, Expects::First | Expects::Next) {
                return Err(Malformed);
            }
            self.depth -= 1;
            self.expects = if self.depth == 0 {
                Expects::End
            } else {
                Expects::Next
            };
            return Ok(Event::Close);
        }
        if !matches!(self.expects, Expects::First | Expects::Item) {
            return Err(Malformed);
        }
        self.expects = Expects::Next;
        if self.take('"') {
            self.quoted().map(Event::Element)
        } else {
            self.bare()
        }
    }

    fn take(&mut self, wanted: char) -> bool {
        let stripped = self.rest.strip_prefix(wanted);
        self.rest = stripped.unwrap_or(self.rest);
        stripped.is_some()
    }

    /// The rest of a quoted element; a backslash makes the next character an ordinary one.
    fn quoted(&mut self) -> Result<Cow<'a, str>, Malformed> {
        let mut out = Cow::Borrowed("");
        loop {
            let at = self.rest.find(['"', '\\']).ok_or(Malformed)?;
            let (plain, rest) = self.rest.split_at(at);
            append(&mut out, plain);
            let mut rest = rest.chars();
            if rest.next() == Some('"') {
                self.rest = rest.as_str();
                return Ok(out);
            }
            out.to_mut().push(rest.next().ok_or(Malformed)?);
            self.rest = rest.as_str();
        }
    }

    fn bare(&mut self) -> Result<Event<'a>, Malformed> {
        let ends = |c| matches!(c, '{' | '}' | '"') || c == self.delimiter;
        let at = self.rest.find(ends).ok_or(Malformed)?;
        let (text, rest) = self.rest.split_at(at);
        self.rest = rest;
        if text.is_empty() {
            return Err(Malformed);
        }
        if text.eq_ignore_ascii_case("null") {
            return Ok(Event::Null);
        }
        // The server quotes whatever holds a backslash.
        if text.contains('\\') {
            return Err(Malformed);
        }
        Ok(Event::Element(Cow::Borrowed(text)))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<Event<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.expects == Expects::End {
            return match std::mem::take(&mut self.rest) {
                "" => None,
                _ => Some(Err(Malformed)),
            };
        }
        let event = self.step();
        if event.is_err() {
            (self.expects, self.rest) = (Expects::End, "");
        }
        Some(event)
    }
}

/// Drops what stands before an array whose indices do not begin at 1: `[0:2]={...}`.
fn without_bounds(text: &str) -> &str {
    match text.split_once('=') {
        Some((bounds, array)) if bounds.starts_with('[') => array,
        Some(_) | None => text,
    }
}

fn append<'a>(out: &mut Cow<'a, str>, piece: &'a str) {
    if out.is_empty() {
        *out = Cow::Borrowed(piece);
    } else {
        out.to_mut().push_str(piece);
    }
}

/// Writes one element, quoted, so that it is neither NULL nor a part of the array's own syntax.
pub fn write_element(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
}

#[cfg(test)]
mod tests;
