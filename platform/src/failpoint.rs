//! Named places at which a test has the process die or freeze. Without the feature `failpoints`,
//! which no release has, there is nothing of it.

/// Dies here if this is the moment of this step, such as `before:fence`, that is wanted: by
/// `SHARDING_FAILPOINT`, or by the first line of the file that `SHARDING_FAILPOINT_FILE` names. That
/// line is removed before, so that the next process dies at the next one, and at last none.
/// `freeze before:fence` stops the process there until it is told to continue.
#[cfg(feature = "failpoints")]
pub fn pass(moment: &str, step: &str) {
    let wanted = std::env::var("SHARDING_FAILPOINT").unwrap_or_default();
    let (first, file, rest) = first_in_file().unwrap_or_default();
    if is_here(&first, moment, step) {
        // Whoever cannot take the line away would die here for ever.
        if std::fs::write(file, rest).is_err() {
            return;
        }
    } else if !is_here(&wanted, moment, step) {
        return;
    }
    tracing::warn!(moment, step, "at a failpoint");
    if first.starts_with(FREEZE) || wanted.starts_with(FREEZE) {
        let id = std::process::id().to_string();
        let mut stop = std::process::Command::new("kill");
        drop(stop.args(["-s", "STOP", &id]).status());
        // The signal is for the process: this thread may run on until another one has taken it.
        drop(std::process::Command::new("sleep").arg("0.5").status());
    } else {
        std::process::abort();
    }
}

#[cfg(feature = "failpoints")]
const FREEZE: &str = "freeze ";

#[cfg(feature = "failpoints")]
fn is_here(wanted: &str, moment: &str, step: &str) -> bool {
    let place = wanted.strip_prefix(FREEZE).unwrap_or(wanted);
    place.split_once(':') == Some((moment, step))
}

/// The first line, the file and its other lines.
#[cfg(feature = "failpoints")]
fn first_in_file() -> Option<(String, String, String)> {
    let file = std::env::var("SHARDING_FAILPOINT_FILE").ok()?;
    let text = std::fs::read_to_string(&file).ok()?;
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    Some((first.to_owned(), file.clone(), rest.to_owned()))
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
pub fn pass(_moment: &str, _step: &str) {}
