//! What the environment adds to a configuration: `${NAME}` in texts, and overrides of fields.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Env, Violation, join};

/// The variables `PREFIX__SECTION__FIELD`, by the path of the field that each overrides.
pub(super) struct Overrides<'a> {
    by_path: BTreeMap<String, (&'a str, &'a str)>,
}

impl<'a> Overrides<'a> {
    pub(super) fn find(prefix: &str, env: Env<'a>) -> Self {
        let start = format!("{prefix}__");
        let by_path = env.iter().filter_map(|(name, value)| {
            let path = name
                .strip_prefix(&start)?
                .to_ascii_lowercase()
                .replace("__", ".");
            Some((path, (name.as_str(), value.as_str())))
        });
        Self {
            by_path: by_path.collect(),
        }
    }

    fn holds(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    /// Puts each value at its path, as a text; typed fields read their value from it. The value is
    /// taken as it is: a `${` in it means nothing.
    pub(super) fn apply(&self, fields: &mut Map<String, Value>, report: &mut Vec<Violation>) {
        for (path, (variable, value)) in &self.by_path {
            let parts: Vec<&str> = path.split('.').collect();
            let place = parts
                .split_last()
                .filter(|_| parts.iter().all(|part| !part.is_empty()));
            let place = place.map(|(field, sections)| (field, descend(fields, sections)));
            let Some((field, Some(section))) = place else {
                let rule = "overrides no field: its name must be that of a section and a field";
                report.push(Violation {
                    path: (*variable).to_owned(),
                    rule: rule.to_owned(),
                });
                continue;
            };
            section.insert((*field).to_owned(), Value::String((*value).to_owned()));
        }
    }
}

fn descend<'a>(
    fields: &'a mut Map<String, Value>,
    sections: &[&str],
) -> Option<&'a mut Map<String, Value>> {
    let Some((first, rest)) = sections.split_first() else {
        return Some(fields);
    };
    let inner = fields
        .entry(*first)
        .or_insert_with(|| Value::Object(Map::new()));
    descend(inner.as_object_mut()?, rest)
}

/// Replaces `${NAME}` in texts; `$${` stands for `${` itself.
pub(super) struct Variables<'a> {
    pub(super) env: Env<'a>,
    /// Fields that are overridden keep their text: what it names need not be there.
    pub(super) overrides: &'a Overrides<'a>,
    pub(super) report: &'a mut Vec<Violation>,
}

impl Variables<'_> {
    pub(super) fn expand(&mut self, fields: &mut Map<String, Value>) {
        for (name, field) in fields {
            self.expand_value(field, name);
        }
    }

    fn expand_value(&mut self, value: &mut Value, path: &str) {
        if self.overrides.holds(path) {
            return;
        }
        match value {
            Value::String(text) => {
                if text.contains("${") {
                    *text = self.expand_text(text, path);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.expand_value(item, &format!("{path}[{index}]"));
                }
            }
            Value::Object(fields) => {
                for (name, field) in fields {
                    self.expand_value(field, &join(path, name));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn expand_text(&mut self, text: &str, path: &str) -> String {
        let (mut out, mut rest) = (String::new(), text);
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(before) = before.strip_suffix('$') {
                out.push_str(before);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let Some((name, tail)) = after.split_once('}') else {
                // What follows may be a secret and is not shown.
                self.violation(
                    path,
                    "has a \"${\" without \"}\"; write \"$${\" to mean it".into(),
                );
                return out;
            };
            match self.env.get(name) {
                Some(value) => out.push_str(value),
                None => {
                    let rule = if is_variable_name(name) {
                        format!("names the environment variable {name}, which is not set")
                    } else {
                        "has a \"${...}\" that names no environment variable".to_owned()
                    };
                    self.violation(path, rule);
                }
            }
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    fn violation(&mut self, path: &str, rule: String) {
        self.report.push(Violation {
            path: path.to_owned(),
            rule,
        });
    }
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 64
        && text
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
}
