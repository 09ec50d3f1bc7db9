//! Named places at which a test has the process die. Without the feature `failpoints`, which no
//! release has, there is nothing of it.

/// Dies here if this is the moment of this step, such as `before:fence`, that is wanted: by
/// `SHARDING_FAILPOINT`, or by the first line of the file that `SHARDING_FAILPOINT_FILE` names. That
/// line is removed before, so that the next process dies at the next one, and at last none.
#[cfg(feature = "failpoints")]
pub(super) fn pass(moment: &str, step: &str) {
    let is_here = |wanted: &str| wanted.split_once(':') == Some((moment, step));
    let wanted = std::env::var("SHARDING_FAILPOINT").unwrap_or_default();
    if is_here(&wanted) || is_first_in_file(is_here) {
        tracing::warn!(moment, step, "dying at a failpoint");
        std::process::abort();
    }
}

#[cfg(feature = "failpoints")]
fn is_first_in_file(is_here: impl Fn(&str) -> bool) -> bool {
    let Ok(file) = std::env::var("SHARDING_FAILPOINT_FILE") else {
        return false;
    };
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    is_here(first) && std::fs::write(&file, rest).is_ok()
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
pub(super) fn pass(_moment: &str, _step: &str) {}
