//! Pure: a report as YAML. The fields are those of the JSON, in the same order; texts are always in
//! double quotes, whose escapes are those of JSON, so that no text is read as something else.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// The report as one YAML document.
pub(super) fn write(report: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let mut serializer = Serializer::with_formatter(&mut bytes, Block::default());
    report
        .serialize(&mut serializer)
        .expect("reports hold only texts, numbers and lists, which YAML can write");
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    text.push('\n');
    // Behind `key:` and `-` of what goes on in the next line; in a text a line feed is an escape.
    text.replace(" \n", "\n")
}

/// Writes blocks, two spaces deeper each, as serde_json goes through the value.
#[derive(Debug, Default)]
struct Block {
    /// Of each list or object that is open, whether anything was in it.
    open: Vec<bool>,
    /// Whether the next key stands behind the dash of its list, or begins the document.
    is_begun: bool,
    is_key: bool,
}

impl Block {
    fn line(&mut self, writer: &mut (impl Write + ?Sized)) -> io::Result<()> {
        if let Some(has_any) = self.open.last_mut() {
            *has_any = true;
        }
        let depth = self.open.len().saturating_sub(1);
        write!(writer, "\n{:1$}", "", depth * 2)
    }

    fn end(&mut self, writer: &mut (impl Write + ?Sized), empty: &str) -> io::Result<()> {
        self.is_begun = false;
        match self.open.pop() {
            Some(true) => Ok(()),
            Some(false) | None => writer.write_all(empty.as_bytes()),
        }
    }
}

impl Formatter for Block {
    fn begin_object<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_begun |= self.open.is_empty();
        self.open.push(false);
        Ok(())
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, "{}")
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> io::Result<()> {
        self.is_key = true;
        if std::mem::take(&mut self.is_begun) {
            if let Some(has_any) = self.open.last_mut() {
                *has_any = true;
            }
            return Ok(());
        }
        self.line(writer)
    }

    fn end_object_key<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_key = false;
        Ok(())
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn begin_array<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.open.push(false);
        Ok(())
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.end(writer, "[]")
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, _: bool) -> io::Result<()> {
        self.line(writer)?;
        self.is_begun = true;
        writer.write_all(b"- ")
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, _writer: &mut W) -> io::Result<()> {
        self.is_begun = false;
        Ok(())
    }

    // Fields of reports are words.
    fn begin_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.is_key { b"" } else { b"\"" })
    }

    fn end_string<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.is_key { b"" } else { b"\"" })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn lists_and_objects_stand_in_blocks() {
        let value = json!({
            "a": [{ "b": 1, "c": [true, null], "d": {} }, { "b": 2 }],
            "e": { "f": "no", "g": [] },
            "h": "a: \"b\"\n",
        });
        let text = "a:\n  - b: 1\n    c:\n      - true\n      - null\n    d: {}\n  - b: 2\n\
                    e:\n  f: \"no\"\n  g: []\nh: \"a: \\\"b\\\"\\n\"\n";
        assert_eq!(write(&value), text);
    }

    #[test]
    fn an_empty_report_is_an_empty_object() {
        assert_eq!(write(&json!({})), "{}\n");
    }
}
