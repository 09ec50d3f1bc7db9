//! What may stand around a query: COPY TO STDOUT and EXPLAIN.

use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ParseResult, RawStmt, a_const};

use super::tree::{self, not_understood};
use crate::query;
use crate::route::Refusal;
use crate::scatter::explained::Format;

/// A COPY TO STDOUT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copying {
    /// What follows the query, as SQL text.
    pub suffix: String,
    /// Whether the names of columns come first.
    pub header: bool,
    /// Whether rows are in binary form.
    pub binary: bool,
}

impl Copying {
    /// Reads a COPY.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let NodeEnum::CopyStmt(mut copy) = only(text)? else {
            return Err(not_understood());
        };
        let (mut header, mut binary) = (false, false);
        for option in &copy.options {
            let Some(NodeEnum::DefElem(option)) = &option.node else {
                return Err(not_understood());
            };
            match option.defname.as_str() {
                "header" => header = is_on(option.arg.as_deref()),
                "format" => {
                    let format = option.arg.as_deref().and_then(tree::string);
                    binary = format == Some("binary");
                }
                _ => {}
            }
        }
        let query = tree::parse("SELECT 1")?;
        copy.relation = None;
        copy.attlist = Vec::new();
        copy.query = Some(Box::new(tree::node(NodeEnum::SelectStmt(Box::new(query)))));
        let text = written(NodeEnum::CopyStmt(copy))?;
        let suffix = text
            .strip_prefix("COPY (SELECT 1)")
            .ok_or_else(not_understood)?;
        Ok(Self {
            suffix: suffix.to_owned(),
            header,
            binary,
        })
    }

    /// A COPY of a query.
    #[must_use]
    pub fn of(&self, query: &str) -> String {
        format!("COPY ({query}){}", self.suffix)
    }
}

/// An EXPLAIN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explaining {
    /// What stands before the statement.
    pub prefix: String,
    /// The format of the answer.
    pub format: Format,
    /// The statement that is explained.
    pub inner: String,
}

impl Explaining {
    /// Reads an EXPLAIN.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn read(text: &str) -> Result<Self, Refusal> {
        let NodeEnum::ExplainStmt(mut explain) = only(text)? else {
            return Err(not_understood());
        };
        let mut format = Format::default();
        for option in &explain.options {
            let Some(NodeEnum::DefElem(option)) = &option.node else {
                return Err(not_understood());
            };
            if option.defname == "format" {
                let name = option.arg.as_deref().and_then(tree::string);
                // Of another one a shard says that there is none.
                format = name.and_then(Format::named).unwrap_or_default();
            }
        }
        let inner = explain.query.take().and_then(|query| query.node);
        let inner = written(inner.ok_or_else(not_understood)?)?;
        let query = tree::parse("SELECT 1")?;
        explain.query = Some(Box::new(tree::node(NodeEnum::SelectStmt(Box::new(query)))));
        let text = written(NodeEnum::ExplainStmt(explain))?;
        let prefix = text.strip_suffix("SELECT 1").ok_or_else(not_understood)?;
        Ok(Self {
            prefix: prefix.to_owned(),
            format,
            inner,
        })
    }
}

fn only(text: &str) -> Result<NodeEnum, Refusal> {
    let tree = query::tree(text, query::MAX_STATEMENT_BYTES).map_err(|_| not_understood())?;
    let mut stmts = tree.stmts.into_iter();
    let (Some(raw), None) = (stmts.next(), stmts.next()) else {
        return Err(not_understood());
    };
    raw.stmt.and_then(|it| it.node).ok_or_else(not_understood)
}

fn written(stmt: NodeEnum) -> Result<String, Refusal> {
    let tree = ParseResult {
        version: tree::VERSION,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(tree::node(stmt))),
            ..RawStmt::default()
        }],
    };
    pg_query::deparse(&tree, Default::default()).map_err(|_| not_understood())
}

/// Whether an option is on: without a value it is.
fn is_on(value: Option<&Node>) -> bool {
    let Some(value) = value.and_then(|it| it.node.as_ref()) else {
        return true;
    };
    match value {
        NodeEnum::Boolean(value) => value.boolval,
        NodeEnum::Integer(value) => value.ival != 0,
        NodeEnum::String(value) => matches!(value.sval.as_str(), "true" | "on" | "1"),
        NodeEnum::AConst(constant) => match &constant.val {
            Some(a_const::Val::Boolval(value)) => value.boolval,
            Some(a_const::Val::Ival(value)) => value.ival != 0,
            Some(a_const::Val::Sval(value)) => matches!(value.sval.as_str(), "true" | "on" | "1"),
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_around_a_query_is_put_around_another() {
        let copy = Copying::read("COPY (SELECT * FROM t) TO STDOUT WITH (FORMAT csv, HEADER)");
        let copy = copy.unwrap();
        assert!(copy.header && !copy.binary);
        let again = copy.of("SELECT 2");
        assert!(again.starts_with("COPY (SELECT 2) TO STDOUT"), "{again}");
        assert_eq!(Copying::read(&again).unwrap(), copy);
        let copy = Copying::read("COPY t (a) TO STDOUT (FORMAT binary)").unwrap();
        assert!(copy.binary && !copy.header);
        assert!(
            !Copying::read("COPY t TO STDOUT (HEADER false)")
                .unwrap()
                .header
        );
    }

    #[test]
    fn what_is_explained_is_parted_from_how() {
        let read = |text| Explaining::read(text).unwrap();
        let plain = read("EXPLAIN (ANALYZE, COSTS off) SELECT * FROM t");
        assert_eq!(plain.prefix, "EXPLAIN (ANALYZE, COSTS OFF) ");
        assert_eq!(plain.format, Format::Text);
        let json = read("EXPLAIN (FORMAT json) INSERT INTO t (a) VALUES ($1), (2)");
        assert_eq!(json.format, Format::Json);
        assert_eq!(json.inner, "INSERT INTO t (a) VALUES ($1), (2)");
        assert!(Explaining::read("SELECT 1").is_err());
    }
}
