//! What one client may ask of the APIs: section `limits` of the file.

use platform::config::Section;
use platform::rates::{Limits, Rate};

/// Most requests a second and most of a burst that can be configured.
const MAX: u32 = 1_000_000;

pub(super) fn read(root: &mut Section) -> Limits {
    let mut section = root.section("limits");
    let requests = Rate {
        per_second: section.count("requests_per_second", 100, 0, MAX),
        burst: section.count("request_burst", 500, 1, MAX),
    };
    let rejections = Rate {
        per_second: section.count("rejections_per_second", 1, 0, MAX),
        burst: section.count("rejection_burst", 20, 1, MAX),
    };
    section.finish();
    Limits {
        requests,
        rejections,
    }
}
