//! Pure: values of the gRPC service to parameters, and PostgreSQL's text form to values.

use bytes::Bytes;
use proto::router::v1::value::Kind;
use proto::router::v1::{ArrayValue, Key, NullValue, Value, key};

use crate::exec::Param;
use crate::exec::array::{Event, Reader};
use crate::exec::iso;
use crate::exec::types::{Scalar, Shape};

/// A parameter; none when no case of the value is set.
pub(super) fn to_param(value: Value) -> Option<Param> {
    Some(match value.kind? {
        Kind::NullValue(_) => Param::Null,
        Kind::BoolValue(value) => Param::Boolean(value),
        Kind::IntValue(value) => Param::Number(value.to_string().into()),
        Kind::DoubleValue(value) => Param::Number(double_text(value).into()),
        Kind::TextValue(text) | Kind::TimeValue(text) => Param::Text(text.into()),
        Kind::BytesValue(bytes) => Param::Bytes(Bytes::from(bytes)),
        Kind::NumericValue(text) => Param::Number(text.into()),
        Kind::JsonValue(text) => Param::Json(text.into()),
        Kind::ArrayValue(array) => {
            let items: Option<Vec<Param>> = array.values.into_iter().map(to_param).collect();
            Param::Array(items?)
        }
    })
}

/// A key's text form; none when no case of it is set.
pub(super) fn key_text(key: Key) -> Option<String> {
    Some(match key.kind? {
        key::Kind::IntValue(value) => value.to_string(),
        key::Kind::TextValue(text) => text,
    })
}

/// The shortest text that reads back as the same double.
fn double_text(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        let text = if value > 0.0 { "Infinity" } else { "-Infinity" };
        text.to_owned()
    } else if value == 0.0 || (1e-5..1e16).contains(&value.abs()) {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// A value of a row; none is NULL.
pub(super) fn from_text(shape: Shape, value: Option<&str>) -> Value {
    let Some(text) = value else {
        return null();
    };
    match shape {
        Shape::Scalar(scalar) => scalar_value(scalar, text),
        // What is not read as an array is shown as it is.
        Shape::Array { element, delimiter } => array_value(Reader::new(text, delimiter), element)
            .unwrap_or_else(|| of(Kind::TextValue(text.to_owned()))),
    }
}

fn of(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn null() -> Value {
    of(Kind::NullValue(NullValue::Unspecified.into()))
}

fn scalar_value(scalar: Scalar, text: &str) -> Value {
    let kind = match scalar {
        Scalar::Boolean => Some(Kind::BoolValue(text == "t")),
        Scalar::Integer | Scalar::Bigint => text.parse().ok().map(Kind::IntValue),
        Scalar::Float => text.parse().ok().map(Kind::DoubleValue),
        Scalar::Numeric => Some(Kind::NumericValue(text.to_owned())),
        Scalar::Json => Some(Kind::JsonValue(text.to_owned())),
        Scalar::Bytes => bytes_of(text).map(Kind::BytesValue),
        Scalar::Clock => Some(Kind::TimeValue(text.to_owned())),
        Scalar::TimeTz => Some(Kind::TimeValue(iso::time_tz(text).into_owned())),
        Scalar::Timestamp => Some(Kind::TimeValue(iso::timestamp(text).into_owned())),
        Scalar::TimestampTz => Some(Kind::TimeValue(iso::timestamp_tz(text).into_owned())),
        Scalar::Text => None,
    };
    of(kind.unwrap_or_else(|| Kind::TextValue(text.to_owned())))
}

/// Reads bytea's hexadecimal form.
fn bytes_of(text: &str) -> Option<Vec<u8>> {
    let (digits, rest) = text.strip_prefix("\\x")?.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let byte = |[high, low]: &[u8; 2]| u8::try_from(digit(*high)? * 16 + digit(*low)?).ok();
    digits.iter().map(byte).collect()
}

fn array_value(events: Reader<'_>, element: Scalar) -> Option<Value> {
    let mut open: Vec<Vec<Value>> = Vec::new();
    for event in events {
        let value = match event.ok()? {
            Event::Open => {
                open.push(Vec::new());
                continue;
            }
            Event::Close => of(Kind::ArrayValue(ArrayValue {
                values: open.pop()?,
            })),
            Event::Null => null(),
            Event::Element(text) => scalar_value(element, &text),
        };
        match open.last_mut() {
            Some(array) => array.push(value),
            // The outermost array is closed.
            None => return Some(value),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_rows_keep_their_types() {
        for (type_oid, text, kind) in [
            (16, "t", Kind::BoolValue(true)),
            (20, "9223372036854775807", Kind::IntValue(i64::MAX)),
            (701, "-Infinity", Kind::DoubleValue(f64::NEG_INFINITY)),
            (701, "1e+20", Kind::DoubleValue(1e20)),
            (1700, "0.10", Kind::NumericValue("0.10".to_owned())),
            (17, "\\x00ff", Kind::BytesValue(vec![0, 255])),
            (17, "\\x0", Kind::TextValue("\\x0".to_owned())),
            (3802, "{}", Kind::JsonValue("{}".to_owned())),
            (
                1184,
                "2024-01-02 03:04:05+00",
                Kind::TimeValue("2024-01-02T03:04:05+00:00".to_owned()),
            ),
            (25, "a", Kind::TextValue("a".to_owned())),
        ] {
            assert_eq!(from_text(Shape::or_text(type_oid), Some(text)), of(kind));
        }
        assert_eq!(from_text(Shape::or_text(20), None), null());
    }

    #[test]
    fn arrays_are_nested() {
        let array = |values| of(Kind::ArrayValue(ArrayValue { values }));
        let int = |value| of(Kind::IntValue(value));
        let nested = array(vec![
            array(vec![int(1), null()]),
            array(vec![int(3), int(4)]),
        ]);
        assert_eq!(
            from_text(Shape::or_text(1007), Some("{{1,NULL},{3,4}}")),
            nested
        );
        assert_eq!(from_text(Shape::or_text(1007), Some("{}")), array(vec![]));
        let text = of(Kind::TextValue("{1".to_owned()));
        assert_eq!(from_text(Shape::or_text(1007), Some("{1")), text);
    }

    #[test]
    fn doubles_are_spelled_so_that_they_read_back() {
        for value in [
            0.0,
            -0.0,
            1.0,
            0.1,
            1e15,
            1e16,
            1e300,
            5e-324,
            -123.456,
            f64::MAX,
        ] {
            let text = double_text(value);
            assert_eq!(
                text.parse::<f64>().unwrap().to_bits(),
                f64::to_bits(value),
                "{text}"
            );
            assert!(text.len() < 25, "{text}");
        }
        assert_eq!(double_text(5.0), "5");
        assert_eq!(double_text(f64::NEG_INFINITY), "-Infinity");
    }

    #[test]
    fn a_value_without_a_case_is_no_parameter() {
        assert_eq!(to_param(Value { kind: None }), None);
        let array = of(Kind::ArrayValue(ArrayValue {
            values: vec![of(Kind::IntValue(1)), null()],
        }));
        let items = vec![Param::Number("1".into()), Param::Null];
        assert_eq!(to_param(array), Some(Param::Array(items)));
    }
}
