//! Why there is nothing to be had of a portal.

use crate::route::Refusal;

/// Of one that is not there.
pub(super) fn no_portal(name: &[u8]) -> Refusal {
    let message = format!(
        "portal \"{}\" does not exist",
        String::from_utf8_lossy(name)
    );
    Refusal {
        sqlstate: "34000",
        message,
        hint: None,
    }
}

/// Of one that was executed.
pub(super) fn spent(name: &[u8]) -> Refusal {
    let message = format!("portal \"{}\" cannot be run", String::from_utf8_lossy(name));
    Refusal {
        sqlstate: "55000",
        message,
        hint: None,
    }
}
