//! Configuration files: JSON, `${NAME}` expanded from the environment, every field overridable by
//! `PREFIX__SECTION__FIELD`, and every violation reported at once with its path.
//!
//! [`Section`] is read field by field with a default at each place; what is left unread is an
//! unknown key.

use std::cell::RefCell;
use std::fmt;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::Secret;

/// One rule that a configuration breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The field, e.g. `server.read_timeout`.
    pub path: String,
    /// What is wrong with it and what would be right.
    pub rule: String,
}

/// All that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Violations(pub Vec<Violation>);

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, Violation { path, rule }) in self.0.iter().enumerate() {
            let end = if index + 1 == self.0.len() { "" } else { "\n" };
            write!(f, "{path}: {rule}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

/// A look-up of environment variables, so that tests need not change the process's own.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

#[derive(Debug, Default)]
struct Report {
    violations: Vec<Violation>,
}

/// One JSON object of the configuration while it is read.
#[derive(Debug)]
pub struct Section {
    path: String,
    fields: Map<String, Value>,
    report: Rc<RefCell<Report>>,
}
