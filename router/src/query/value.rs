//! Constants and parameters: what can be read as a key without running the statement.

use super::literal::cast_value;

/// A family of types that a key type can be read from without change of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// int2, int4, int8.
    Integer,
    /// text, and varchar without a length.
    Text,
    /// uuid.
    Uuid,
}

/// An expression as far as routing can use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// An integer constant, as decimal digits with an optional minus sign.
    Integer(String),
    /// A string constant whose type PostgreSQL infers.
    Text(String),
    /// A string or integer constant, cast to a family.
    Cast(Family, String),
    /// NULL.
    Null,
    /// A parameter, counted from 0, and the family it is cast to.
    Parameter(u16, Option<Family>),
    /// DEFAULT.
    Default,
    /// Anything else.
    Other,
}

impl Value {
    /// The value cast to a family.
    #[must_use]
    pub fn cast(self, family: Family) -> Self {
        cast_value(self, Some(family))
    }
}
