//! Which fields a configuration may have: each that is read, with its type and its default, noted
//! while an empty configuration is read.

use std::cell::RefCell;
use std::fmt::Display;
use std::io::Write as _;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Map, Section};

/// One field.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Where it stands, e.g. `server.read_timeout`; of a list's objects with `[]`.
    pub path: String,
    /// What it takes, in Markdown.
    #[serde(rename = "type")]
    pub kind: String,
    /// What holds without it, as the file would have it; none where that is nothing.
    pub default: Option<String>,
}

/// The fields that were read so far; none while a configuration is read to be used.
pub(super) type Notes = Option<Rc<RefCell<Vec<Field>>>>;

/// The fields that `build` reads, in their order.
pub fn describe<T>(build: impl FnOnce(&mut Section) -> T) -> Vec<Field> {
    let notes = Rc::new(RefCell::new(Vec::new()));
    let mut root = Section {
        path: String::new(),
        fields: Map::new(),
        report: Rc::default(),
        notes: Some(Rc::clone(&notes)),
    };
    // What an empty configuration lacks is not of interest.
    drop(build(&mut root));
    notes.take()
}

/// Prints them, a line of JSON each.
pub fn print(fields: &[Field]) {
    let mut stdout = std::io::stdout().lock();
    for field in fields {
        // Who reads no further misses nothing.
        drop(writeln!(stdout, "{}", serde_json::json!(field)));
    }
}

impl Section {
    /// Notes a field, unless that was done by who calls on behalf of another type.
    pub(super) fn note(&self, name: &str, kind: impl Display, default: Option<String>) {
        let Some(notes) = &self.notes else {
            return;
        };
        let path = self.path_of(name);
        let mut notes = notes.borrow_mut();
        if notes.iter().all(|field| field.path != path) {
            notes.push(Field {
                path,
                kind: kind.to_string(),
                default,
            });
        }
    }

    /// An object that stands for all of a list.
    pub(super) fn any_of(&self, name: &str) -> Option<Self> {
        self.notes.as_ref()?;
        Some(Self {
            path: self.path_of(&format!("{name}[]")),
            fields: Map::new(),
            report: Rc::clone(&self.report),
            notes: self.notes.clone(),
        })
    }
}

/// A number with its digits in groups of three.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

pub(super) fn time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A size in the largest unit that divides it.
pub(super) fn size(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units
        .into_iter()
        .find(|(shift, _)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(
        || bytes.to_string(),
        |(shift, unit)| format!("{}{unit}", bytes >> shift),
    )
}

pub(super) fn list(texts: &[&str]) -> String {
    let texts: Vec<String> = texts.iter().map(|text| format!("{text:?}")).collect();
    format!("[{}]", texts.join(", "))
}

/// The words, and the one that stands for the default.
pub(super) fn words<T>(words: &[(&str, T)], default: &T) -> (String, Option<String>) {
    let kind = std::mem::discriminant(default);
    let mut of_default = words
        .iter()
        .filter(|(_, value)| std::mem::discriminant(value) == kind);
    let default = of_default.next().map(|(word, _)| (*word).to_owned());
    let all: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
    (all.join(", "), default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy)]
    enum Word {
        One,
        Two,
    }

    #[test]
    fn each_field_is_noted_once_with_its_type_and_default() {
        let fields = describe(|root| {
            let mut section = root.section("a");
            section.port("port", 80);
            section.count("count", 10_000, 1, 1_000_000);
            section.duration("wait", Duration::from_millis(1_500), true);
            section.size("size", 64 << 20);
            section.text("text", "t");
            section.secret("secret");
            section.texts("texts", &["x"]);
            section.boolean("flag", true);
            let words = [("one", Word::One), ("two", Word::Two)];
            section.choice("choice", &words, Word::Two);
            for mut object in section.sections("objects") {
                object.optional_text("name");
            }
        });
        let shown = |field: &Field| {
            let default = field.default.as_deref().unwrap_or("-");
            format!("{} {} {default}", field.path, field.kind)
        };
        let shown: Vec<String> = fields.iter().map(shown).collect();
        assert_eq!(
            shown,
            [
                "a.port port 80",
                "a.count 1 to 1,000,000 10000",
                "a.wait time or `0s` 1s 500ms",
                "a.size size 64MiB",
                "a.text text t",
                "a.secret text -",
                "a.texts list of texts [\"x\"]",
                "a.flag boolean true",
                "a.choice `one`, `two` two",
                "a.objects list of objects []",
                "a.objects[].name text -",
            ]
        );
    }
}
