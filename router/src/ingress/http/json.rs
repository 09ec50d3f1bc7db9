//! Pure: PostgreSQL's text form of a value written as JSON.

use std::io::Write as _;

use crate::exec::array::{Event, Malformed, Reader};
use crate::exec::iso;
use crate::exec::types::{Scalar, Shape};

/// Appends a value; none is NULL.
pub(super) fn write_value(
    out: &mut Vec<u8>,
    shape: Shape,
    value: Option<&str>,
    numbers_as_strings: bool,
) {
    let Some(text) = value else {
        out.extend_from_slice(b"null");
        return;
    };
    match shape {
        Shape::Scalar(scalar) => write_scalar(out, scalar, text, numbers_as_strings),
        Shape::Array { element, delimiter } => {
            let start = out.len();
            let array = Reader::new(text, delimiter);
            if write_array(out, array, element, numbers_as_strings).is_err() {
                // What is not read as an array is shown as it is.
                out.truncate(start);
                write_text(out, text);
            }
        }
    }
}

fn write_array(
    out: &mut Vec<u8>,
    array: Reader<'_>,
    element: Scalar,
    numbers_as_strings: bool,
) -> Result<(), Malformed> {
    let mut follows_item = false;
    for event in array {
        let event = event?;
        if follows_item && event != Event::Close {
            out.push(b',');
        }
        follows_item = event != Event::Open;
        match event {
            Event::Open => out.push(b'['),
            Event::Close => out.push(b']'),
            Event::Null => out.extend_from_slice(b"null"),
            Event::Element(text) => write_scalar(out, element, &text, numbers_as_strings),
        }
    }
    Ok(())
}

fn write_scalar(out: &mut Vec<u8>, scalar: Scalar, text: &str, numbers_as_strings: bool) {
    match scalar {
        Scalar::Boolean => {
            let word: &[u8] = if text == "t" { b"true" } else { b"false" };
            out.extend_from_slice(word);
        }
        Scalar::Bigint | Scalar::Numeric if numbers_as_strings => write_text(out, text),
        // JSON has no word for NaN and the infinities.
        Scalar::Integer | Scalar::Bigint | Scalar::Float | Scalar::Numeric if !is_number(text) => {
            write_text(out, text);
        }
        Scalar::Integer | Scalar::Bigint | Scalar::Float | Scalar::Numeric | Scalar::Json => {
            out.extend_from_slice(text.as_bytes());
        }
        Scalar::TimeTz => write_text(out, &iso::time_tz(text)),
        Scalar::Timestamp => write_text(out, &iso::timestamp(text)),
        Scalar::TimestampTz => write_text(out, &iso::timestamp_tz(text)),
        Scalar::Bytes | Scalar::Clock | Scalar::Text => write_text(out, text),
    }
}

fn is_number(text: &str) -> bool {
    let last = text.as_bytes().last();
    last.is_some_and(u8::is_ascii_digit)
}

/// Appends a string.
pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out.by_ref(), text).expect("a Vec takes all that is written");
}

/// The names under which the columns stand in a row's object: a name that came before gets the
/// first free of `name_2`, `name_3` and so on, so that no value hides another.
pub(super) fn distinct_names(names: &[&str]) -> Vec<String> {
    let mut taken: std::collections::HashSet<String> =
        names.iter().map(|name| (*name).to_owned()).collect();
    let mut seen = std::collections::HashSet::new();
    let mut distinct = Vec::with_capacity(names.len());
    for name in names {
        if seen.insert(*name) {
            distinct.push((*name).to_owned());
            continue;
        }
        let candidates = (2_usize..).map(|number| format!("{name}_{number}"));
        let mut free = candidates.filter(|candidate| taken.insert(candidate.clone()));
        distinct.extend(free.next());
    }
    distinct
}

#[cfg(test)]
mod tests;
