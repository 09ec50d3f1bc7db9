//! What of the fronts goes on record: section `audit` of the file.

use std::time::Duration;

use platform::config::Section;

use crate::audit::Settings;

pub(super) fn read(root: &mut Section) -> Settings {
    let mut section = root.section("audit");
    let settings = Settings {
        logins: section.boolean("logins", true),
        repeat_interval: section.duration("repeat_interval", Duration::from_secs(600), false),
    };
    // Each of a bounded number of events is written once in that time.
    if settings.repeat_interval < SHORTEST {
        section.violation("repeat_interval", "must be 1s or more");
    }
    section.finish();
    settings
}

const SHORTEST: Duration = Duration::from_secs(1);
