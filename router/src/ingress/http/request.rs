//! The body of `POST /v1/execute`.

use std::time::Duration;

use platform::Kind;
use platform::http_error::ApiError;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use topology::Consistency;

use crate::exec::{Param, Request};

/// A body as it came; unknown fields are refused, since they would be misspelled ones.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Body {
    #[serde(default, deserialize_with = "given")]
    shard_key: Option<Box<RawValue>>,
    query: String,
    #[serde(default)]
    params: Vec<Box<RawValue>>,
    #[serde(default)]
    consistency: Consistency,
    #[serde(default)]
    options: Options,
}

/// `options` of a body.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Options {
    timeout_ms: Option<u32>,
    group: Option<String>,
    numbers_as_strings: bool,
    rows: RowForm,
}

/// The form of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RowForm {
    /// An object with the columns' names.
    #[default]
    Objects,
    /// An array in the order of the columns.
    Arrays,
}

/// How the client wants the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Style {
    pub(super) rows: RowForm,
    /// int8 and numeric as strings, for clients whose numbers are doubles.
    pub(super) numbers_as_strings: bool,
}

/// A field that is there, null included: null is no key, and must not count as no field.
fn given<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

impl Body {
    pub(super) fn into_request(self) -> Result<(Request, Style), ApiError> {
        let Options {
            timeout_ms,
            group,
            numbers_as_strings,
            rows,
        } = self.options;
        if timeout_ms == Some(0) {
            return Err(invalid("options.timeout_ms must be above 0"));
        }
        let request = Request {
            sql: self.query,
            params: self
                .params
                .iter()
                .map(|raw| Param::from_json(raw))
                .collect(),
            shard_key: self.shard_key.map(|raw| key_text(&raw)).transpose()?,
            group,
            timeout: timeout_ms.map(|ms| Duration::from_millis(ms.into())),
            consistency: self.consistency,
        };
        let style = Style {
            rows,
            numbers_as_strings,
        };
        Ok((request, style))
    }
}

fn key_text(raw: &RawValue) -> Result<String, ApiError> {
    match Param::from_json(raw) {
        Param::Number(text) | Param::Text(text) => Ok(text.into()),
        Param::Null => Err(invalid(
            "shard_key is null, which is no key; leave the field out to have the key found in \
             the statement",
        )),
        Param::Boolean(_)
        | Param::Bytes(_)
        | Param::Json(_)
        | Param::JsonArray(_)
        | Param::Array(_) => Err(invalid("shard_key must be a string or a number")),
    }
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<(Request, Style), String> {
        let body: Body = serde_json::from_str(text).map_err(|error| error.to_string())?;
        body.into_request().map_err(|error| error.message)
    }

    #[test]
    fn a_key_keeps_all_its_digits() {
        let (request, _) = read(r#"{"query":"q","shard_key":9223372036854775807}"#).unwrap();
        assert_eq!(request.shard_key.as_deref(), Some("9223372036854775807"));
        let (request, _) = read(r#"{"query":"q","shard_key":"a b"}"#).unwrap();
        assert_eq!(request.shard_key.as_deref(), Some("a b"));
        let (request, _) = read(r#"{"query":"q"}"#).unwrap();
        assert_eq!(request.shard_key, None);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (body, part) in [
            (r#"{"query":"q","parms":[]}"#, "unknown field `parms`"),
            (
                r#"{"query":"q","options":{"timeout":1}}"#,
                "unknown field `timeout`",
            ),
            (r#"{"params":[]}"#, "missing field `query`"),
            (r#"{"query":"q","shard_key":null}"#, "null, which is no key"),
            (r#"{"query":"q","shard_key":true}"#, "a string or a number"),
            (
                r#"{"query":"q","consistency":"weak"}"#,
                "unknown variant `weak`",
            ),
            (r#"{"query":"q","options":{"timeout_ms":0}}"#, "above 0"),
            (
                r#"{"query":"q","options":{"rows":"lists"}}"#,
                "unknown variant `lists`",
            ),
        ] {
            let error = read(body).unwrap_err();
            assert!(error.contains(part), "{body}: {error}");
        }
    }
}
