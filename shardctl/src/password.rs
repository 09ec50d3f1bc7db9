//! Where a password comes from: a file, the environment, or standard input, where a terminal does
//! not show it. Never the command line, which other users of the machine can read.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::Command;

use crate::error::Error;

/// The variable that may hold it.
pub const VARIABLE: &str = "SHARDCTL_USER_PASSWORD";

/// Longer than any password that a manager takes, or a verifier.
const MAX_BYTES: u64 = 8 << 10;

/// What verifiers begin with, in PostgreSQL's form.
const VERIFIER: &str = "SCRAM-SHA-256$";

/// What was read.
#[derive(Clone, PartialEq, Eq)]
pub enum Password {
    /// A password.
    Clear(String),
    /// What PostgreSQL would store of one.
    Verifier(String),
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(***)")
    }
}

impl Password {
    /// Reads it from the file, where one is named, else from the environment, else from standard
    /// input.
    ///
    /// # Errors
    /// When there is none, or it cannot be read.
    pub fn read(file: Option<&Path>) -> Result<Self, Error> {
        let bad = |from: &str| {
            let from = from.to_owned();
            move |error: io::Error| Error::BadPassword {
                from,
                reason: error.to_string(),
            }
        };
        let text = match file {
            Some(path) if path.as_os_str() == "-" => line(io::stdin().lock()).map_err(bad("-"))?,
            Some(path) => std::fs::File::open(path)
                .and_then(line)
                .map_err(bad(&path.display().to_string()))?,
            None => match std::env::var(VARIABLE) {
                Ok(text) => text,
                Err(_) if io::stdin().is_terminal() => ask().map_err(bad("the terminal"))?,
                Err(_) => line(io::stdin().lock()).map_err(bad("standard input"))?,
            },
        };
        if text.is_empty() {
            return Err(Error::NoPassword);
        }
        Ok(Self::of(text))
    }

    fn of(text: String) -> Self {
        if text.starts_with(VERIFIER) {
            Self::Verifier(text)
        } else {
            Self::Clear(text)
        }
    }

    /// The two fields of a request, one of which is set.
    #[must_use]
    pub fn fields(self) -> (Option<String>, Option<String>) {
        match self {
            Self::Clear(text) => (Some(text), None),
            Self::Verifier(text) => (None, Some(text)),
        }
    }
}

/// The first line, without its end.
fn line(from: impl io::Read) -> io::Result<String> {
    let mut text = String::new();
    io::BufReader::new(from.take(MAX_BYTES)).read_line(&mut text)?;
    let end = text.trim_end_matches(['\r', '\n']).len();
    text.truncate(end);
    Ok(text)
}

/// Asks twice, since what is typed is not seen.
fn ask() -> io::Result<String> {
    let _silence = Silence::begin();
    let mut stderr = io::stderr();
    let mut answers = Vec::new();
    for prompt in ["Password: ", "Again: "] {
        stderr.write_all(prompt.as_bytes())?;
        stderr.flush()?;
        answers.push(line(io::stdin().lock())?);
        stderr.write_all(b"\n")?;
    }
    answers.dedup();
    match answers.pop() {
        Some(answer) if answers.is_empty() => Ok(answer),
        Some(_) | None => Err(io::Error::other("the two answers differ")),
    }
}

/// The terminal shows nothing that is typed until this is dropped.
struct Silence;

impl Silence {
    fn begin() -> Self {
        stty("-echo");
        Self
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        stty("echo");
    }
}

/// A terminal that cannot be told shows what is typed, as it always does.
fn stty(argument: &str) {
    drop(Command::new("stty").arg(argument).status());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_password_with_its_blanks() {
        for (bytes, expected) in [
            ("sesame\n", "sesame"),
            ("sesame", "sesame"),
            (" se same \r\nmore\n", " se same "),
            ("", ""),
        ] {
            assert_eq!(line(bytes.as_bytes()).unwrap(), expected);
        }
        assert!(line(&b"\xff\n"[..]).is_err());
    }

    #[test]
    fn what_postgres_would_store_is_told_from_a_password() {
        let verifier = "SCRAM-SHA-256$4096:c2FsdA==$a:b";
        assert_eq!(
            Password::of(verifier.to_owned()).fields(),
            (None, Some(verifier.to_owned()))
        );
        let clear = Password::of("sesame".to_owned());
        assert_eq!(format!("{clear:?}"), "Password(***)");
        assert_eq!(clear.fields(), (Some("sesame".to_owned()), None));
    }
}
