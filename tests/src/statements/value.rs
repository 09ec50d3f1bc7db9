//! Expressions that equal a key, written in many ways.

use super::{KeyKind, Maker};

/// An expression.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) sql: String,
    /// Whether it is a constant or a parameter by itself.
    pub(super) plain: bool,
}

const NUMBERS: [&str; 12] = [
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "10",
    "0",
    "-1",
    "-42",
    "9223372036854775807",
];

const TEXTS: [&str; 9] = ["a", "b", "it's", "x y", "\u{fc}", "5", "A", "c\"d", "e,f"];

/// All keys of a type.
pub(super) fn keys(kind: KeyKind) -> &'static [&'static str] {
    match kind {
        KeyKind::Bigint => &NUMBERS,
        KeyKind::Text => &TEXTS,
    }
}

impl Maker {
    /// A key.
    pub(super) fn key(&mut self, kind: KeyKind) -> &'static str {
        let all: &[&'static str] = keys(kind);
        self.random.pick::<&str>(all)
    }

    /// One to three keys.
    pub(super) fn keys(&mut self, kind: KeyKind) -> Vec<&'static str> {
        let count = 1 + self.random.below(3);
        (0..count).map(|_| self.key(kind)).collect()
    }

    /// An expression that equals `key`.
    pub(super) fn value(&mut self, kind: KeyKind, key: &str) -> Value {
        if self.parameters && self.random.chance(25) {
            return self.parameter(key);
        }
        if self.random.chance(70) {
            let sql = match kind {
                KeyKind::Bigint => key.to_owned(),
                KeyKind::Text => quoted(key),
            };
            return Value { sql, plain: true };
        }
        match kind {
            KeyKind::Bigint => self.number(key),
            KeyKind::Text => self.text(key),
        }
    }

    /// A parameter that is `value`.
    pub(super) fn parameter(&mut self, value: &str) -> Value {
        self.params.push(value.to_owned());
        Value {
            sql: format!("${}", self.params.len()),
            plain: true,
        }
    }

    fn number(&mut self, key: &str) -> Value {
        let (sql, plain) = match self.random.below(14) {
            0 => (format!("'{key}'"), true),
            1 => (format!("({key})::bigint"), true),
            2 => (format!("'{key}'::int8"), true),
            3 => (format!("CAST('{key}' AS bigint)"), true),
            4 => (format!("({key})"), true),
            5 => (format!("' {key} '"), false),
            6 => (format!("({key} + 0)"), false),
            7 => (format!("{key}.0"), false),
            8 => (format!("(SELECT {key})"), false),
            9 => (format!("({key})::numeric"), false),
            10 => (format!("({key})::text::bigint"), false),
            11 => (format!("bigint '{key}'"), false),
            12 => (format!("coalesce({key}, 1)"), false),
            _ => (format!("/* {key}1 */ {key} /* 1 */"), false),
        };
        Value { sql, plain }
    }

    fn text(&mut self, key: &str) -> Value {
        let string = quoted(key);
        let (sql, plain) = match self.random.below(11) {
            0 => (format!("{string}::text"), true),
            1 => (format!("{string}::varchar"), true),
            2 => (format!("CAST({string} AS text)"), true),
            3 => (format!("({string})"), true),
            4 => (format!("E'{}'", key.replace('\'', "\\'")), false),
            5 => (format!("$q${key}$q$"), false),
            6 => (format!("({string} || '')"), false),
            7 => {
                let (longer, length) = (quoted(&format!("{key}zz")), key.chars().count());
                (format!("{longer}::varchar({length})"), false)
            }
            8 => (format!("(SELECT {string}::text)"), false),
            9 => (format!("text {string}"), false),
            _ => (format!("{string}::char(9)"), false),
        };
        Value { sql, plain }
    }
}

/// A string constant.
pub(super) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text form of an array.
pub(super) fn array(kind: KeyKind, keys: &[&str]) -> String {
    let element = |key: &&str| match kind {
        KeyKind::Bigint => (*key).to_owned(),
        KeyKind::Text => format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\"")),
    };
    let elements: Vec<String> = keys.iter().map(element).collect();
    format!("{{{}}}", elements.join(","))
}
