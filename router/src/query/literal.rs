//! Reads expressions as values: only what surely compares and hashes as it is written. Everything
//! else is [`Value::Other`].

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{AConst, Node, TypeName};

use super::names;
use super::outputs;
use super::{ArrayColumn, ArrayValue, Elements, Family, Length, Value};

/// Reads values out of one statement text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literals<'a> {
    sql: &'a str,
}

impl<'a> Literals<'a> {
    pub(super) fn new(sql: &'a str) -> Self {
        Self { sql }
    }

    /// The statement text.
    pub(super) fn sql(self) -> &'a str {
        self.sql
    }

    /// The expression as a value.
    pub(super) fn value(self, node: &Node) -> Value {
        match &node.node {
            Some(NodeEnum::AConst(constant)) => self.constant(constant),
            Some(NodeEnum::ParamRef(parameter)) => match parameter_index(parameter.number) {
                Some(index) => Value::Parameter(index, None),
                None => Value::Other,
            },
            Some(NodeEnum::TypeCast(cast)) => {
                let inner = cast
                    .arg
                    .as_deref()
                    .map_or(Value::Other, |arg| self.value(arg));
                let family = cast.type_name.as_ref().and_then(scalar_family);
                cast_value(inner, family)
            }
            Some(NodeEnum::SetToDefault(_)) => Value::Default,
            _ => Value::Other,
        }
    }

    /// The expression as an array of values.
    pub(super) fn elements(self, node: &Node) -> Option<Elements> {
        match &node.node {
            Some(NodeEnum::ParamRef(parameter)) => {
                let index = parameter_index(parameter.number)?;
                Some(Elements::Array(ArrayValue::Parameter(index, None)))
            }
            Some(NodeEnum::AConst(constant)) => match self.constant(constant) {
                Value::Text(text) => Some(Elements::Array(ArrayValue::Text(text, None))),
                Value::Integer(_)
                | Value::Cast(..)
                | Value::Null
                | Value::Parameter(..)
                | Value::Default
                | Value::Other => None,
            },
            Some(NodeEnum::AArrayExpr(array)) => Some(Elements::Values(
                array.elements.iter().map(|item| self.value(item)).collect(),
            )),
            Some(NodeEnum::TypeCast(cast)) => {
                let family = element_family(cast.type_name.as_ref()?)?;
                Some(match self.elements(cast.arg.as_deref()?)? {
                    Elements::Values(values) => Elements::Values(
                        values
                            .into_iter()
                            .map(|value| cast_value(value, Some(family)))
                            .collect(),
                    ),
                    Elements::Array(ArrayValue::Parameter(index, None)) => {
                        Elements::Array(ArrayValue::Parameter(index, Some(family)))
                    }
                    Elements::Array(ArrayValue::Text(text, None)) => {
                        Elements::Array(ArrayValue::Text(text, Some(family)))
                    }
                    // Between the types of one family, elements keep their values.
                    Elements::Array(ArrayValue::Parameter(index, Some(from))) if from == family => {
                        Elements::Array(ArrayValue::Parameter(index, Some(from)))
                    }
                    Elements::Array(ArrayValue::Text(text, Some(from))) if from == family => {
                        Elements::Array(ArrayValue::Text(text, Some(from)))
                    }
                    // Any other cast of a cast converts each element by rules of its own.
                    Elements::Array(
                        ArrayValue::Parameter(_, Some(_)) | ArrayValue::Text(_, Some(_)),
                    ) => return None,
                })
            }
            _ => None,
        }
    }

    /// The column that unnest makes of an array.
    pub(super) fn array_column(self, node: &Node) -> ArrayColumn {
        let elements = self.elements(node).and_then(|elements| match elements {
            Elements::Values(values) => outputs::of_one_type(values).map(Elements::Values),
            Elements::Array(array) => Some(Elements::Array(array)),
        });
        ArrayColumn {
            elements,
            length: self.length(node),
        }
    }

    fn length(self, node: &Node) -> Option<Length> {
        match &node.node {
            Some(NodeEnum::TypeCast(cast)) => self.length(cast.arg.as_deref()?),
            Some(NodeEnum::ParamRef(parameter)) => {
                parameter_index(parameter.number).map(Length::Parameter)
            }
            Some(NodeEnum::AConst(constant)) => match self.constant(constant) {
                Value::Text(text) => Some(Length::Text(text)),
                Value::Null => Some(Length::Exactly(0)),
                Value::Integer(_)
                | Value::Cast(..)
                | Value::Parameter(..)
                | Value::Default
                | Value::Other => None,
            },
            Some(NodeEnum::AArrayExpr(array)) => {
                // An element that is an array itself counts as all of its own.
                let are_scalars = array.elements.iter().all(is_scalar);
                are_scalars.then_some(Length::Exactly(array.elements.len()))
            }
            _ => None,
        }
    }

    fn constant(self, constant: &AConst) -> Value {
        if constant.isnull {
            return Value::Null;
        }
        match &constant.val {
            Some(Val::Ival(integer)) if self.is_decimal(constant.location) => {
                Value::Integer(integer.ival.to_string())
            }
            Some(Val::Fval(float)) if self.is_decimal(constant.location) => {
                canonical_integer(&float.fval).map_or(Value::Other, Value::Integer)
            }
            Some(Val::Sval(string)) => Value::Text(string.sval.clone()),
            Some(Val::Ival(_) | Val::Fval(_) | Val::Boolval(_) | Val::Bsval(_)) | None => {
                Value::Other
            }
        }
    }

    /// Whether a number is written in plain digits. Servers before PostgreSQL 16 read `0x10` and
    /// `1_000` as a number followed by an alias, so only plain digits mean the same to all.
    fn is_decimal(self, location: i32) -> bool {
        let Some(rest) = usize::try_from(location)
            .ok()
            .and_then(|start| self.sql.get(start..))
        else {
            return false;
        };
        let rest = rest.strip_prefix('-').unwrap_or(rest);
        let rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '(']);
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let follows = rest.as_bytes().get(digits);
        digits > 0 && !follows.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
    }
}

/// Whether an expression is a constant, or a value that is cast to what is no array.
fn is_scalar(node: &Node) -> bool {
    match &node.node {
        Some(NodeEnum::AConst(_)) => true,
        Some(NodeEnum::TypeCast(cast)) => {
            let bounds = cast.type_name.as_ref().map(|name| &name.array_bounds);
            let argument = cast.arg.as_deref().and_then(|arg| arg.node.as_ref());
            bounds.is_some_and(Vec::is_empty)
                && matches!(argument, Some(NodeEnum::AConst(_) | NodeEnum::ParamRef(_)))
        }
        _ => false,
    }
}

fn parameter_index(number: i32) -> Option<u16> {
    u16::try_from(number.checked_sub(1)?).ok()
}

/// An integer constant without leading zeros; none when it has a fraction or an exponent.
fn canonical_integer(text: &str) -> Option<String> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match digits.trim_start_matches('0') {
        "" => Some("0".to_owned()),
        significant => Some(format!("{sign}{significant}")),
    }
}

/// The value cast to a family.
pub(super) fn cast_value(value: Value, family: Option<Family>) -> Value {
    let family = match (&value, family) {
        (Value::Null, _) => return Value::Null,
        (_, Some(family)) => family,
        (_, None) => return Value::Other,
    };
    match (value, family) {
        (Value::Text(text), family) => Value::Cast(family, text),
        (Value::Integer(digits), Family::Integer | Family::Text) => Value::Cast(family, digits),
        (Value::Cast(from, text), to) if from == to => Value::Cast(to, text),
        (Value::Cast(Family::Text, text), to) => Value::Cast(to, text),
        // An integer becomes the text of its value, which is only known when it is written so.
        (Value::Cast(Family::Integer, text), Family::Text)
            if canonical_integer(&text).as_deref() == Some(text.as_str()) =>
        {
            Value::Cast(Family::Text, text)
        }
        (Value::Parameter(index, None), family) => Value::Parameter(index, Some(family)),
        (Value::Parameter(index, Some(from)), to) if from == to => {
            Value::Parameter(index, Some(to))
        }
        (
            Value::Integer(_)
            | Value::Cast(..)
            | Value::Null
            | Value::Parameter(..)
            | Value::Default
            | Value::Other,
            Family::Integer | Family::Text | Family::Uuid,
        ) => Value::Other,
    }
}

/// The family of a type that is no array.
pub(super) fn scalar_family(type_name: &TypeName) -> Option<Family> {
    type_name
        .array_bounds
        .is_empty()
        .then(|| family(type_name))
        .flatten()
}

fn element_family(type_name: &TypeName) -> Option<Family> {
    (type_name.array_bounds.len() == 1)
        .then(|| family(type_name))
        .flatten()
}

/// The family of a type's name, whatever its array bounds; none when it has a length.
pub(super) fn family(type_name: &TypeName) -> Option<Family> {
    if !type_name.typmods.is_empty() || type_name.setof || type_name.pct_type {
        return None;
    }
    match names::parts(&type_name.names)?.as_slice() {
        ["pg_catalog", name] | [name] => match *name {
            "int2" | "int4" | "int8" => Some(Family::Integer),
            "text" | "varchar" => Some(Family::Text),
            "uuid" => Some(Family::Uuid),
            _ => None,
        },
        _ => None,
    }
}
