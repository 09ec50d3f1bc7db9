//! The OpenAPI document of a table of routes: paths from the table, forms of bodies from the types
//! that read and write them.

use std::collections::BTreeMap;

use http::Method;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::Route;
use crate::access::Need;

/// The form of a parameter in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Any text.
    Text,
    /// A text that must be there.
    NeededText,
    /// A whole number that is not negative.
    Count,
}

/// The form of a body.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    name: String,
    /// The schemas that it is made of, by their names.
    parts: Vec<(String, Value)>,
}

impl Shape {
    pub(super) fn of<T: ToSchema>() -> Self {
        let name = T::name().into_owned();
        let mut parts = vec![(name.clone(), T::schema())];
        T::schemas(&mut parts);
        let parts = parts.into_iter().map(|(name, schema): (_, RefOr<Schema>)| {
            (name, serde_json::to_value(schema).unwrap_or_default())
        });
        let parts = parts.collect();
        Self { name, parts }
    }

    pub(super) fn by_hand(name: &str, schema: Value) -> Self {
        let name = name.to_owned();
        let parts = vec![(name.clone(), schema)];
        Self { name, parts }
    }

    /// The same with the fields of another type, under a name of its own.
    pub(super) fn with<T: ToSchema>(mut self) -> Self {
        let other = Self::of::<T>();
        let more = other
            .parts
            .first()
            .map(|(_, schema)| schema["properties"].clone());
        self.name = format!("{}Request", self.name);
        if let Some((name, schema)) = self.parts.first_mut() {
            name.clone_from(&self.name);
            if let (Some(Value::Object(more)), Some(fields)) =
                (more, schema["properties"].as_object_mut())
            {
                fields.extend(more);
            }
        }
        self.parts.extend(other.parts.into_iter().skip(1));
        self
    }

    fn reference(&self) -> Value {
        let target = format!("#/components/schemas/{}", self.name);
        json!({ "application/json": { "schema": { "$ref": target } } })
    }
}

/// What is told of a route.
#[derive(Debug, Clone, Default)]
pub(super) struct Doc {
    pub(super) summary: &'static str,
    pub(super) query: Vec<(&'static str, Form)>,
    pub(super) takes: Option<Shape>,
    pub(super) gives: Option<(u16, Option<Shape>)>,
}

/// The document, as JSON.
#[must_use]
pub fn document<S>(title: &str, version: &str, routes: &[Route<S>]) -> Value {
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    let mut schemas: BTreeMap<String, Value> = BTreeMap::new();
    for route in routes {
        let doc = &route.doc;
        let given = doc.gives.as_ref().and_then(|(_, shape)| shape.as_ref());
        for (name, schema) in [doc.takes.as_ref(), given]
            .into_iter()
            .flatten()
            .flat_map(|shape| &shape.parts)
        {
            schemas.insert(name.clone(), schema.clone());
        }
        let method = route.method.as_str().to_lowercase();
        let item = paths.entry(route.path).or_default();
        item.insert(
            method,
            operation(&route.method, route.path, route.need, doc),
        );
    }
    schemas.insert("Error".to_owned(), error_schema());
    json!({
        "openapi": "3.1.0",
        "info": { "title": title, "version": version, "license": { "name": "Apache-2.0" } },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "key": { "type": "apiKey", "in": "header", "name": "x-api-key" },
            },
        },
    })
}

fn operation(method: &Method, path: &str, need: Need, doc: &Doc) -> Value {
    let mut operation = json!({
        "operationId": operation_id(method, path),
        "summary": doc.summary,
        "description": format!("Needs {need}."),
        "parameters": parameters(path, doc),
        "responses": responses(need, doc),
        "x-needs": match need {
            Need::Nothing => "nothing",
            Need::Identity => "identity",
            Need::Role(role) => role.as_str(),
        },
    });
    if need != Need::Nothing {
        operation["security"] = json!([{ "bearer": [] }, { "key": [] }]);
    }
    if let Some(shape) = &doc.takes {
        operation["requestBody"] = json!({ "required": true, "content": shape.reference() });
    }
    operation
}

fn operation_id(method: &Method, path: &str) -> String {
    let words = path.split(['/', '-', '.']).filter(|word| !word.is_empty());
    let words = words.map(|word| word.trim_matches(['{', '}']));
    let words: Vec<&str> = words.collect();
    format!("{}_{}", method.as_str().to_lowercase(), words.join("_"))
}

fn parameters(path: &str, doc: &Doc) -> Vec<Value> {
    let in_path = path.split('/').filter_map(|part| {
        let name = part.strip_prefix('{')?.strip_suffix('}')?;
        let schema = json!({ "type": "string", "minLength": 1 });
        Some(json!({ "name": name, "in": "path", "required": true, "schema": schema }))
    });
    let in_query = doc.query.iter().map(|(name, form)| {
        let schema = match form {
            Form::Text | Form::NeededText => json!({ "type": "string" }),
            Form::Count => json!({ "type": "integer", "minimum": 0 }),
        };
        let required = *form == Form::NeededText;
        json!({ "name": name, "in": "query", "required": required, "schema": schema })
    });
    in_path.chain(in_query).collect()
}

/// What comes of a call. Every front may refuse in each of these ways.
fn responses(need: Need, doc: &Doc) -> Value {
    let refused = |text: &str| {
        let content = json!({
            "application/json": { "schema": { "$ref": "#/components/schemas/Error" } },
        });
        json!({ "description": text, "content": content })
    };
    let mut responses = json!({
        "400": refused("the request is malformed"),
        "404": refused("what is named does not exist"),
        "409": refused("the present state does not allow it"),
        "413": refused("the body is too long"),
        "415": refused("the body is not JSON"),
        "429": refused("too many requests: see the header retry-after"),
        "503": refused("a server that is needed is not there"),
        "504": refused("a server that is needed did not answer in time"),
    });
    // A login that is wrong is refused too, although it needs no credential.
    responses["401"] = refused("the credential is missing or not valid");
    if need != Need::Nothing {
        responses["403"] = refused("the credential gives no right to this");
    }
    let (status, shape) = doc
        .gives
        .as_ref()
        .map_or((200, None), |(status, shape)| (*status, shape.as_ref()));
    let mut good = json!({ "description": "done" });
    if let Some(shape) = shape {
        good["content"] = shape.reference();
    }
    responses[status.to_string()] = good;
    responses
}

fn error_schema() -> Value {
    json!({
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": { "type": "string" },
                    "message": { "type": "string" },
                },
            },
        },
    })
}
