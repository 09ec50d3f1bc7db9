//! LIMIT and OFFSET.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, a_const};

use super::tree::{self, refused};
use crate::route::Refusal;

/// A LIMIT or OFFSET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// None.
    Open,
    /// A number.
    Number(i64),
    /// A parameter, counted from 0.
    Parameter(u16),
    /// An expression, as SQL text: a shard says what it comes to.
    Computed(String),
}

impl Bound {
    /// As SQL text; none where there is none.
    #[must_use]
    pub fn sql(&self) -> Option<String> {
        match self {
            Self::Open => None,
            Self::Number(number) => Some(number.to_string()),
            Self::Parameter(index) => Some(format!("${}", u32::from(*index) + 1)),
            Self::Computed(text) => Some(text.clone()),
        }
    }
}

/// What a clause of this word says.
pub(super) fn bound(node: Option<&Node>, word: &str) -> Result<Bound, Refusal> {
    let Some(node) = node else {
        return Ok(Bound::Open);
    };
    let computed = || {
        let asks = |node: &Node| matches!(&node.node, Some(NodeEnum::SubLink(_)));
        if tree::any(node, &mut { asks }) {
            let mut refusal = refused(format!(
                "{word} of a sub-query is not supported over several shards"
            ));
            refusal.hint = Some(format!(
                "give {word} a number, a parameter or an expression"
            ));
            return Err(refusal);
        }
        tree::expression_sql(node).map(Bound::Computed)
    };
    match &node.node {
        Some(NodeEnum::AConst(constant)) if constant.isnull => Ok(Bound::Open),
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Ival(integer)) => Ok(Bound::Number(integer.ival.into())),
            Some(a_const::Val::Fval(float)) => float
                .fval
                .parse()
                .map(Bound::Number)
                .or_else(|_| computed()),
            _ => computed(),
        },
        Some(NodeEnum::ParamRef(parameter)) => {
            let index = parameter.number.checked_sub(1);
            let index = index.and_then(|index| u16::try_from(index).ok());
            index.map_or_else(computed, |index| Ok(Bound::Parameter(index)))
        }
        _ => computed(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(text: &str) -> Result<Bound, Refusal> {
        let select = tree::parse(&format!("SELECT 1 LIMIT {text}"))?;
        bound(select.limit_count.as_deref(), "LIMIT")
    }

    #[test]
    fn a_number_is_known_and_an_expression_is_computed() {
        assert_eq!(limit("7").unwrap(), Bound::Number(7));
        assert_eq!(limit("-7").unwrap(), Bound::Number(-7));
        assert_eq!(limit("5000000000").unwrap(), Bound::Number(5_000_000_000));
        assert_eq!(limit("ALL").unwrap(), Bound::Open);
        assert_eq!(limit("NULL").unwrap(), Bound::Open);
        assert_eq!(limit("$2").unwrap(), Bound::Parameter(1));
        for (text, sql) in [
            ("1 + 1", "1 + 1"),
            ("2.5", "2.5"),
            ("'3'", "'3'"),
            ("$1 * 2", "$1 * 2"),
        ] {
            assert_eq!(limit(text).unwrap(), Bound::Computed(sql.to_owned()));
        }
    }

    #[test]
    fn a_limit_does_not_ask() {
        let refusal = limit("(SELECT max(a) FROM t)").unwrap_err();
        assert_eq!(refusal.sqlstate, "0A000");
    }
}
