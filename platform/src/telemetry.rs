//! Logs: one line an event on standard output, as JSON for a collector or as text for a person,
//! with a level that can be changed while the process runs.

use std::error::Error as StdError;
use std::fmt;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::writer::{BoxMakeWriter, MakeWriterExt as _};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

mod file;
pub mod level;

use file::LogFile;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Text for a person.
    Text,
    /// Text when standard output is a terminal, else JSON.
    #[default]
    Auto,
}

impl Format {
    /// The words of a configuration.
    pub const WORDS: [(&str, Self); 3] = [
        ("auto", Self::Auto),
        ("json", Self::Json),
        ("text", Self::Text),
    ];

    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Text => "text",
            Self::Auto => "auto",
        }
    }
}

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// A level such as `info`, or directives such as `info,router::pool=debug`.
    pub level: String,
    /// How events are written.
    pub format: Format,
    /// A file that they are written to beside standard output.
    pub file: Option<PathBuf>,
}

impl Config {
    /// As a program's configuration says.
    #[must_use]
    pub fn new(level: &str, format: Format, file: Option<&str>) -> Self {
        Self {
            level: level.to_owned(),
            format,
            file: file.map(PathBuf::from),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: Format::Auto,
            file: None,
        }
    }
}

/// What can be wrong with logging.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The level is neither a level nor a list of directives.
    #[error(
        "log level {given:?} is none of off, error, warn, info, debug, trace, \
         nor directives such as \"info,module=debug\""
    )]
    UnknownLevel {
        /// The text that was given.
        given: String,
    },
    /// The file cannot be written.
    #[error("log file {path:?} cannot be written: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// Logging was begun before in this process.
    #[error("logging is set up already")]
    AlreadySetUp,
    /// The subscriber that the handle belongs to is gone.
    #[error("logging has ended")]
    Ended,
}

/// Changes the level of a running process.
#[derive(Clone)]
pub struct Handle {
    filter: reload::Handle<EnvFilter, Registry>,
    level: Arc<Mutex<String>>,
    file: Option<LogFile>,
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("telemetry::Handle")
    }
}

impl Handle {
    /// Logs from now on at `level`, in the form of [`Config::level`].
    ///
    /// # Errors
    /// [`Error::UnknownLevel`], and then nothing changes.
    pub fn set_level(&self, level: &str) -> Result<(), Error> {
        let wanted = filter(level)?;
        self.filter.reload(wanted).map_err(|_| Error::Ended)?;
        level.clone_into(&mut self.level.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }

    /// The level that is logged at.
    #[must_use]
    pub fn level(&self) -> String {
        self.level
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Goes on in the file that has the log's name now, after it was rotated.
    pub fn reopen(&self) {
        if let Some(file) = &self.file
            && let Err(error) = file.reopen()
        {
            tracing::error!(%error, "log file not opened anew, going on in the old one");
        }
    }
}

/// Begins to log. Panics are logged as well, so that a collector sees them.
///
/// # Errors
/// An unknown level, or a second call in one process.
pub fn init(config: &Config) -> Result<Handle, Error> {
    let (filter, reload) = reload::Layer::new(filter(&config.level)?);
    let file = config.file.clone().map(|path| {
        LogFile::open(path.clone()).map_err(|error| Error::File {
            path,
            reason: error.to_string(),
        })
    });
    let file = file.transpose()?;
    let writer = match &file {
        None => BoxMakeWriter::new(std::io::stdout),
        Some(file) => BoxMakeWriter::new(std::io::stdout.and(file.clone())),
    };
    let terminal = std::io::stdout().is_terminal();
    let text = match config.format {
        Format::Json => false,
        Format::Text => true,
        Format::Auto => terminal,
    };
    // A closed standard output must not turn into writes to standard error, event by event.
    let events = tracing_subscriber::fmt::layer()
        .log_internal_errors(false)
        .with_writer(writer);
    let events = if text {
        let colours = terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        events.with_ansi(colours).boxed()
    } else {
        events
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    };
    let subscriber = Registry::default().with(filter).with(events);
    subscriber.try_init().map_err(|_| Error::AlreadySetUp)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Handle {
        filter: reload,
        level: Arc::new(Mutex::new(config.level.clone())),
        file,
    })
}

/// Whether a text is a level or a list of directives, for checking a configuration.
///
/// # Errors
/// [`Error::UnknownLevel`].
pub fn check_level(level: &str) -> Result<(), Error> {
    filter(level).map(drop)
}

fn filter(level: &str) -> Result<EnvFilter, Error> {
    let unknown = || Error::UnknownLevel {
        given: level.to_owned(),
    };
    // `EnvFilter` takes a bare word for a module to be traced, so that "inof" would silence all
    // else: without a sign of a directive a part must be a level.
    let is_plausible = |part: &str| part.contains(['=', '[']) || is_level(part);
    let parts: Vec<&str> = level.split(',').map(str::trim).collect();
    if !parts.iter().copied().all(is_plausible) {
        return Err(unknown());
    }
    let directives = parts.join(",");
    EnvFilter::builder()
        .parse(directives)
        .map_err(|_| unknown())
}

fn is_level(word: &str) -> bool {
    let levels = ["off", "error", "warn", "info", "debug", "trace"];
    levels.iter().any(|level| level.eq_ignore_ascii_case(word))
}

fn log_panic(info: &std::panic::PanicHookInfo<'_>) {
    let message = info.payload_as_str().unwrap_or("(no text)");
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    tracing::error!(error = message, location, "panicked");
}

/// An error and its sources in one line, for the `error` field of an event.
#[must_use]
pub fn error_chain(error: &dyn StdError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        // Some libraries print their source themselves.
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests;
