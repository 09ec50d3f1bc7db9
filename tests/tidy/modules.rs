//! Which module of a program may use which, and that every file is part of its crate.

use crate::report::Report;
use crate::source::{line_of, words};
use crate::tree::{File, Tree};

/// A module, what it may not use, and why. Top first, as in ARCHITECTURE.md.
const LAYERS: &[(&str, &str, &[&str], &str)] = &[
    (
        "router",
        "exec",
        &["ingress", "app"],
        "runs what was decided, for every front alike",
    ),
    (
        "router",
        "session",
        &["ingress", "app"],
        "is one client, whoever accepted it",
    ),
    (
        "router",
        "console",
        &["exec", "session", "ingress", "app"],
        "is what an operator may do, whoever carries the messages",
    ),
    (
        "router",
        "route",
        &[
            "exec", "session", "pool", "ingress", "app", "view", "config",
        ],
        "is pure: what it decides by is handed in",
    ),
    (
        "router",
        "query",
        &[
            "route", "exec", "session", "pool", "ingress", "app", "view", "config",
        ],
        "is pure: it knows statements, not shards",
    ),
    (
        "router",
        "pool",
        &["exec", "session", "ingress", "app", "route", "query"],
        "knows backends",
    ),
    (
        "router",
        "auth",
        &["exec", "session", "ingress", "app"],
        "knows no session",
    ),
    (
        "router",
        "view",
        &["exec", "session", "ingress", "app"],
        "is what all of them route by",
    ),
    (
        "router",
        "config",
        &["exec", "session", "pool", "ingress", "app"],
        "is read before all else",
    ),
    (
        "manager",
        "config",
        &["app", "leader", "rest", "grpc"],
        "is read before all else",
    ),
];

/// The only ones that may see the module that sees all modules.
const SEE_APP: &[&str] = &["app", "lib", "main"];

pub(crate) fn check(tree: &Tree, report: &mut Report) {
    for (file, source) in tree.rust() {
        if let Some((name, module)) = module_of(&file.path) {
            for (offset, used) in uses(&source.code) {
                if let Some(reason) = refusal(name, module, &used) {
                    let line = line_of(&source.code, offset);
                    report.add(
                        &file.path,
                        line,
                        format!("{module} may not use {used}: {reason}"),
                    );
                }
            }
        }
        if !is_part_of_its_crate(tree, file) {
            report.add(
                &file.path,
                1,
                "is part of no crate: declare the module, or remove the file",
            );
        }
    }
}

/// Crate and top module of a source file.
fn module_of(path: &str) -> Option<(&str, &str)> {
    let (name, inside) = path.split_once("/src/")?;
    let module = inside.split(['/', '.']).next()?;
    Some((name, module))
}

fn refusal(name: &str, module: &str, used: &str) -> Option<String> {
    if used == "app" && !SEE_APP.contains(&module) {
        return Some("only main.rs and lib.rs see app".to_owned());
    }
    let row = LAYERS
        .iter()
        .find(|(each, of, _, _)| *each == name && *of == module);
    let (_, _, banned, reason) = row?;
    banned.contains(&used).then(|| format!("it {reason}"))
}

/// The top modules that code names through `crate::`, with their byte offsets.
fn uses(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for offset in words(code, "crate::") {
        let rest = &code[offset + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(listed(list).into_iter().map(|name| (offset, name))),
            None => found.push((offset, identifier(rest))),
        }
    }
    found
}

/// The first words of each item of a use list, up to the brace that closes it.
fn listed(list: &str) -> Vec<String> {
    let (mut depth, mut start, mut items) = (0_usize, 0, Vec::new());
    for (index, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                items.push(identifier(list[start..index].trim_start()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                items.push(identifier(list[start..index].trim_start()));
                start = index + 1;
            }
            _ => {}
        }
    }
    items
}

fn identifier(text: &str) -> String {
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// Whether the file above declares this one. A file that only holds its place is not asked.
fn is_part_of_its_crate(tree: &Tree, file: &File) -> bool {
    let Some((folder, inside)) = file.path.split_once("/src/") else {
        return true;
    };
    let is_root = matches!(inside, "lib.rs" | "main.rs");
    if is_root || file.is_stub() {
        return true;
    }
    let stem = inside.trim_end_matches(".rs");
    let program = inside
        .strip_prefix("bin/")
        .and_then(|rest| rest.split_once('/'));
    if program.is_some_and(|(_, file)| file == "main.rs") {
        return true;
    }
    let (above, name) = match stem.rsplit_once('/') {
        Some((above, name)) => (
            vec![
                format!("{folder}/src/{above}.rs"),
                format!("{folder}/src/{above}/main.rs"),
            ],
            name,
        ),
        None => (
            vec![
                format!("{folder}/src/lib.rs"),
                format!("{folder}/src/main.rs"),
            ],
            stem,
        ),
    };
    let declaration = format!("mod {name};");
    let parents = tree.files.iter().filter(|file| above.contains(&file.path));
    let mut parents = parents.map(|parent| &parent.text);
    parents.any(|text| text.lines().any(|line| line.ends_with(&declaration)))
}

#[test]
fn uses_are_found_in_paths_and_in_nested_lists() {
    let code = "use crate::pool;\nuse crate::{route::{Plan, Target}, query, error::Error};\n\
                fn a() { crate::exec::run() } mycrate::app";
    let names: Vec<String> = uses(code).into_iter().map(|(_, name)| name).collect();
    assert_eq!(names, ["pool", "route", "query", "error", "exec"]);
}

#[test]
fn a_lower_module_may_not_use_a_higher_one() {
    assert!(refusal("router", "query", "route").is_some());
    assert!(refusal("router", "route", "query").is_none());
    assert!(refusal("router", "session", "app").is_some());
    assert!(refusal("manager", "main", "app").is_none());
}

#[test]
fn a_file_that_no_module_declares_is_found() {
    let file = |path: &str, text: &str| File {
        path: path.to_owned(),
        text: text.to_owned(),
    };
    let files = vec![
        file("wire/src/lib.rs", "pub mod a;\n"),
        file("wire/src/a.rs", "//! A.\nmod b;\n"),
        file("wire/src/a/b.rs", "//! B.\n"),
        file("wire/src/a/c.rs", "//! C.\nfn c() {}\n"),
    ];
    let tree = Tree {
        root: std::path::PathBuf::new(),
        files,
        paths: Vec::new(),
    };
    let lost = tree
        .files
        .iter()
        .filter(|file| !is_part_of_its_crate(&tree, file));
    assert_eq!(
        lost.map(|file| file.path.as_str()).collect::<Vec<_>>(),
        ["wire/src/a/c.rs"]
    );
}
