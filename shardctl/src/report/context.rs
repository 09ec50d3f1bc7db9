//! Contexts: all of them, or one. Of a token it is told only that there is one.

use serde::Serialize;

use super::Report;
use crate::args::Output;
use crate::context::{Context, Contexts};
use crate::grid::{Grid, NONE, facts};

/// A context.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    name: String,
    is_current: bool,
    manager: Vec<String>,
    metrics: Vec<String>,
    output: Option<Output>,
    timeout: Option<String>,
    ca: Option<String>,
    cert: Option<String>,
    key: Option<String>,
    token_file: Option<String>,
    has_token: bool,
}

impl Shown {
    /// A context of this name.
    #[must_use]
    pub fn new(name: &str, is_current: bool, context: &Context) -> Self {
        let path = |path: &Option<std::path::PathBuf>| {
            let path = path.as_ref();
            path.map(|path| path.display().to_string())
        };
        Self {
            name: name.to_owned(),
            is_current,
            manager: context.manager.clone(),
            metrics: context.metrics.clone(),
            output: context.output,
            timeout: context.timeout.clone(),
            ca: path(&context.ca),
            cert: path(&context.cert),
            key: path(&context.key),
            token_file: path(&context.token_file),
            has_token: context.token.is_some(),
        }
    }

    fn token(&self) -> String {
        match (&self.token_file, self.has_token) {
            (Some(file), _) => format!("in {file}"),
            (None, true) => "kept".to_owned(),
            (None, false) => NONE.to_owned(),
        }
    }
}

fn list(texts: &[String]) -> String {
    match texts {
        [] => NONE.to_owned(),
        texts => texts.join(","),
    }
}

fn yes(is_so: bool) -> String {
    if is_so { "yes" } else { "no" }.to_owned()
}

impl Report for Shown {
    fn table(&self) -> String {
        let or = |text: &Option<String>| text.clone().unwrap_or_else(|| NONE.to_owned());
        let output = self.output.map_or(NONE, Output::word).to_owned();
        facts(&[
            ("Name", self.name.clone()),
            ("Current", yes(self.is_current)),
            ("Manager", list(&self.manager)),
            ("Metrics", list(&self.metrics)),
            ("Output", output),
            ("Timeout", or(&self.timeout)),
            ("CA", or(&self.ca)),
            ("Certificate", or(&self.cert)),
            ("Key", or(&self.key)),
            ("Token", self.token()),
        ])
    }
}

/// All contexts.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    current: Option<String>,
    contexts: Vec<Shown>,
}

impl Listed {
    /// Those of a file.
    #[must_use]
    pub fn new(all: &Contexts) -> Self {
        let current = all.current.as_deref();
        let shown = all.contexts.iter().map(|(name, context)| {
            let is_current = current == Some(name.as_str());
            Shown::new(name, is_current, context)
        });
        Self {
            current: all.current.clone(),
            contexts: shown.collect(),
        }
    }
}

impl Report for Listed {
    fn table(&self) -> String {
        let mut grid = Grid::new(&["CONTEXT", "CURRENT", "MANAGER", "TOKEN"]);
        for context in &self.contexts {
            grid.row([
                context.name.clone(),
                yes(context.is_current),
                list(&context.manager),
                context.token(),
            ]);
        }
        grid.render()
    }
}
