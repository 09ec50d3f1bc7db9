//! Pure: a record before and after a change, as an entry shows it: without what is secret, and
//! without what is too long to be kept twice.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use topology::records::Digest;

/// A longer record is shown by its length and digest.
const MAX_SHOWN_BYTES: usize = 2 << 10;

/// Fields whose values are never shown.
const SECRET: [&str; 5] = ["verifier", "password", "password_hash", "secret", "hash"];

/// What became of one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its key in the store.
    pub key: String,
    /// As it was; null when it is new.
    pub before: Value,
    /// As it is; null when it is gone.
    pub after: Value,
}

impl Change {
    /// Of a record's stored bytes.
    #[must_use]
    pub fn of(key: &str, before: Option<&[u8]>, after: Option<&[u8]>) -> Self {
        Self {
            key: key.to_owned(),
            before: before.map_or(Value::Null, shown),
            after: after.map_or(Value::Null, shown),
        }
    }
}

fn shown(stored: &[u8]) -> Value {
    let by_digest = || json!({ "bytes": stored.len(), "sha256": Digest::of(stored) });
    if stored.len() > MAX_SHOWN_BYTES {
        return by_digest();
    }
    let Ok(mut record) = serde_json::from_slice::<Value>(stored) else {
        return by_digest();
    };
    if let Value::Object(fields) = &mut record {
        // The envelope's version is none of the record.
        fields.remove("v");
    }
    hide(&mut record);
    record
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                if SECRET.contains(&name.as_str()) {
                    *value = json!("hidden");
                } else {
                    hide(value);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_shown_without_its_secrets_and_a_long_one_by_its_digest() {
        let user = br#"{"v":1,"name":"app","verifier":"SCRAM","in":[{"password":"x"}]}"#;
        let long = format!(r#"{{"v":1,"tokens":"{}"}}"#, "7".repeat(MAX_SHOWN_BYTES));
        let change = Change::of("k", Some(long.as_bytes()), Some(user));
        assert_eq!(change.before["bytes"], long.len());
        let shown =
            json!({ "name": "app", "verifier": "hidden", "in": [{ "password": "hidden" }] });
        assert_eq!(change.after, shown);
        assert_eq!(Change::of("k", None, None).after, Value::Null);
    }
}
