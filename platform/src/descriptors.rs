//! How many files and sockets the process may have open. Many systems begin with a limit of 1,024,
//! which one stranger could use up, and allow far more to whoever asks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to the highest that the process may have; gives what it is then, none where
/// there is no limit.
#[must_use]
pub fn raise() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return limit.current;
    }
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            tracing::warn!(%error, "the limit of open files cannot be raised");
            limit.current
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_the_highest_afterwards() {
        let now = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((now, limit.current), (limit.maximum, limit.maximum));
    }
}
