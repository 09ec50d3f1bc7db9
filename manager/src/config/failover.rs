//! How replicas become primaries.

use std::time::Duration;

use platform::config::Section;

use crate::failover::Settings;
use crate::failover::auto::Policy;

pub(super) fn read(root: &mut Section) -> Settings {
    let mut section = root.section("failover");
    let seconds = Duration::from_secs;
    let automatic = section.boolean("automatic", false);
    let policy = Policy {
        failures: section.count("failures", 3, 1, 1_000),
        after: section.duration("after", seconds(15), true),
        max_lag: section.size("max_lag", 16 << 20),
        cool_down: section.duration("cool_down", seconds(600), true),
        unreachable_is_down: section.boolean("unreachable_is_down", false),
    };
    let fence_command = section.texts("fence_command", &[]);
    if automatic && fence_command.is_empty() && !policy.unreachable_is_down {
        section.violation(
            "automatic",
            "needs fence_command, which stops a primary that cannot be reached, or \
             unreachable_is_down",
        );
    }
    let settings = Settings {
        fence_command,
        fence_timeout: section.duration("fence_timeout", seconds(30), false),
        catch_up: section.duration("catch_up", seconds(10), false),
        automatic: automatic.then_some(policy),
    };
    section.finish();
    settings
}
