//! The body of `POST /v1/execute`.

use std::time::Duration;

use platform::Kind;
use platform::http_error::ApiError;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use topology::Consistency;
use utoipa::ToSchema;
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};

use crate::exec::{Param, Request};
use crate::route::Rights;

/// A body as it came; unknown fields are refused, since they would be misspelled ones.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ExecuteRequest)]
pub(super) struct Body {
    /// The key that the statement works on: a text or a number.
    #[serde(default, deserialize_with = "given")]
    #[schema(schema_with = key_schema)]
    shard_key: Option<Box<RawValue>>,
    query: String,
    #[serde(default)]
    #[schema(value_type = Vec<serde_json::Value>)]
    params: Vec<Box<RawValue>>,
    /// `strong` or `eventual`.
    #[serde(default)]
    #[schema(schema_with = consistency_schema)]
    consistency: Consistency,
    #[serde(default)]
    options: Options,
}

/// `options` of a body.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = ExecuteOptions)]
struct Options {
    #[schema(minimum = 1)]
    timeout_ms: Option<u32>,
    group: Option<String>,
    numbers_as_strings: bool,
    rows: RowForm,
}

/// The form of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, ToSchema)]
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

fn key_schema() -> Schema {
    let types = vec![Type::String, Type::Number];
    ObjectBuilder::new()
        .schema_type(SchemaType::Array(types))
        .into()
}

fn consistency_schema() -> Schema {
    ObjectBuilder::new()
        .schema_type(SchemaType::Type(Type::String))
        .enum_values(Some(["strong", "eventual"]))
        .into()
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
            rights: Rights::default(),
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
