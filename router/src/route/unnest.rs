//! Keys of new rows that are made of arrays: `INSERT ... SELECT ... FROM unnest($1, $2)`.
//!
//! The longest array says how many rows there are, and the others are filled up with NULLs. So an
//! array of keys must be as long as those beside it, since a row without a key belongs nowhere.

use topology::{Key, KeyType};

use super::array::TextElements;
use super::values::{Sources, literal, malformed, usable};
use super::{KeyColumn, KeySource, Parameters, Refusal, Unnested, parameter};
use crate::query::{ArrayColumn, ArrayValue, Elements, Length, Value};

impl Sources {
    /// Adds the elements of one of some arrays that lie side by side, if they can be read, and if
    /// it is sure that it is the longest.
    pub(super) fn push_unnested(
        &mut self,
        columns: &[&ArrayColumn],
        at: usize,
        key_type: KeyType,
    ) -> Result<bool, Refusal> {
        let elements = columns.get(at).and_then(|column| column.elements.as_ref());
        let (Some(elements), Some(beside)) = (elements, Beside::of(columns, at)?) else {
            return Ok(false);
        };
        match elements {
            Elements::Array(ArrayValue::Parameter(number, cast)) => {
                if usable(*cast, key_type).is_none() {
                    return Ok(false);
                }
                self.push(KeySource::Unnested(Unnested {
                    parameter: *number,
                    beside: beside.parameters.into(),
                    longest: beside.longest,
                }));
                Ok(true)
            }
            Elements::Array(ArrayValue::Text(text, cast)) => {
                let elements: Result<Vec<_>, _> =
                    TextElements::try_new(text).and_then(Iterator::collect);
                let elements: Option<Vec<_>> =
                    elements.map_err(|_| malformed())?.into_iter().collect();
                let Some(elements) = elements.filter(|all| beside.is_at_most(all.len())) else {
                    return Ok(false);
                };
                if usable(*cast, key_type).is_none() {
                    return Ok(false);
                }
                for element in elements {
                    self.push(literal(&element, key_type)?);
                }
                Ok(true)
            }
            Elements::Values(values) => {
                let is_whole = beside.is_at_most(values.len()) && !values.contains(&Value::Null);
                Ok(is_whole && self.push_among(values, key_type)?)
            }
        }
    }
}

/// The arrays beside the one of keys.
#[derive(Debug, Default)]
struct Beside {
    parameters: Vec<u16>,
    longest: usize,
}

impl Beside {
    /// None when one of them has an unknown length.
    fn of(columns: &[&ArrayColumn], at: usize) -> Result<Option<Self>, Refusal> {
        let mut beside = Self::default();
        let others = (0..).zip(columns).filter(|(index, _)| *index != at);
        for (_, column) in others {
            match &column.length {
                None => return Ok(None),
                Some(Length::Exactly(length)) => beside.longest = beside.longest.max(*length),
                Some(Length::Parameter(number)) => beside.parameters.push(*number),
                Some(Length::Text(text)) => {
                    let elements = TextElements::try_new(text).map_err(|_| malformed())?;
                    let length = elements.collect::<Result<Vec<_>, _>>();
                    let length = length.map_err(|_| malformed())?.len();
                    beside.longest = beside.longest.max(length);
                }
            }
        }
        Ok(Some(beside))
    }

    fn is_at_most(&self, length: usize) -> bool {
        self.parameters.is_empty() && self.longest <= length
    }
}

/// Gives each key of one execution to `take`.
pub(super) fn each_key(
    unnested: &Unnested,
    params: &dyn Parameters,
    (key_type, column): (KeyType, Option<&KeyColumn>),
    take: &mut dyn FnMut(&Key<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let parameter = |number| {
        let value = params.get(number);
        value.ok_or_else(|| Refusal::no_parameter(number))
    };
    let no_key = || column.map_or_else(Refusal::array_shape, Refusal::null_key);
    let number = unnested.parameter;
    let mut length = 0_usize;
    parameter::each_element(number, &parameter(number)?, key_type, &mut |key| {
        length += 1;
        key.map_or_else(|| Err(no_key()), &mut *take)
    })?;
    let mut longest = unnested.longest;
    for number in &unnested.beside {
        longest = longest.max(parameter::array_length(*number, &parameter(*number)?)?);
    }
    if longest > length {
        return Err(no_key());
    }
    Ok(())
}
