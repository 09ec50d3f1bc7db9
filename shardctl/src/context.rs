//! The file with named contexts: where managers are, how they are reached, and the token of the
//! last login. What is given by flag or environment comes first; the file is for its owner alone.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::args::{Global, Output};
use crate::error::Error;
use crate::near;
use crate::renewal::Tokens;

/// Where the managers are when nothing says it.
const DEFAULT_MANAGER: &str = "http://127.0.0.1:50052";

/// Longer than any file that a person keeps.
const MAX_BYTES: u64 = 1 << 20;

/// What one context says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// As `--manager`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manager: Vec<String>,
    /// As `--metrics`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<String>,
    /// As `--output`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Output>,
    /// As `--timeout`, e.g. `1m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// As `--ca`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
    /// As `--cert`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert: Option<PathBuf>,
    /// As `--key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// As `--token-file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// What `login` kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// What gives the next token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refresh_token: Option<String>,
    /// When the token ends, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ends_at: Option<u64>,
}

/// The file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contexts {
    /// The context that holds when none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// All of them by name.
    #[serde(default)]
    pub contexts: BTreeMap<String, Context>,
}

fn bad<E: std::fmt::Display>(path: &Path) -> impl Fn(E) -> Error {
    move |error| Error::BadConfig {
        path: path.display().to_string(),
        reason: error.to_string(),
    }
}

/// `$SHARDCTL_CONFIG`, else `sharding/config.json` in `$XDG_CONFIG_HOME` or `~/.config`.
#[must_use]
pub fn path() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = variable("SHARDCTL_CONFIG") {
        return Some(path.into());
    }
    let home = || variable("HOME").map(|home| Path::new(&home).join(".config"));
    let folder = variable("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(home)?;
    Some(folder.join("sharding").join("config.json"))
}

impl Contexts {
    /// What the file says; nothing where there is none.
    ///
    /// # Errors
    /// When it is not readable, or holds tokens that others can read.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(bad(path)(error)),
        };
        let mode = file.metadata().map_err(bad(path))?.permissions().mode();
        let mut text = String::new();
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(bad(path))?;
        let read: Self = serde_json::from_str(&text).map_err(bad(path))?;
        let mut contexts = read.contexts.values();
        let holds_token = contexts.any(|it| it.token.is_some() || it.refresh_token.is_some());
        if holds_token && mode & 0o077 != 0 {
            return Err(bad(path)("it holds tokens, and others can read it"));
        }
        Ok(read)
    }

    /// Writes the file anew, for its owner alone.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let write = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let beside = path.with_extension(format!("json.{}", std::process::id()));
            let mut options = OpenOptions::new();
            let options = options.write(true).create_new(true).mode(0o600);
            let mut file = options.open(&beside)?;
            let mut text = serde_json::to_string_pretty(self)?;
            text.push('\n');
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::rename(&beside, path)
        };
        write().map_err(bad(path))
    }

    /// A context by its name.
    ///
    /// # Errors
    /// When there is none of it.
    pub fn find(&self, name: &str) -> Result<&Context, Error> {
        self.contexts.get(name).ok_or_else(|| self.unknown(name))
    }

    /// That there is none of this name.
    #[must_use]
    pub fn unknown(&self, name: &str) -> Error {
        let names = self.contexts.keys().map(String::as_str);
        Error::NoContext {
            name: name.to_owned(),
            meant: near::nearest(name, names).map(str::to_owned),
        }
    }
}

/// Which context is in force, and where it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The context's name.
    pub name: String,
    /// The tokens that it keeps, where nothing else says which token to send.
    pub tokens: Option<Tokens>,
}

/// Fills in what neither a flag nor the environment says: from the context, then with what holds
/// by itself. Gives the context, if there is one.
///
/// # Errors
/// When the file is not readable, or there is no such context.
pub fn settle(global: &mut Global) -> Result<Option<Place>, Error> {
    let path = path();
    let all = path.as_deref().map(Contexts::load).transpose()?;
    let all = all.unwrap_or_default();
    let named = global.context.clone().filter(|name| !name.is_empty());
    let name = named.or_else(|| all.current.clone());
    let is_given = global.token.is_some() || global.token_file.is_some();
    let mut tokens = None;
    if let Some(name) = &name {
        let context = all.find(name)?;
        fill(global, context)?;
        if !is_given && context.token_file.is_none() {
            tokens = Tokens::of(context);
        }
    }
    if global.manager.is_empty() {
        global.manager.push(DEFAULT_MANAGER.to_owned());
    }
    Ok(path
        .zip(name)
        .map(|(path, name)| Place { path, name, tokens }))
}

fn fill(global: &mut Global, context: &Context) -> Result<(), Error> {
    if global.manager.is_empty() {
        global.manager.clone_from(&context.manager);
    }
    if global.metrics.is_empty() {
        global.metrics.clone_from(&context.metrics);
    }
    global.output = global.output.or(context.output);
    if let (None, Some(timeout)) = (global.timeout, &context.timeout) {
        global.timeout = Some(time(timeout)?);
    }
    let or = |given: &mut Option<PathBuf>, kept: &Option<PathBuf>| {
        if given.is_none() {
            given.clone_from(kept);
        }
    };
    or(&mut global.ca, &context.ca);
    // A certificate goes with its own key.
    if global.cert.is_none() && global.key.is_none() {
        or(&mut global.cert, &context.cert);
        or(&mut global.key, &context.key);
    }
    if global.token.is_none() && global.token_file.is_none() {
        global.token_file.clone_from(&context.token_file);
        if context.token_file.is_none() {
            global.token.clone_from(&context.token);
        }
    }
    Ok(())
}

fn time(text: &str) -> Result<Duration, Error> {
    humantime::parse_duration(text).map_err(bad(Path::new("timeout of the context")))
}

impl From<&Global> for Context {
    /// What was given; a token is kept by `login` alone.
    fn from(global: &Global) -> Self {
        let timeout = global.timeout.map(humantime::format_duration);
        Self {
            manager: global.manager.clone(),
            metrics: global.metrics.clone(),
            output: global.output,
            timeout: timeout.map(|timeout| timeout.to_string()),
            ca: global.ca.clone(),
            cert: global.cert.clone(),
            key: global.key.clone(),
            token_file: global.token_file.clone(),
            token: None,
            refresh_token: None,
            token_ends_at: None,
        }
    }
}

/// Keeps tokens in a context, or forgets them.
///
/// # Errors
/// When the file cannot be written.
pub fn keep_tokens(place: &Place, tokens: Option<&Tokens>) -> Result<(), Error> {
    let mut all = Contexts::load(&place.path)?;
    let unknown = all.unknown(&place.name);
    let context = all.contexts.get_mut(&place.name).ok_or(unknown)?;
    context.token = tokens.map(|tokens| tokens.access.clone());
    context.refresh_token = tokens.map(|tokens| tokens.refresh.clone());
    context.token_ends_at = tokens.map(|tokens| tokens.ends_at);
    all.save(&place.path)
}

#[cfg(test)]
mod tests;
