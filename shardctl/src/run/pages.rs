//! Completion for shells, and man pages: both made from the definition of the arguments.

use std::path::Path;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::Outcome;
use crate::args::Args;
use crate::error::Error;

fn text(text: String) -> Outcome {
    Outcome {
        text,
        failure: None,
    }
}

pub(super) fn completion(shell: Shell) -> Outcome {
    let mut bytes = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "shardctl", &mut bytes);
    text(String::from_utf8_lossy(&bytes).into_owned())
}

/// A page for each command; the names of those that were written.
pub(super) fn man(folder: &Path) -> Result<Outcome, Error> {
    let unwritable = |error: std::io::Error| Error::Unwritable {
        path: folder.display().to_string(),
        reason: error.to_string(),
    };
    std::fs::create_dir_all(folder).map_err(unwritable)?;
    clap_mangen::generate_to(Args::command(), folder).map_err(unwritable)?;
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unwritable)? {
        let name = entry.map_err(unwritable)?.file_name();
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("shardctl") {
            names.push(name);
        }
    }
    names.sort();
    let lines = names.into_iter().map(|name| name + "\n");
    Ok(text(lines.collect()))
}
