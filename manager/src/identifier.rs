//! SQL identifiers as an operator writes them, read as PostgreSQL reads them: folded to lower case
//! unless quoted.

use topology::TableName;

/// Why a text is not the name that it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is empty.
    #[error("must not be empty")]
    Empty,
    /// It needs quotes, or its quotes do not match.
    #[error("is not an SQL identifier; write \"...\" around one with special characters")]
    Syntax,
    /// PostgreSQL would cut it off.
    #[error("has a part longer than {} bytes", TableName::MAX_IDENTIFIER_BYTES)]
    TooLong,
    /// More than a schema and a table.
    #[error("has more parts than schema and table")]
    TooManyParts,
}

/// Reads a table's name; without a schema it is in `public`.
///
/// # Errors
/// [`Invalid`] says what is wrong with it.
pub fn table(text: &str) -> Result<TableName, Invalid> {
    let (first, rest) = next(text.trim())?;
    let (schema, name) = match rest.strip_prefix('.') {
        None if rest.is_empty() => ("public".to_owned(), first),
        None => return Err(Invalid::Syntax),
        Some(rest) => {
            let (name, rest) = next(rest)?;
            match rest.chars().next() {
                None => (first, name),
                Some('.') => return Err(Invalid::TooManyParts),
                Some(_) => return Err(Invalid::Syntax),
            }
        }
    };
    TableName::try_from_parts(&schema, &name).map_err(|_| Invalid::TooLong)
}

/// Reads a column's name.
///
/// # Errors
/// [`Invalid`] says what is wrong with it.
pub fn column(text: &str) -> Result<String, Invalid> {
    match next(text.trim())? {
        (name, "") => Ok(name),
        _ => Err(Invalid::Syntax),
    }
}

/// A name as SQL text, whatever it holds.
#[must_use]
pub fn quoted(name: &TableName) -> String {
    let (schema, name) = (
        wire::quote::ident(name.schema()),
        wire::quote::ident(name.name()),
    );
    format!("{schema}.{name}")
}

/// A name as PostgreSQL's `format('%I.%I')` writes it: quoted only where it must be.
#[must_use]
pub fn shown(name: &TableName) -> String {
    let part = |part: &str| {
        let mut letters = part.chars();
        let begins = letters
            .next()
            .is_some_and(|c| c.is_ascii_lowercase() || c == '_');
        let goes_on = letters.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        if begins && goes_on {
            part.to_owned()
        } else {
            wire::quote::ident(part)
        }
    };
    format!("{}.{}", part(name.schema()), part(name.name()))
}

/// The identifier that a text begins with, and what follows it.
fn next(text: &str) -> Result<(String, &str), Invalid> {
    let (name, rest) = match text.strip_prefix('"') {
        Some(inner) => next_quoted(inner)?,
        None => next_plain(text)?,
    };
    if name.is_empty() {
        return Err(Invalid::Empty);
    }
    if name.contains('\0') {
        return Err(Invalid::Syntax);
    }
    if name.len() > TableName::MAX_IDENTIFIER_BYTES {
        return Err(Invalid::TooLong);
    }
    Ok((name, rest))
}

fn next_quoted(inner: &str) -> Result<(String, &str), Invalid> {
    let mut name = String::new();
    let mut rest = inner;
    loop {
        let (part, after) = rest.split_once('"').ok_or(Invalid::Syntax)?;
        name.push_str(part);
        let Some(after_doubled) = after.strip_prefix('"') else {
            return Ok((name, after));
        };
        name.push('"');
        rest = after_doubled;
    }
}

fn next_plain(text: &str) -> Result<(String, &str), Invalid> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let is_later = |c: char| is_first(c) || c.is_ascii_digit() || c == '$';
    match text.chars().next() {
        None | Some('.') => return Err(Invalid::Empty),
        Some(first) if !is_first(first) => return Err(Invalid::Syntax),
        Some(_) => {}
    }
    let rest = text.trim_start_matches(is_later);
    let name = text.strip_suffix(rest).unwrap_or(text);
    // Only ASCII letters are folded in a multi-byte encoding (PostgreSQL's downcase_identifier).
    Ok((name.to_ascii_lowercase(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_names_are_read_as_postgres_reads_them() {
        let cases = [
            ("orders", "public", "orders"),
            ("Orders", "public", "orders"),
            (" sales.Orders ", "sales", "orders"),
            ("\"Sales\".\"Or\"\"ders\"", "Sales", "Or\"ders"),
            ("\"a.b\".c$1", "a.b", "c$1"),
            ("Größe", "public", "größe"),
        ];
        for (text, schema, name) in cases {
            let wanted = TableName::try_from_parts(schema, name).unwrap();
            assert_eq!(table(text), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "x".repeat(64);
        let cases = [
            ("", Invalid::Empty),
            ("\"\"", Invalid::Empty),
            ("a.", Invalid::Empty),
            (".a", Invalid::Empty),
            ("a b", Invalid::Syntax),
            ("a;drop", Invalid::Syntax),
            ("1a", Invalid::Syntax),
            ("\"a", Invalid::Syntax),
            ("a-b", Invalid::Syntax),
            ("a.b.c", Invalid::TooManyParts),
            (&long, Invalid::TooLong),
        ];
        for (text, expected) in cases {
            assert_eq!(table(text), Err(expected), "{text}");
        }
        assert_eq!(column("a.b"), Err(Invalid::Syntax));
    }

    #[test]
    fn quoting_a_name_and_reading_it_gives_the_name() {
        for (schema, name) in [("public", "orders"), ("A b", "c\"d.e"), ("x", "\"")] {
            let name = TableName::try_from_parts(schema, name).unwrap();
            assert_eq!(table(&quoted(&name)), Ok(name));
        }
        assert_eq!(column("Customer_ID"), Ok("customer_id".to_owned()));
        assert_eq!(column("\"Customer ID\""), Ok("Customer ID".to_owned()));
    }
}
