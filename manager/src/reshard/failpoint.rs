//! Named places at which a test has the process die. Without the feature `failpoints`, which no
//! release has, there is nothing of it.

/// Dies here if `SHARDING_FAILPOINT` is this moment of this step, such as `before:fence`.
#[cfg(feature = "failpoints")]
pub(super) fn pass(moment: &str, step: &str) {
    let wanted = std::env::var("SHARDING_FAILPOINT").unwrap_or_default();
    if wanted.split_once(':') == Some((moment, step)) {
        tracing::warn!(moment, step, "dying at a failpoint");
        std::process::abort();
    }
}

/// Nothing.
#[cfg(not(feature = "failpoints"))]
pub(super) fn pass(_moment: &str, _step: &str) {}
