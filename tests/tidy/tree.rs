//! The repository's files, read once.

use std::path::{Path, PathBuf};

use crate::source::Source;

/// Folders that are built, fetched or left by a run: .gitignore names them too.
const SKIPPED: &[&str] = &[".git", "target", ".demo", "__pycache__"];

/// Files that hold text in which every rule about text applies.
const TEXT: &[&str] = &[
    "rs", "md", "toml", "json", "sh", "proto", "sql", "yml", "yaml", "txt", "py",
];

/// A file of text.
#[derive(Debug)]
pub(crate) struct File {
    /// From the repository's root, with forward slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All of them, sorted by path.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) root: PathBuf,
    pub(crate) files: Vec<File>,
    /// Every path, those of binary files and folders included.
    pub(crate) paths: Vec<String>,
}

impl Tree {
    /// Reads the repository that this crate is part of.
    pub(crate) fn read() -> Self {
        // Cargo sets it at run time too, so that a built test can look at another checkout.
        let crate_folder = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = crate_folder
            .parent()
            .expect("the crate lies in the workspace")
            .to_owned();
        let mut tree = Self {
            root: root.clone(),
            files: Vec::new(),
            paths: Vec::new(),
        };
        tree.walk(&root);
        tree.files.sort_by(|a, b| a.path.cmp(&b.path));
        tree.paths.sort();
        tree
    }

    fn walk(&mut self, folder: &Path) {
        let entries = std::fs::read_dir(folder).expect("the repository's folders are readable");
        for entry in entries {
            let path = entry.expect("a folder's entries are readable").path();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if SKIPPED.contains(&name) || is_log(&path) {
                continue;
            }
            let relative = path
                .strip_prefix(&self.root)
                .expect("the walk stays below the root");
            let relative = relative.to_string_lossy().replace('\\', "/");
            self.paths.push(relative.clone());
            if path.is_dir() {
                self.walk(&path);
            } else if let Some(text) = text_of(&path) {
                self.files.push(File {
                    path: relative,
                    text,
                });
            }
        }
    }

    /// The Rust files, taken apart.
    pub(crate) fn rust(&self) -> impl Iterator<Item = (&File, Source)> {
        let is_rust = |file: &&File| file.has_extension("rs");
        self.files
            .iter()
            .filter(is_rust)
            .map(|file| (file, Source::new(&file.text)))
    }
}

impl File {
    pub(crate) fn has_extension(&self, extension: &str) -> bool {
        Path::new(&self.path)
            .extension()
            .is_some_and(|found| found == extension)
    }

    /// The last part of the path.
    pub(crate) fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// Whether it only holds its place for what is to be written.
    pub(crate) fn is_stub(&self) -> bool {
        self.text.trim().lines().count() <= 1
    }

    /// Whether all of it is test code.
    pub(crate) fn is_test(&self) -> bool {
        let is_test = |part: &str| matches!(part, "tests" | "tests.rs" | "benches");
        self.path.split('/').any(is_test)
    }

    /// Bytes that are compared as they are.
    pub(crate) fn is_golden(&self) -> bool {
        self.path.split('/').any(|part| part == "testdata")
    }
}

fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "log")
}

fn text_of(path: &Path) -> Option<String> {
    let known = path
        .extension()
        .is_none_or(|extension| TEXT.iter().any(|text| extension == *text));
    known.then(|| std::fs::read_to_string(path).ok()).flatten()
}
