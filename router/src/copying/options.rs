//! What a COPY FROM STDIN says of its data.

use pg_query::NodeEnum;
use pg_query::protobuf::{CopyStmt, Node, ParseResult, RawStmt, a_const};

use crate::query;
use crate::route::Refusal;

/// The format of the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Lines of fields with backslashes.
    #[default]
    Text,
    /// Lines of fields with quotes.
    Csv,
    /// Tuples.
    Binary,
}

/// How the data is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its format.
    pub format: Format,
    /// Whether its first line is no row.
    pub header: bool,
    pub(super) delimiter: u8,
    pub(super) quote: u8,
    pub(super) escape: u8,
    pub(super) null: Vec<u8>,
    /// FORCE_NOT_NULL of the key.
    pub(super) key_is_never_null: bool,
    /// FORCE_NULL of the key.
    pub(super) key_may_be_quoted_null: bool,
}

/// What is said, as it stands there.
#[derive(Debug, Default)]
struct Said {
    format: Format,
    header: bool,
    delimiter: Option<String>,
    quote: Option<String>,
    escape: Option<String>,
    null: Option<String>,
    never_null: Columns,
    quoted_null: Columns,
}

/// Columns that an option names.
#[derive(Debug, Default)]
enum Columns {
    #[default]
    None,
    All,
    Named(Vec<String>),
}

impl Columns {
    fn has(&self, column: &str) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name == column),
        }
    }
}

impl Options {
    /// Reads a COPY for the key column of its table.
    ///
    /// # Errors
    /// [`Refusal`] of what is not understood.
    pub fn read(sql: &str, key: &str) -> Result<Self, Refusal> {
        let copy = statement(sql)?;
        let mut said = Said::default();
        for option in &copy.options {
            let Some(NodeEnum::DefElem(option)) = &option.node else {
                return Err(not_understood());
            };
            said.take(&option.defname, option.arg.as_deref())?;
        }
        let is_csv = said.format == Format::Csv;
        let byte = |text: Option<String>, usual: u8| match text.as_deref().map(str::as_bytes) {
            None => Ok(usual),
            Some([byte]) => Ok(*byte),
            Some(_) => Err(not_understood()),
        };
        let quote = byte(said.quote, b'"')?;
        let null = said.null.unwrap_or_else(|| {
            let usual = if is_csv { "" } else { "\\N" };
            usual.to_owned()
        });
        Ok(Self {
            format: said.format,
            header: said.header,
            delimiter: byte(said.delimiter, if is_csv { b',' } else { b'\t' })?,
            quote,
            escape: byte(said.escape, quote)?,
            null: null.into_bytes(),
            key_is_never_null: said.never_null.has(key),
            key_may_be_quoted_null: said.quoted_null.has(key),
        })
    }
}

impl Said {
    fn take(&mut self, name: &str, value: Option<&Node>) -> Result<(), Refusal> {
        match name {
            "format" => {
                self.format = match text(value).as_deref() {
                    Some("text") => Format::Text,
                    Some("csv") => Format::Csv,
                    Some("binary") => Format::Binary,
                    _ => return Err(not_understood()),
                }
            }
            "header" => self.header = is_on(value)?,
            "delimiter" => self.delimiter = Some(text(value).ok_or_else(not_understood)?),
            "quote" => self.quote = Some(text(value).ok_or_else(not_understood)?),
            "escape" => self.escape = Some(text(value).ok_or_else(not_understood)?),
            "null" => self.null = Some(text(value).ok_or_else(not_understood)?),
            "force_not_null" => self.never_null = columns(value)?,
            "force_null" => self.quoted_null = columns(value)?,
            // What it says of the data does not change where a row ends or what its key is.
            "freeze" | "log_verbosity" => {}
            "encoding" => {
                let encoding = text(value).unwrap_or_default().to_ascii_lowercase();
                if !matches!(encoding.as_str(), "utf8" | "utf-8" | "unicode") {
                    return Err(Refusal::unsupported(
                        "COPY in another encoding than UTF8 is not supported over several shards",
                    )
                    .hint("convert the data first"));
                }
            }
            other => {
                return Err(Refusal::unsupported(format!(
                    "COPY with the option \"{other}\" is not supported over several shards"
                )));
            }
        }
        Ok(())
    }
}

/// The COPY with its columns named.
///
/// # Errors
/// [`Refusal`] of what is not understood.
pub(crate) fn with_columns(sql: &str, names: &[String]) -> Result<String, Refusal> {
    let mut copy = statement(sql)?;
    copy.attlist = names
        .iter()
        .map(|name| Node {
            node: Some(NodeEnum::String(pg_query::protobuf::String {
                sval: name.clone(),
            })),
        })
        .collect();
    let tree = ParseResult {
        version: 170_000,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(Node {
                node: Some(NodeEnum::CopyStmt(copy)),
            })),
            ..RawStmt::default()
        }],
    };
    let written = pg_query::deparse(&tree, Default::default()).map_err(|_| not_understood())?;
    let read_alike = Options::read(&written, "")? == Options::read(sql, "")?;
    if read_alike {
        Ok(written)
    } else {
        Err(not_understood())
    }
}

fn statement(sql: &str) -> Result<Box<CopyStmt>, Refusal> {
    let tree = query::tree(sql, query::MAX_STATEMENT_BYTES).map_err(|_| not_understood())?;
    let mut stmts = tree.stmts.into_iter();
    let (Some(raw), None) = (stmts.next(), stmts.next()) else {
        return Err(not_understood());
    };
    match raw.stmt.and_then(|it| it.node) {
        Some(NodeEnum::CopyStmt(copy)) => Ok(copy),
        _ => Err(not_understood()),
    }
}

fn text(value: Option<&Node>) -> Option<String> {
    match value?.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.clone()),
        NodeEnum::AConst(constant) => match &constant.val {
            Some(a_const::Val::Sval(text)) => Some(text.sval.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// Whether HEADER is on; without a value it is, and MATCH looks at it as well.
fn is_on(value: Option<&Node>) -> Result<bool, Refusal> {
    let Some(node) = value else {
        return Ok(true);
    };
    if let Some(word) = text(value) {
        return match word.to_ascii_lowercase().as_str() {
            "true" | "on" | "1" | "match" => Ok(true),
            "false" | "off" | "0" => Ok(false),
            _ => Err(not_understood()),
        };
    }
    match &node.node {
        Some(NodeEnum::Boolean(value)) => Ok(value.boolval),
        Some(NodeEnum::Integer(value)) if matches!(value.ival, 0 | 1) => Ok(value.ival == 1),
        Some(NodeEnum::AConst(constant)) => match &constant.val {
            Some(a_const::Val::Boolval(value)) => Ok(value.boolval),
            Some(a_const::Val::Ival(value)) if matches!(value.ival, 0 | 1) => Ok(value.ival == 1),
            _ => Err(not_understood()),
        },
        _ => Err(not_understood()),
    }
}

fn columns(value: Option<&Node>) -> Result<Columns, Refusal> {
    match value.and_then(|it| it.node.as_ref()) {
        Some(NodeEnum::AStar(_)) => Ok(Columns::All),
        Some(NodeEnum::List(list)) => {
            let names = list.items.iter().map(|item| text(Some(item)));
            let names: Option<Vec<String>> = names.collect();
            names.map(Columns::Named).ok_or_else(not_understood)
        }
        _ => Err(not_understood()),
    }
}

fn not_understood() -> Refusal {
    Refusal::unsupported("an option of COPY is not understood where its rows go to several shards")
}
