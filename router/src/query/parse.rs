//! The call of libpg_query and its limits. The only file that turns text into a tree.

use pg_query::protobuf;

/// Longest statement text that is analysed.
pub const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// Why a text was not analysed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyntaxError {
    /// Not SQL; the parser's own words.
    #[error("{message}")]
    Syntax {
        /// What PostgreSQL would say, without the position.
        message: String,
    },
    /// Longer than the limit.
    #[error("statement of {bytes} bytes is longer than the limit of {max_bytes}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max_bytes: usize,
    },
    /// A comment that looks like a hint and can't be followed.
    #[error("{message}")]
    Hint {
        /// Which one, and why.
        message: String,
    },
    /// Nested deeper than the tree's reader allows.
    #[error("statement is nested too deep to be routed")]
    TooDeep,
    /// Holds a NUL byte.
    #[error("invalid byte sequence for encoding \"UTF8\": 0x00")]
    Nul,
}

impl SyntaxError {
    /// The SQLSTATE.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::Syntax { .. } | Self::Hint { .. } => "42601",
            Self::TooLong { .. } => "54000",
            Self::TooDeep => "54001",
            Self::Nul => "22021",
        }
    }
}

/// Parses a query string.
///
/// # Errors
/// [`SyntaxError`] when the string is not SQL, too long or nested too deep.
pub fn parse(sql: &str, max_bytes: usize) -> Result<protobuf::ParseResult, SyntaxError> {
    if sql.len() > max_bytes {
        return Err(SyntaxError::TooLong {
            bytes: sql.len(),
            max_bytes,
        });
    }
    match pg_query::parse(sql, 0) {
        Ok(result) => Ok(result.protobuf),
        Err(pg_query::Error::Conversion(_)) => Err(SyntaxError::Nul),
        // The decoder follows a tree of messages a hundred levels deep and no further.
        Err(pg_query::Error::Decode(_)) => Err(SyntaxError::TooDeep),
        Err(pg_query::Error::Parse(message)) if is_about_depth(&message) => {
            Err(SyntaxError::TooDeep)
        }
        Err(pg_query::Error::Parse(message)) => Err(SyntaxError::Syntax { message }),
        Err(other) => Err(SyntaxError::Syntax {
            message: other.to_string(),
        }),
    }
}

fn is_about_depth(message: &str) -> bool {
    const ABOUT_DEPTH: [&str; 3] = [
        "stack depth limit exceeded",
        "memory exhausted",
        "parse tree is nested too deeply",
    ];
    ABOUT_DEPTH.iter().any(|start| message.starts_with(start))
}
