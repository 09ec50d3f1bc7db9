//! Configuration files: JSON, `${NAME}` expanded from the environment (`$${` stands for `${`),
//! every field overridable by `PREFIX__SECTION__FIELD`, and every violation reported at once with
//! its path. No violation shows a value, which may be a secret.
//!
//! [`Section`] is read field by field with a default at each place; what is left unread is an
//! unknown key.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read as _};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::Secret;

mod described;
mod expand;
mod files;

use described::Notes;
pub use described::{Field, describe, print as print_fields};
use expand::{Overrides, Variables};
pub use files::with_files;

/// A larger file is no configuration.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Ten years; what is longer is a slip, and what is far longer overflows clocks.
const MAX_DURATION: Duration = Duration::from_secs(3_650 * 24 * 60 * 60);

/// One rule that a configuration breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, e.g. `server.read_timeout`.
    pub path: String,
    /// What is wrong with it and what would be right.
    pub rule: String,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { path, rule }) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{path}: {rule}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// Environment variables, handed in so that tests need not change the process's own.
pub type Env<'a> = &'a BTreeMap<String, String>;

/// One JSON object of the configuration while it is read.
pub struct Section {
    path: String,
    fields: Map<String, Value>,
    report: Rc<RefCell<Vec<Violation>>>,
    notes: Notes,
}

/// Shows the names of the fields alone: a value may be a secret.
impl fmt::Debug for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unread: Vec<_> = self.fields.keys().collect();
        f.debug_struct("Section")
            .field("path", &self.path)
            .field("unread", &unread)
            .finish_non_exhaustive()
    }
}

/// Reads the file at `path` and hands its root section to `build`.
///
/// # Errors
/// Every violation: an unreadable file, JSON that does not parse, a variable that is not set, an
/// unknown key, and whatever `build` found.
pub fn load<T>(
    path: &Path,
    prefix: &str,
    env: Env<'_>,
    build: impl FnOnce(&mut Section) -> T,
) -> Result<T, Violations> {
    let text = read(path).map_err(|error| {
        Violations(vec![Violation {
            path: path.display().to_string(),
            rule: error.to_string(),
        }])
    })?;
    parse_named(&path.display().to_string(), &text, prefix, env, build)
}

fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    let length = file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if u64::try_from(length).is_ok_and(|length| length <= MAX_FILE_BYTES) {
        return Ok(text);
    }
    let rule = format!("is larger than {MAX_FILE_BYTES} bytes");
    Err(io::Error::new(io::ErrorKind::FileTooLarge, rule))
}

/// As [`load`], from a text.
///
/// # Errors
/// As [`load`], but for the file itself.
pub fn parse<T>(
    text: &str,
    prefix: &str,
    env: Env<'_>,
    build: impl FnOnce(&mut Section) -> T,
) -> Result<T, Violations> {
    parse_named("(file)", text, prefix, env, build)
}

fn parse_named<T>(
    name: &str,
    text: &str,
    prefix: &str,
    env: Env<'_>,
    build: impl FnOnce(&mut Section) -> T,
) -> Result<T, Violations> {
    let single = |rule: String| {
        Violations(vec![Violation {
            path: name.to_owned(),
            rule,
        }])
    };
    let value: Value =
        serde_json::from_str(text).map_err(|error| single(format!("is not JSON: {error}")))?;
    let Value::Object(mut fields) = value else {
        return Err(single("must be a JSON object".to_owned()));
    };
    let mut found = Vec::new();
    let overrides = Overrides::find(prefix, env);
    let mut variables = Variables {
        env,
        overrides: &overrides,
        report: &mut found,
    };
    variables.expand(&mut fields);
    overrides.apply(&mut fields, &mut found);
    let report = Rc::new(RefCell::new(found));
    let mut root = Section {
        path: String::new(),
        fields,
        report: Rc::clone(&report),
        notes: None,
    };
    let built = build(&mut root);
    root.finish();
    let violations = report.take();
    if violations.is_empty() {
        Ok(built)
    } else {
        Err(Violations(violations))
    }
}

/// The path of a field within a section; the root's path is empty.
fn join(section: &str, field: &str) -> String {
    if section.is_empty() {
        field.to_owned()
    } else {
        format!("{section}.{field}")
    }
}

impl Section {
    fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// Records that a field breaks a rule.
    pub fn violation(&self, name: &str, rule: impl Into<String>) {
        let path = self.path_of(name);
        self.report.borrow_mut().push(Violation {
            path,
            rule: rule.into(),
        });
    }

    /// Whether the section holds an unread field of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// A nested object; an empty one when it is absent, so that its defaults apply. The caller
    /// ends it with [`Self::finish`].
    pub fn section(&mut self, name: &str) -> Self {
        let fields = match self.fields.remove(name) {
            None => Map::new(),
            Some(Value::Object(fields)) => fields,
            Some(_) => {
                self.violation(name, "must be an object");
                Map::new()
            }
        };
        Self {
            path: self.path_of(name),
            fields,
            report: Rc::clone(&self.report),
            notes: self.notes.clone(),
        }
    }

    /// A list of objects; empty when it is absent. The caller finishes each.
    pub fn sections(&mut self, name: &str) -> Vec<Self> {
        self.note(name, "list of objects", Some("[]".to_owned()));
        let items = match self.fields.remove(name) {
            None => return self.any_of(name).into_iter().collect(),
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.violation(name, "must be a list of objects");
                Vec::new()
            }
        };
        let mut sections = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let name = format!("{name}[{index}]");
            match item {
                Value::Object(fields) => sections.push(Self {
                    path: self.path_of(&name),
                    fields,
                    report: Rc::clone(&self.report),
                    notes: None,
                }),
                _ => self.violation(&name, "must be an object"),
            }
        }
        sections
    }

    /// Ends the section: every key that nobody asked for is a violation.
    pub fn finish(self) {
        for name in self.fields.keys() {
            self.violation(name, "is not a known key");
        }
    }

    /// A text, if it is there.
    pub fn optional_text(&mut self, name: &str) -> Option<String> {
        self.note(name, "text", None);
        match self.fields.remove(name)? {
            Value::String(text) => Some(text),
            _ => {
                self.violation(name, "must be a text");
                None
            }
        }
    }

    /// A text or its default.
    pub fn text(&mut self, name: &str, default: &str) -> String {
        self.note(name, "text", Some(default.to_owned()));
        self.optional_text(name)
            .unwrap_or_else(|| default.to_owned())
    }

    /// A secret, if it is there and not empty.
    pub fn secret(&mut self, name: &str) -> Option<Secret> {
        self.optional_text(name)
            .filter(|text| !text.is_empty())
            .map(Secret::new)
    }

    /// A list of texts or its default; one text with commas counts as a list.
    pub fn texts(&mut self, name: &str, default: &[&str]) -> Vec<String> {
        self.note(name, "list of texts", Some(described::list(default)));
        match self.fields.remove(name) {
            None => default.iter().map(|&text| text.to_owned()).collect(),
            Some(Value::String(text)) => text
                .split(',')
                .map(str::trim)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
                .collect(),
            Some(Value::Array(items)) => {
                let texts: Option<Vec<String>> = items
                    .iter()
                    .map(|item| item.as_str().map(str::to_owned))
                    .collect();
                texts.unwrap_or_else(|| {
                    self.violation(name, "must be a list of texts");
                    Vec::new()
                })
            }
            Some(_) => {
                self.violation(name, "must be a list of texts");
                Vec::new()
            }
        }
    }

    /// A boolean or its default.
    pub fn boolean(&mut self, name: &str, default: bool) -> bool {
        self.note(name, "boolean", Some(default.to_string()));
        match self.fields.remove(name) {
            None => default,
            Some(Value::Bool(value)) => value,
            Some(Value::String(text)) if text == "true" => true,
            Some(Value::String(text)) if text == "false" => false,
            Some(_) => {
                self.violation(name, "must be true or false");
                default
            }
        }
    }

    /// A whole number within bounds, or its default.
    pub fn number(&mut self, name: &str, default: u64, min: u64, max: u64) -> u64 {
        let (first, last) = (described::grouped(min), described::grouped(max));
        self.note(
            name,
            format_args!("{first} to {last}"),
            Some(default.to_string()),
        );
        let value = match self.fields.remove(name) {
            None => return default,
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => text.parse().ok(),
            Some(_) => None,
        };
        match value {
            Some(value) if (min..=max).contains(&value) => value,
            _ => {
                self.violation(name, format!("must be a whole number from {min} to {max}"));
                default
            }
        }
    }

    /// A TCP port or its default.
    pub fn port(&mut self, name: &str, default: u16) -> u16 {
        self.note(name, "port", Some(default.to_string()));
        let value = self.number(name, default.into(), 0, u16::MAX.into());
        u16::try_from(value).unwrap_or(default)
    }

    /// A count within bounds, or its default.
    pub fn count(&mut self, name: &str, default: u32, min: u32, max: u32) -> u32 {
        let value = self.number(name, default.into(), min.into(), max.into());
        u32::try_from(value).unwrap_or(default)
    }

    /// A time such as `"5s"` or `"250ms"` of at most ten years, or its default; zero only if
    /// `zero_ok`.
    pub fn duration(&mut self, name: &str, default: Duration, zero_ok: bool) -> Duration {
        let kind = if zero_ok { "time or `0s`" } else { "time" };
        self.note(name, kind, Some(described::time(default)));
        let parsed = match self.fields.remove(name) {
            None => return default,
            Some(Value::String(text)) => humantime::parse_duration(&text).ok(),
            Some(_) => None,
        };
        let rule = match parsed {
            Some(value) if value.is_zero() && !zero_ok => "must be longer than zero",
            Some(value) if value <= MAX_DURATION => return value,
            Some(_) => "must be at most ten years",
            None => "must be a time such as \"5s\", \"250ms\" or \"2m\"",
        };
        self.violation(name, rule);
        default
    }

    /// A size such as `"64MiB"` or a number of bytes, or its default.
    pub fn size(&mut self, name: &str, default: u64) -> u64 {
        self.note(name, "size", Some(described::size(default)));
        let parsed = match self.fields.remove(name) {
            None => return default,
            Some(Value::Number(number)) => number.as_u64(),
            Some(Value::String(text)) => parse_size(&text),
            Some(_) => None,
        };
        parsed.unwrap_or_else(|| {
            self.violation(
                name,
                "must be a size such as \"64MiB\", \"1GiB\" or a number of bytes",
            );
            default
        })
    }

    /// One of some words, or its default.
    pub fn choice<T: Copy>(&mut self, name: &str, words: &[(&str, T)], default: T) -> T {
        let (kind, of_default) = described::words(words, &default);
        self.note(name, kind, of_default);
        let Some(given) = self.fields.remove(name) else {
            return default;
        };
        let found = words.iter().find(|(word, _)| given == *word);
        found.map_or_else(
            || {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                self.violation(name, format!("must be one of {}", known.join(", ")));
                default
            },
            |(_, value)| *value,
        )
    }
}

fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.strip_prefix(digits)? {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    digits.trim().parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests;
