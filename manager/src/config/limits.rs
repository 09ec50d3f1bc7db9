//! What one client may ask of the APIs unless section `limits` of the file says otherwise.

use platform::rates::{Limits, Rate};

pub(super) const DEFAULTS: Limits = Limits {
    requests: Rate {
        per_second: 100,
        burst: 500,
    },
    rejections: Rate {
        per_second: 1,
        burst: 20,
    },
    door: Rate {
        per_second: 1,
        burst: 20,
    },
    at_a_time: 1_024,
};
