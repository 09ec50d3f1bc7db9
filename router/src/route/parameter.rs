//! Reads keys out of one execution's parameters, by the type that the client declared.

use topology::{Key, KeyType};

use super::array::{BinaryElements, InvalidArray, TextElements};
use super::{Parameter, Refusal};

/// The types of PostgreSQL that matter here; its object ids never change.
mod oid {
    pub(super) const UNSPECIFIED: u32 = 0;
    pub(super) const INT8: u32 = 20;
    pub(super) const INT2: u32 = 21;
    pub(super) const INT4: u32 = 23;
    pub(super) const TEXT: u32 = 25;
    pub(super) const UNKNOWN: u32 = 705;
    pub(super) const VARCHAR: u32 = 1043;
    pub(super) const UUID: u32 = 2950;
    pub(super) const INT2_ARRAY: u32 = 1005;
    pub(super) const INT4_ARRAY: u32 = 1007;
    pub(super) const TEXT_ARRAY: u32 = 1009;
    pub(super) const VARCHAR_ARRAY: u32 = 1015;
    pub(super) const INT8_ARRAY: u32 = 1016;
    pub(super) const UUID_ARRAY: u32 = 2951;
}

/// How the bytes of a value of some type are read as a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// In the key type's own text or binary format.
    AsKey,
    /// Text in both formats, which the statement casts to the key type.
    AsText,
}

/// How a declared type is read; none when its values would be changed on the way to the key.
fn reading(type_oid: u32, key_type: KeyType) -> Option<Reading> {
    match (type_oid, key_type) {
        (oid::UNSPECIFIED | oid::UNKNOWN, _)
        | (oid::INT2 | oid::INT4 | oid::INT8, KeyType::Bigint)
        | (oid::TEXT | oid::VARCHAR, KeyType::Text)
        | (oid::UUID, KeyType::Uuid) => Some(Reading::AsKey),
        (oid::TEXT | oid::VARCHAR, KeyType::Bigint | KeyType::Uuid) => Some(Reading::AsText),
        _ => None,
    }
}

/// The type of an array's elements.
fn element_oid(array_oid: u32) -> Option<u32> {
    match array_oid {
        oid::UNSPECIFIED | oid::UNKNOWN => Some(oid::UNSPECIFIED),
        oid::INT2_ARRAY => Some(oid::INT2),
        oid::INT4_ARRAY => Some(oid::INT4),
        oid::INT8_ARRAY => Some(oid::INT8),
        oid::TEXT_ARRAY => Some(oid::TEXT),
        oid::VARCHAR_ARRAY => Some(oid::VARCHAR),
        oid::UUID_ARRAY => Some(oid::UUID),
        _ => None,
    }
}

/// The key in a parameter; none is NULL.
pub(super) fn key<'a>(
    number: u16,
    parameter: &Parameter<'a>,
    key_type: KeyType,
) -> Result<Option<Key<'a>>, Refusal> {
    let oid = parameter.type_oid;
    let reading =
        reading(oid, key_type).ok_or_else(|| Refusal::parameter_type(number, oid, key_type))?;
    let Some(bytes) = parameter.value else {
        return Ok(None);
    };
    let binary = parameter.binary && reading == Reading::AsKey;
    read(number, bytes, binary, key_type).map(Some)
}

fn read(number: u16, bytes: &[u8], binary: bool, key_type: KeyType) -> Result<Key<'_>, Refusal> {
    let key = if binary {
        Key::from_binary(key_type, bytes)
    } else {
        Key::from_text(key_type, bytes)
    };
    key.map_err(|error| Refusal::parameter(number, &error))
}

/// Gives each key in an array parameter to `take`. NULL elements equal nothing and are left out, as
/// is all of a NULL array.
pub(super) fn each_key(
    number: u16,
    parameter: &Parameter<'_>,
    key_type: KeyType,
    take: &mut dyn FnMut(&Key<'_>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    each_element(number, parameter, key_type, &mut |key| {
        key.map_or(Ok(()), &mut *take)
    })
}

/// How many elements an array parameter of any type has; a NULL array has none.
pub(super) fn array_length(number: u16, parameter: &Parameter<'_>) -> Result<usize, Refusal> {
    let invalid = |error| invalid(number, error);
    let Some(bytes) = parameter.value else {
        return Ok(0);
    };
    if parameter.binary {
        let elements = BinaryElements::try_new(bytes).map_err(invalid)?;
        let all: Result<Vec<_>, _> = elements.collect();
        return Ok(all.map_err(invalid)?.len());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::malformed_array(number))?;
    let elements = TextElements::try_new(text).map_err(invalid)?;
    let all: Result<Vec<_>, _> = elements.collect();
    Ok(all.map_err(invalid)?.len())
}

fn invalid(number: u16, error: InvalidArray) -> Refusal {
    match error {
        InvalidArray::Malformed => Refusal::malformed_array(number),
        InvalidArray::Shape => Refusal::array_shape(),
    }
}

/// Gives each element of an array parameter to `take`, NULL as none; a NULL array has none.
pub(super) fn each_element(
    number: u16,
    parameter: &Parameter<'_>,
    key_type: KeyType,
    take: &mut dyn FnMut(Option<&Key<'_>>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let wrong_type = |oid| Refusal::parameter_type(number, oid, key_type);
    let invalid = |error| invalid(number, error);
    let declared = element_oid(parameter.type_oid).ok_or_else(|| wrong_type(parameter.type_oid))?;
    reading(declared, key_type).ok_or_else(|| wrong_type(parameter.type_oid))?;
    let Some(bytes) = parameter.value else {
        return Ok(());
    };
    if parameter.binary {
        let elements = BinaryElements::try_new(bytes).map_err(invalid)?;
        let found = elements.element_oid;
        let reading = reading(found, key_type).ok_or_else(|| wrong_type(found))?;
        for element in elements {
            match element.map_err(invalid)? {
                Some(element) => {
                    let binary = reading == Reading::AsKey;
                    take(Some(&read(number, element, binary, key_type)?))?;
                }
                None => take(None)?,
            }
        }
        return Ok(());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| Refusal::malformed_array(number))?;
    for element in TextElements::try_new(text).map_err(invalid)? {
        match element.map_err(invalid)? {
            Some(element) => take(Some(&read(number, element.as_bytes(), false, key_type)?))?,
            None => take(None)?,
        }
    }
    Ok(())
}
