//! docs/configuration.md: the types and defaults in its tables are those of the fields that the
//! programs read, as `--fields` prints them. `make reference` writes them; what a field means is
//! written by hand, in the last column.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::Context as _;
use platform::config::Field;
use tests::program::executable;

use crate::suite::{Outcome, same};

const PAGE: &str = "docs/configuration.md";

/// Set by `make reference`.
const WRITE: &str = "WRITE_REFERENCE";

/// Fields whose type is narrower than it is read by, or whose default depends on something, or that
/// are only read beside another one: what their columns say, where it is not empty.
const SPECIAL: &[(&str, &str, &str)] = &[
    (
        "pgwire.advertise_address",
        "`host:port`",
        "made of `host` and the port",
    ),
    (
        "grpc.advertise_address",
        "`host:port`",
        "made of `host` and the port",
    ),
    (
        "pgwire.require_tls",
        "boolean",
        "`true` with `security.enable_tls`",
    ),
    ("pgwire.threads", "", "half of the cores"),
    ("pgwire.auth.users[].name", "", "required"),
    ("pgwire.auth.users[].password", "", "required"),
    (
        "leader.lease_ttl",
        "time, whole seconds from `1s` to `60s`",
        "",
    ),
];

pub(super) async fn the_reference_of_the_configuration_is_what_the_programs_read() -> Outcome {
    let programs = Programs {
        router: fields("router")?,
        manager: fields("manager")?,
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = std::fs::read_to_string(&path)?;
    let written = programs.page(&page)?;
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, written)?;
        return Ok(());
    }
    for (number, (is, should_be)) in page.lines().zip(written.lines()).enumerate() {
        let line = number + 1;
        same!(
            is,
            should_be,
            "{PAGE}:{line} is stale: run `make reference`"
        );
    }
    same!(page.len(), written.len());
    Ok(())
}

fn fields(program: &str) -> anyhow::Result<Vec<Field>> {
    let output = Command::new(executable(program)?)
        .arg("--fields")
        .output()?;
    anyhow::ensure!(output.status.success(), "{program} --fields");
    let lines = String::from_utf8(output.stdout)?;
    let fields: Result<Vec<Field>, _> = lines.lines().map(serde_json::from_str).collect();
    Ok(fields?)
}

/// What both programs read.
struct Programs {
    router: Vec<Field>,
    manager: Vec<Field>,
}

/// Whose fields a part of the page is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Nobody,
    Both,
    Router,
    Manager,
}

impl Programs {
    /// The page with its tables written anew.
    fn page(&self, page: &str) -> anyhow::Result<String> {
        let (mut whose, mut section) = (Whose::Nobody, "");
        let mut shown = BTreeSet::new();
        let mut written = String::with_capacity(page.len());
        for line in page.lines() {
            if let Some(heading) = line.strip_prefix("## ") {
                whose = match heading {
                    "Both programs" => Whose::Both,
                    "Router" => Whose::Router,
                    "Manager" => Whose::Manager,
                    _ => Whose::Nobody,
                };
            }
            section = line.strip_prefix("### ").unwrap_or(section);
            if whose != Whose::Nobody && line.starts_with("| `") {
                written.push_str(&self.row(line, whose, section, &mut shown)?);
            } else {
                written.push_str(line);
            }
            written.push('\n');
        }
        for (program, fields) in [("router", &self.router), ("manager", &self.manager)] {
            let missing = fields
                .iter()
                .find(|field| !shown.contains(&(program, field.path.clone())));
            if let Some(Field { path, .. }) = missing {
                anyhow::bail!("{PAGE} has no row for {path} of the {program}: say what it means");
            }
        }
        Ok(written)
    }

    fn row(
        &self,
        line: &str,
        whose: Whose,
        section: &str,
        shown: &mut BTreeSet<(&'static str, String)>,
    ) -> anyhow::Result<String> {
        let cells: Vec<&str> = line.trim_matches('|').splitn(4, " | ").collect();
        let [names, _, _, meaning] = cells.as_slice() else {
            anyhow::bail!("{PAGE}: {line:?} has not four columns");
        };
        let mut columns = None;
        for name in names.split('`').skip(1).step_by(2) {
            let path = format!("{section}.{name}");
            let found = self.columns(&path, whose, shown)?;
            let first = columns.get_or_insert_with(|| found.clone());
            same!(*first, found, "{path} differs from others of its row");
        }
        let (kind, default) = columns.context("a row names its fields")?;
        Ok(format!(
            "|{names} | {kind} | {default} | {}|",
            meaning.trim_start()
        ))
    }

    /// Type and default of a field.
    fn columns(
        &self,
        path: &str,
        whose: Whose,
        shown: &mut BTreeSet<(&'static str, String)>,
    ) -> anyhow::Result<(String, String)> {
        let mut found = Vec::new();
        for (program, fields, is_meant) in [
            ("router", &self.router, whose != Whose::Manager),
            ("manager", &self.manager, whose != Whose::Router),
        ] {
            if let Some(field) = fields.iter().find(|field| is_meant && field.path == path) {
                shown.insert((program, path.to_owned()));
                found.push((program, field));
            }
        }
        let special = SPECIAL.iter().find(|(special, ..)| *special == path);
        let (_, kind, default) = special.copied().unwrap_or_default();
        // What a program lets pass without using it is a text to it.
        let used = found.iter().find(|(_, field)| field.kind != "text");
        let Some(&(_, first)) = used.or(found.first()) else {
            let is_whole = !kind.is_empty() && !default.is_empty();
            anyhow::ensure!(is_whole, "{PAGE} has a row for {path}, which nobody reads");
            return Ok((kind.to_owned(), default.to_owned()));
        };
        found.retain(|(_, field)| field.kind == first.kind);
        let kind = if kind.is_empty() {
            first.kind.as_str()
        } else {
            kind
        };
        let is_same = found
            .iter()
            .all(|(_, field)| field.default == first.default);
        let default = match default {
            "" if is_same => default_of(first),
            "" => {
                let each = found.iter();
                let each = each.map(|(program, field)| format!("{} {program}", default_of(field)));
                each.collect::<Vec<_>>().join(", ")
            }
            special => special.to_owned(),
        };
        Ok((kind.to_owned(), default))
    }
}

fn default_of(field: &Field) -> String {
    match &field.default {
        Some(default) => format!("`{default}`"),
        None => "none".to_owned(),
    }
}
