//! Pure: a parameter as an API was given it, and its text form for the type that the shard wants.

use std::borrow::Cow;
use std::fmt::Write as _;

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::exec::array::{MAX_DIMENSIONS, write_element};
use crate::exec::types::{Scalar, Shape, name_of};
use crate::route::{Parameter, Parameters, Refusal};

/// A parameter's value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Param {
    /// NULL.
    Null,
    /// A boolean.
    Boolean(bool),
    /// A number, digit by digit as it was written.
    Number(Box<str>),
    /// PostgreSQL's text form of a value of any type.
    Text(Box<str>),
    /// Bytes.
    Bytes(Bytes),
    /// A JSON object, or any JSON where the client said that it is JSON.
    Json(Box<str>),
    /// A JSON array: an array, or JSON where JSON is wanted.
    JsonArray(Box<str>),
    /// An array.
    Array(Vec<Param>),
}

/// Why a value does not fit the type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidParam {
    /// An array where one value is wanted.
    #[error("an array does not fit the type {wanted}")]
    Array {
        /// The type that is wanted.
        wanted: Cow<'static, str>,
    },
    /// Bytes where something else is wanted.
    #[error("bytes do not fit the type {wanted}")]
    Bytes {
        /// The type that is wanted.
        wanted: Cow<'static, str>,
    },
    /// More dimensions than an array has.
    #[error("an array has more than {MAX_DIMENSIONS} dimensions")]
    TooDeep,
}

impl InvalidParam {
    /// The refusal of a statement for its parameter at `index`, counted from 0.
    #[must_use]
    pub fn refusal(&self, index: usize) -> Refusal {
        Refusal {
            sqlstate: match self {
                Self::Array { .. } | Self::Bytes { .. } => "42804",
                Self::TooDeep => "54000",
            },
            message: format!("parameter ${}: {self}", index + 1),
            hint: None,
        }
    }
}

impl Param {
    /// About what it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        let more = match self {
            Self::Null | Self::Boolean(_) => 0,
            Self::Number(text) | Self::Text(text) | Self::Json(text) | Self::JsonArray(text) => {
                text.len()
            }
            Self::Bytes(bytes) => bytes.len(),
            Self::Array(elements) => elements.iter().map(Self::bytes).sum(),
        };
        size_of::<Self>() + more
    }

    /// Reads a JSON value; numbers keep all their digits.
    #[must_use]
    pub fn from_json(raw: &RawValue) -> Self {
        let text = raw.get();
        match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map_or(Self::Json(text.into()), Self::Text),
            Some(b't') => Self::Boolean(true),
            Some(b'f') => Self::Boolean(false),
            Some(b'n') => Self::Null,
            Some(b'{') => Self::Json(text.into()),
            Some(b'[') => Self::JsonArray(text.into()),
            Some(_) | None => Self::Number(text.into()),
        }
    }

    /// Whether the text form depends on the type that the shard wants.
    #[must_use]
    pub fn needs_type(&self) -> bool {
        match self {
            Self::Bytes(_) | Self::JsonArray(_) | Self::Array(_) => true,
            Self::Null | Self::Boolean(_) | Self::Number(_) | Self::Text(_) | Self::Json(_) => {
                false
            }
        }
    }

    /// The text form for a type; none is NULL.
    ///
    /// # Errors
    /// [`InvalidParam`] when no form of this value can be of that type. Whether a text spells a
    /// value of its type is for the shard to say.
    pub fn to_text(&self, type_oid: u32) -> Result<Option<Cow<'_, str>>, InvalidParam> {
        let shape = Shape::of(type_oid);
        let wanted = || name_of(type_oid);
        let array = |items: &[Param]| match shape {
            Some(Shape::Array { element, delimiter }) => {
                array_text(items, Some(element), delimiter)
            }
            // It may be an array of a type that a user created.
            None => array_text(items, None, b','),
            Some(Shape::Scalar(_)) => Err(InvalidParam::Array { wanted: wanted() }),
        };
        Ok(Some(match self {
            Self::Null => return Ok(None),
            Self::Boolean(value) => Cow::Borrowed(if *value { "true" } else { "false" }),
            Self::Number(text) | Self::Text(text) | Self::Json(text) => Cow::Borrowed(text),
            Self::Bytes(bytes) => match shape {
                Some(Shape::Scalar(Scalar::Bytes)) | None => Cow::Owned(hex(bytes)),
                Some(_) => return Err(InvalidParam::Bytes { wanted: wanted() }),
            },
            Self::JsonArray(text) => match shape {
                Some(Shape::Scalar(Scalar::Json)) => Cow::Borrowed(text),
                Some(_) | None => Cow::Owned(array(&elements(text))?),
            },
            Self::Array(items) => Cow::Owned(array(items)?),
        }))
    }
}

/// The values of a JSON array.
fn elements(json: &str) -> Vec<Param> {
    // The text was checked to be JSON when the request was read, and it begins with a bracket.
    let items: Vec<&RawValue> = serde_json::from_str(json).unwrap_or_default();
    items.into_iter().map(Param::from_json).collect()
}

fn array_text(
    items: &[Param],
    element: Option<Scalar>,
    delimiter: u8,
) -> Result<String, InvalidParam> {
    let mut out = String::new();
    let element = element.unwrap_or(Scalar::Text);
    write_array(&mut out, items, (element, delimiter), MAX_DIMENSIONS)?;
    Ok(out)
}

fn write_array(
    out: &mut String,
    items: &[Param],
    (element, delimiter): (Scalar, u8),
    dimensions: usize,
) -> Result<(), InvalidParam> {
    let inner = dimensions.checked_sub(1).ok_or(InvalidParam::TooDeep)?;
    out.push('{');
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(char::from(delimiter));
        }
        match item {
            Param::Null => out.push_str("NULL"),
            Param::Boolean(value) => out.push(if *value { 't' } else { 'f' }),
            Param::Number(text) | Param::Text(text) | Param::Json(text) => write_element(out, text),
            Param::Bytes(bytes) if element == Scalar::Bytes => write_element(out, &hex(bytes)),
            Param::Bytes(_) => {
                let wanted = Cow::Borrowed("of the array's elements");
                return Err(InvalidParam::Bytes { wanted });
            }
            Param::JsonArray(text) => {
                write_array(out, &elements(text), (element, delimiter), inner)?;
            }
            Param::Array(items) => write_array(out, items, (element, delimiter), inner)?,
        }
    }
    out.push('}');
    Ok(())
}

/// bytea's text form.
fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(2 + bytes.len() * 2);
    out.push_str("\\x");
    for byte in bytes {
        write!(out, "{byte:02x}").expect("a String takes all that is written");
    }
    out
}

/// A request's parameters as routing reads them: as text whose type is open.
#[derive(Debug)]
pub struct Unrouted<'a>(Vec<Option<Cow<'a, str>>>);

impl<'a> Unrouted<'a> {
    /// Spells every parameter. A value that has no text form without a type is no key: it is
    /// shown as NULL, and the shard's own description refuses or accepts it later.
    #[must_use]
    pub fn new(params: &'a [Param]) -> Self {
        let spelled = params.iter().map(|param| param.to_text(0).unwrap_or(None));
        Self(spelled.collect())
    }
}

impl Parameters for Unrouted<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        self.0.get(usize::from(index)).map(|value| Parameter {
            value: value.as_ref().map(|text| text.as_bytes()),
            binary: false,
            type_oid: 0,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Param {
        let raw: Box<RawValue> = serde_json::from_str(text).unwrap();
        Param::from_json(&raw)
    }

    #[test]
    fn json_values_become_the_text_of_the_wanted_type() {
        for (value, oid, text) in [
            ("null", 20, None),
            ("true", 16, Some("true")),
            ("9223372036854775807", 20, Some("9223372036854775807")),
            ("1e400", 1700, Some("1e400")),
            (r#""a\u00e9\"""#, 25, Some("a\u{e9}\"")),
            (r#"{"a": 1.50}"#, 3802, Some(r#"{"a": 1.50}"#)),
            ("[1, [2]]", 114, Some("[1, [2]]")),
            ("[1,null,-3]", 1016, Some(r#"{"1",NULL,"-3"}"#)),
            ("[[true],[false]]", 1000, Some("{{t},{f}}")),
            (r#"["a\"b","NULL",""]"#, 1009, Some(r#"{"a\"b","NULL",""}"#)),
            (r#"[{"a":"b"}]"#, 3807, Some(r#"{"{\"a\":\"b\"}"}"#)),
            (
                r#"["(1,1),(0,0)","(2,2),(0,0)"]"#,
                1020,
                Some(r#"{"(1,1),(0,0)";"(2,2),(0,0)"}"#),
            ),
            ("[]", 1007, Some("{}")),
            ("[1]", 70_000, Some(r#"{"1"}"#)),
        ] {
            let param = json(value);
            assert_eq!(param.to_text(oid).unwrap().as_deref(), text, "{value}");
        }
    }

    #[test]
    fn an_array_for_one_value_is_refused() {
        let array = json("[1]");
        let error = array.to_text(20).unwrap_err();
        let refusal = error.refusal(0);
        assert_eq!(refusal.sqlstate, "42804");
        assert_eq!(
            refusal.message,
            "parameter $1: an array does not fit the type int8"
        );
        let deep = json("[[[[[[[1]]]]]]]");
        assert_eq!(deep.to_text(1007), Err(InvalidParam::TooDeep));
    }

    #[test]
    fn bytes_are_spelled_in_hexadecimal_digits_and_only_for_bytea() {
        let bytes = Param::Bytes(Bytes::from_static(&[0, 0xff, b'a']));
        assert_eq!(bytes.to_text(17).unwrap().as_deref(), Some("\\x00ff61"));
        assert!(bytes.to_text(25).is_err());
        let array = Param::Array(vec![bytes, Param::Null]);
        let text = array.to_text(1001).unwrap();
        assert_eq!(text.as_deref(), Some(r#"{"\\x00ff61",NULL}"#));
        assert!(array.to_text(1009).is_err());
    }

    #[test]
    fn routing_reads_numbers_and_arrays_as_text() {
        let params = [json("42"), json("[1,2]"), json("null")];
        let unrouted = Unrouted::new(&params);
        let value = |index| unrouted.get(index).map(|p| p.value.map(<[u8]>::to_vec));
        assert_eq!(value(0), Some(Some(b"42".to_vec())));
        assert_eq!(value(1), Some(Some(br#"{"1","2"}"#.to_vec())));
        assert_eq!(value(2), Some(None));
        assert_eq!(value(3), None);
    }
}
