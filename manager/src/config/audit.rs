//! How much of the audit log is kept: section `audit` of the file.

use std::time::Duration;

use platform::config::Section;

use crate::audit::{Retention, Rotation};

/// What is kept in the store and on disk.
#[derive(Debug, Clone, Copy)]
pub struct Audit {
    /// Of the entries in etcd.
    pub retention: Retention,
    /// Of the files beside `security.audit_log_path`.
    pub rotation: Rotation,
}

impl Audit {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    pub(super) fn read(root: &mut Section) -> Self {
        let mut section = root.section("audit");
        let mut kept = section.section("retention");
        let retention = Retention {
            entries: kept.number("entries", 100_000, 10, 10_000_000),
            age: Self::DAY * kept.count("days", 365, 1, 3_650),
            interval: kept.duration("interval", Duration::from_secs(600), false),
        };
        kept.finish();
        let mut file = section.section("file");
        let rotation = Rotation {
            max_bytes: file.size("max_size", 100 << 20),
            keep: file.count("keep", 10, 0, 1_000),
        };
        file.finish();
        section.finish();
        Self {
            retention,
            rotation,
        }
    }
}
