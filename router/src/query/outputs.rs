//! Forgets constants whose type PostgreSQL takes from their neighbours: in `VALUES ('05'), (1)` and
//! `SELECT '05' UNION SELECT 1` the text becomes the integer 5.

use std::mem::discriminant;

use super::{Output, Outputs, Value};

/// Forgets the values of columns that have values of several kinds.
pub(super) fn forget_mixed_types(rows: &mut [Vec<Value>]) {
    let mut kinds: Vec<Option<Value>> = Vec::new();
    let mut mixed: Vec<bool> = Vec::new();
    for row in rows.iter() {
        kinds.resize(kinds.len().max(row.len()), None);
        mixed.resize(kinds.len(), false);
        for ((value, kind), mixed) in row.iter().zip(&mut kinds).zip(&mut mixed) {
            match kind {
                _ if *value == Value::Null => {}
                None => *kind = Some(value.clone()),
                Some(kind) => *mixed |= !is_of_one_type(kind, value),
            }
        }
    }
    for row in rows {
        for (value, mixed) in row.iter_mut().zip(&mixed) {
            if *mixed {
                *value = Value::Other;
            }
        }
    }
}

/// Values that are elements of one array; none when one of them, or their type, is not known.
pub(super) fn of_one_type(values: Vec<Value>) -> Option<Vec<Value>> {
    let mut rows: Vec<_> = values.into_iter().map(|value| vec![value]).collect();
    forget_mixed_types(&mut rows);
    let values: Vec<Value> = rows.into_iter().flatten().collect();
    let is_known = |value: &Value| match value {
        Value::Integer(_)
        | Value::Text(_)
        | Value::Cast(..)
        | Value::Null
        | Value::Parameter(_, Some(_)) => true,
        // It is taken for a text, whatever the client has declared.
        Value::Parameter(_, None) | Value::Default | Value::Other => false,
    };
    values.iter().all(is_known).then_some(values)
}

fn is_of_one_type(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Cast(left, _), Value::Cast(right, _)) => left == right,
        (Value::Parameter(_, left), Value::Parameter(_, right)) => left == right && left.is_some(),
        _ => discriminant(left) == discriminant(right),
    }
}

/// Forgets constants without a type of their own in a branch of a set operation.
pub(super) fn forget_untyped(outputs: &mut Outputs) {
    match outputs {
        Outputs::List(outputs) => {
            for output in outputs {
                if let Output::Value(value) = output {
                    forget_if_untyped(value);
                }
            }
        }
        Outputs::Values(rows) => rows.iter_mut().flatten().for_each(forget_if_untyped),
        Outputs::Unknown | Outputs::Branches(_) | Outputs::Arrays(_) => {}
    }
}

fn forget_if_untyped(value: &mut Value) {
    match value {
        Value::Text(_) | Value::Parameter(_, None) => *value = Value::Other,
        Value::Integer(_)
        | Value::Cast(..)
        | Value::Null
        | Value::Parameter(_, Some(_))
        | Value::Default
        | Value::Other => {}
    }
}
