//! Documents: links that lead somewhere, decisions that can be cited by number, and a page of the
//! configuration that has every field and no other.

use crate::code::literal;
use crate::report::Report;
use crate::source::line_of;
use crate::tree::{File, Tree};

const DECISIONS: &str = "docs/decisions/";
/// The page with every field of the configuration, and how the code reads one.
const CONFIGURATION: &str = "docs/configuration.md";
const READERS: &[&str] = &[
    ".boolean(",
    ".choice(",
    ".count(",
    ".duration(",
    ".number(",
    ".optional_text(",
    ".port(",
    ".secret(",
    ".sections(",
    ".size(",
    ".text(",
    ".texts(",
];

const SECTIONS: &[&str] = &["## Context", "## Decision", "## Consequences"];

pub(crate) fn check(tree: &Tree, report: &mut Report) {
    for file in tree.files.iter().filter(|file| file.has_extension("md")) {
        links(tree, file, report);
    }
    decisions(tree, report);
    configuration(tree, report);
}

fn links(tree: &Tree, file: &File, report: &mut Report) {
    for (line, target) in targets(&file.text) {
        let is_outside = target.contains("://") || target.starts_with("mailto:");
        if is_outside {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let path = if path.is_empty() {
            file.path.clone()
        } else {
            resolve(&file.path, path)
        };
        if !path.is_empty() && !tree.paths.contains(&path) {
            report.add(
                &file.path,
                line,
                format!("link to {target}, which does not exist"),
            );
            continue;
        }
        let page = tree.files.iter().find(|page| page.path == path);
        let has_anchor = page.is_none_or(|page| anchors(&page.text).any(|each| each == anchor));
        if !anchor.is_empty() && !has_anchor {
            report.add(
                &file.path,
                line,
                format!("link to {target}, which has no such heading"),
            );
        }
    }
}

/// Where the links of a Markdown text lead, with their lines; code is not looked at.
fn targets(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    for (number, line) in prose(text) {
        // Every second piece between backticks is code.
        for piece in line.split('`').step_by(2) {
            for (offset, _) in piece.match_indices("](") {
                let rest = &piece[offset + 2..];
                if let Some((target, _)) = rest.split_once(')') {
                    let target = target.split_whitespace().next().unwrap_or_default();
                    found.push((number, target));
                }
            }
        }
    }
    found
}

/// Lines outside fenced code, counted from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        (!is_code && !is_fence).then_some((index + 1, line))
    })
}

/// A relative path as seen from the root.
fn resolve(from: &str, path: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = prose(text).filter(|(_, line)| line.starts_with('#'));
    headings.map(|(_, line)| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

fn decisions(tree: &Tree, report: &mut Report) {
    let records = tree
        .files
        .iter()
        .filter(|file| file.path.starts_with(DECISIONS));
    for (index, file) in records.enumerate() {
        let number = format!("{:04}", index + 1);
        if !file.name().starts_with(&format!("{number}-")) {
            report.add(
                &file.path,
                1,
                format!("is the decision numbered {number}: name it so"),
            );
        }
        if !file.text.starts_with(&format!("# {number}: ")) {
            report.add(
                &file.path,
                1,
                format!("begin with `# {number}: ` and the decision"),
            );
        }
        for section in SECTIONS {
            if !file.text.lines().any(|line| line == *section) {
                report.add(&file.path, 1, format!("has no section `{section}`"));
            }
        }
    }
}

fn configuration(tree: &Tree, report: &mut Report) {
    let page = tree.files.iter().find(|file| file.path == CONFIGURATION);
    let page = page.map_or("", |page| page.text.as_str());
    for (file, source) in tree.rust().filter(|(file, _)| !file.is_test()) {
        let is_config = |name: &str| file.path.starts_with(&format!("{name}/src/config"));
        if !is_config("router") && !is_config("manager") {
            continue;
        }
        let text = &source.uncommented;
        for reader in READERS {
            for (offset, _) in text.match_indices(reader) {
                let Some(field) = literal(&text[offset + reader.len()..]) else {
                    continue;
                };
                let is_there =
                    page.contains(&format!("`{field}`")) || page.contains(&format!(".{field}`"));
                if !is_there {
                    let rule = format!("reads {field}, which {CONFIGURATION} does not list");
                    report.add(&file.path, line_of(text, offset), rule);
                }
            }
        }
    }
    // Sections that both programs have are read in crates of both.
    let places = [
        "router/src/config",
        "manager/src/config",
        "platform/src/",
        "topology/src/",
    ];
    let is_read = |name: &str| {
        tree.rust().any(|(file, source)| {
            let is_config = places.iter().any(|place| file.path.starts_with(place));
            is_config && !file.is_test() && source.uncommented.contains(&format!("\"{name}\""))
        })
    };
    for (line, field) in listed(page) {
        let name = field.rsplit('.').next().unwrap_or(field);
        if !is_read(name) {
            report.add(
                CONFIGURATION,
                line,
                format!("lists {field}, which nothing reads"),
            );
        }
    }
}

/// The fields of the page's tables, with their lines.
fn listed(page: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_of_fields = false;
    for (number, line) in page.lines().enumerate() {
        let Some(row) = line.strip_prefix('|') else {
            is_of_fields = false;
            continue;
        };
        let cell = row.split('|').next().unwrap_or_default();
        is_of_fields |= cell.trim() == "field";
        if is_of_fields {
            // What stands between backticks.
            let names = cell.split('`').skip(1).step_by(2);
            found.extend(names.map(|name| (number + 1, name)));
        }
    }
    found
}

#[cfg(test)]
fn found(pages: &[(&str, &str)]) -> Vec<String> {
    let file = |(path, text): &(&str, &str)| File {
        path: (*path).to_owned(),
        text: (*text).to_owned(),
    };
    let files: Vec<File> = pages.iter().map(file).collect();
    let paths = files.iter().map(|file| file.path.clone()).collect();
    let tree = Tree {
        root: std::path::PathBuf::new(),
        files,
        paths,
    };
    let mut report = Report::default();
    check(&tree, &mut report);
    report.lines().to_vec()
}

#[test]
fn links_lead_to_files_and_headings_that_exist() {
    let page = (
        "docs/a.md",
        "# A\n\n## What it's for\n\n[up](../README.md#exit-codes) [me](#what-its-for)\n",
    );
    let readme = (
        "README.md",
        "# R\n\n## Exit codes\n\n[a](docs/a.md)\n\n[web](https://example.org)\n",
    );
    assert!(found(&[page, readme]).is_empty());
    let broken = (
        "docs/b.md",
        "# B\n\n[a](a.md#none)\n[c](c.md)\n\n```\n[d](d.md)\n```\n`[e](e.md)`\n",
    );
    let lines = found(&[page, readme, broken]);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].starts_with("docs/b.md:3: ") && lines[1].starts_with("docs/b.md:4: "));
}

#[test]
fn every_field_of_the_configuration_is_on_its_page() {
    let page = (
        "docs/configuration.md",
        "# C\n\n| `port` |\n| `auth.method` |\n",
    );
    let code = |text| ("router/src/config/fronts.rs", text);
    assert!(
        found(&[
            page,
            code("s.port(\"port\", 1);\na.choice(\"method\", 1);\n")
        ])
        .is_empty()
    );
    let lines = found(&[page, code("let a = 1;\ns.text(\"host\", 1);\n")]);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("router/src/config/fronts.rs:2: reads host"),
        "{lines:?}"
    );
}

#[test]
fn no_other_field_is_on_the_page_of_the_configuration() {
    let page = (
        "docs/configuration.md",
        "| variable |\n|---|\n| `LOG_LEVEL` |\n\n| field |\n|---|\n| `port` |\n| `a.old`, `host` |\n",
    );
    let code = "s.port(\"port\", 1);\ns.text(\"host\", 1);\n";
    let lines = found(&[page, ("platform/src/config.rs", code)]);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(
        lines[0].ends_with("lists a.old, which nothing reads"),
        "{lines:?}"
    );
}

#[test]
fn decisions_are_numbered_without_gaps() {
    let body = "## Context\n\n## Decision\n\n## Consequences\n";
    let text = |number: &str| format!("# {number}: A\n\n{body}");
    let (one, three) = (text("0001"), text("0003"));
    assert!(found(&[("docs/decisions/0001-a.md", &one)]).is_empty());
    let lines = found(&[
        ("docs/decisions/0001-a.md", &one),
        ("docs/decisions/0003-b.md", &three),
    ]);
    assert_eq!(lines.len(), 2, "{lines:?}");
}
