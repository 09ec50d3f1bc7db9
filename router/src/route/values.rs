//! Which values of a statement can be read as keys, and the list of those that decide.

use topology::{Key, KeyType};

use super::array::TextElements;
use super::{KeySource, Refusal};
use crate::query::{ArrayValue, Family, Value};

/// What a value is when it is compared with a key column, or stored in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reading {
    /// A key.
    Key(KeySource),
    /// NULL.
    Null,
    /// DEFAULT, an expression, or of a type that is converted first.
    Unusable,
}

/// Reads a value as a key.
///
/// # Errors
/// As PostgreSQL's, when a constant is none of that type.
pub(super) fn read(value: &Value, key_type: KeyType) -> Result<Reading, Refusal> {
    let text = match value {
        Value::Null => return Ok(Reading::Null),
        Value::Default | Value::Other => return Ok(Reading::Unusable),
        Value::Parameter(number, cast) => {
            let source = KeySource::Parameter(*number);
            return Ok(usable(*cast, key_type).map_or(Reading::Unusable, |()| Reading::Key(source)));
        }
        // A string without a type takes the type of what it is compared with.
        Value::Text(text) => text,
        // Beyond bigint it is a numeric, and what it is compared with is converted.
        Value::Integer(digits) if key_type == KeyType::Bigint && digits.parse::<i64>().is_ok() => {
            digits
        }
        Value::Cast(family, text) if usable(Some(*family), key_type).is_some() => text,
        Value::Integer(_) | Value::Cast(..) => return Ok(Reading::Unusable),
    };
    literal(text, key_type).map(Reading::Key)
}

pub(super) fn usable(cast: Option<Family>, key_type: KeyType) -> Option<()> {
    match (cast, key_type) {
        (None, _)
        | (Some(Family::Integer), KeyType::Bigint)
        | (Some(Family::Text), KeyType::Text)
        | (Some(Family::Uuid), KeyType::Uuid) => Some(()),
        (Some(Family::Integer | Family::Text | Family::Uuid), _) => None,
    }
}

pub(super) fn literal(text: &str, key_type: KeyType) -> Result<KeySource, Refusal> {
    Key::from_text(key_type, text.as_bytes())
        .map(|key| KeySource::Literal(key.into_owned()))
        .map_err(|error| Refusal::literal(&error))
}

/// The keys that decide where a statement goes.
#[derive(Debug, Default)]
pub(super) struct Sources(Vec<KeySource>);

impl Sources {
    /// How far back a repetition is looked for: enough for joins and for the rows of one customer,
    /// and no quadratic time for an INSERT of a hundred thousand rows.
    const WINDOW: usize = 16;

    /// Adds a source, unless it is one of the last.
    pub(super) fn push(&mut self, source: KeySource) {
        if !self
            .0
            .iter()
            .rev()
            .take(Self::WINDOW)
            .any(|known| *known == source)
        {
            self.0.push(source);
        }
    }

    /// Adds all values, if all can be read; NULLs equal nothing and add nothing.
    pub(super) fn push_among<'v>(
        &mut self,
        values: impl IntoIterator<Item = &'v Value>,
        key_type: KeyType,
    ) -> Result<bool, Refusal> {
        let readings: Result<Vec<_>, _> = values
            .into_iter()
            .map(|value| read(value, key_type))
            .collect();
        let readings = readings?;
        if readings.contains(&Reading::Unusable) {
            return Ok(false);
        }
        for reading in readings {
            match reading {
                Reading::Key(source) => self.push(source),
                Reading::Null | Reading::Unusable => {}
            }
        }
        Ok(true)
    }

    /// Adds an array, if it can be read.
    pub(super) fn push_array(
        &mut self,
        array: &ArrayValue,
        key_type: KeyType,
    ) -> Result<bool, Refusal> {
        match array {
            ArrayValue::Parameter(_, cast) | ArrayValue::Text(_, cast)
                if usable(*cast, key_type).is_none() =>
            {
                return Ok(false);
            }
            ArrayValue::Parameter(number, _) => self.push(KeySource::ArrayParameter(*number)),
            ArrayValue::Text(text, _) => {
                let elements = TextElements::try_new(text).map_err(|_| malformed())?;
                for element in elements {
                    if let Some(element) = element.map_err(|_| malformed())? {
                        self.push(literal(&element, key_type)?);
                    }
                }
            }
        }
        Ok(true)
    }

    pub(super) fn into_vec(self) -> Vec<KeySource> {
        self.0
    }
}

pub(super) fn malformed() -> Refusal {
    Refusal::unsupported("array constant of shard keys can't be read")
        .hint("write the keys as a list: IN (...)")
}
