//! The commands about contexts, which ask no manager.

use std::path::PathBuf;

use super::{Outcome, done};
use crate::args::context::Contexts as Command;
use crate::args::{Global, Output};
use crate::context::{self, Context, Contexts};
use crate::error::Error;
use crate::report::context::{Listed, Shown};
use crate::report::removed::Removed;

pub(super) fn run(command: Command, global: &Global) -> Result<Outcome, Error> {
    let path: PathBuf = context::path().ok_or(Error::NoHome)?;
    let mut all = Contexts::load(&path)?;
    let output = global.output.unwrap_or(Output::Table);
    let shown = |all: &Contexts, name: &str| -> Result<Outcome, Error> {
        let is_current = all.current.as_deref() == Some(name);
        let shown = Shown::new(name, is_current, all.find(name)?);
        Ok(done(&shown, output))
    };
    match command {
        Command::List => Ok(done(&Listed::new(&all), output)),
        Command::Show { name } => {
            let named = name.or_else(|| global.context.clone());
            let name = named.or_else(|| all.current.clone());
            shown(&all, &name.ok_or(Error::NoCurrentContext)?)
        }
        Command::Use { name } => {
            all.find(&name)?;
            all.current = Some(name.clone());
            all.save(&path)?;
            shown(&all, &name)
        }
        Command::Set { name } => {
            let given = Context::from(global);
            let before = all.contexts.remove(&name).unwrap_or_default();
            all.contexts.insert(name.clone(), merged(given, before));
            if all.current.is_none() {
                all.current = Some(name.clone());
            }
            all.save(&path)?;
            shown(&all, &name)
        }
        Command::Remove { name } => {
            all.find(&name)?;
            all.contexts.remove(&name);
            all.current = all.current.filter(|current| *current != name);
            all.save(&path)?;
            Ok(done(&Removed::new("context", name), output))
        }
    }
}

/// What is given anew, else what was there. Another manager is not shown the old one's token.
fn merged(given: Context, before: Context) -> Context {
    let or = |given: Vec<String>, before: Vec<String>| {
        if given.is_empty() { before } else { given }
    };
    let is_elsewhere = !given.manager.is_empty() && given.manager != before.manager;
    let kept = before.token.filter(|_| !is_elsewhere);
    Context {
        refresh_token: before.refresh_token.filter(|_| !is_elsewhere),
        token_ends_at: before.token_ends_at.filter(|_| !is_elsewhere),
        manager: or(given.manager, before.manager),
        metrics: or(given.metrics, before.metrics),
        output: given.output.or(before.output),
        timeout: given.timeout.or(before.timeout),
        ca: given.ca.or(before.ca),
        cert: given.cert.or(before.cert),
        key: given.key.or(before.key),
        token_file: given.token_file.or(before.token_file),
        token: kept,
    }
}
