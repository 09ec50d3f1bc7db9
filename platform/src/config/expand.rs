//! What the environment adds to a configuration: `${NAME}` in texts, and overrides of fields.

use serde_json::{Map, Value};

use super::{Env, Violation};

/// Replaces each `${NAME}` in every text. A variable that is not set is a violation.
pub(super) fn variables(value: &mut Value, path: &str, env: Env<'_>, report: &mut Vec<Violation>) {
    match value {
        Value::String(text) => {
            if let Some(expanded) = expand(text, path, env, report) {
                *text = expanded;
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                variables(item, &format!("{path}[{index}]"), env, report);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields.iter_mut() {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                variables(field, &inner, env, report);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn expand(text: &str, path: &str, env: Env<'_>, report: &mut Vec<Violation>) -> Option<String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some((before, after)) = rest.split_once("${") {
        let Some((name, tail)) = after.split_once('}') else {
            break;
        };
        out.push_str(before);
        match env.get(name) {
            Some(value) => out.push_str(value),
            None => report.push(Violation {
                path: path.to_owned(),
                rule: format!("names the environment variable {name}, which is not set"),
            }),
        }
        rest = tail;
    }
    if rest.len() == text.len() {
        return None;
    }
    out.push_str(rest);
    Some(out)
}

/// Puts the value of each variable `PREFIX__SECTION__FIELD` at `section.field`, as a text; typed
/// fields read their value from it.
pub(super) fn overrides(
    mut fields: Map<String, Value>,
    prefix: &str,
    env: Env<'_>,
) -> Map<String, Value> {
    let start = format!("{prefix}__");
    for (name, value) in env {
        let Some(path) = name.strip_prefix(&start) else {
            continue;
        };
        let path = path.to_ascii_lowercase();
        let mut parts: Vec<&str> = path.split("__").collect();
        let Some(field) = parts.pop() else { continue };
        if let Some(section) = descend(&mut fields, &parts) {
            section.insert(field.to_owned(), Value::String(value.clone()));
        }
    }
    fields
}

fn descend<'a>(
    fields: &'a mut Map<String, Value>,
    parts: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    let Some((first, rest)) = parts.split_first() else {
        return Some(fields);
    };
    let inner = fields
        .entry(*first)
        .or_insert_with(|| Value::Object(Map::new()));
    descend(inner.as_object_mut()?, rest)
}
