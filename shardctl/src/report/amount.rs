//! Pure: numbers as people read them.

use std::time::Duration;

use crate::grid::NONE;

/// With commas between the thousands.
#[must_use]
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 2);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In the unit that leaves few digits.
#[must_use]
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    let (mut tenths, mut unit) = (u128::from(number) * 10 / 1024, "KiB");
    for next in UNITS.into_iter().skip(1) {
        if tenths < 10_240 {
            break;
        }
        (tenths, unit) = (tenths / 1024, next);
    }
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// A part of 1.0, without decimals.
#[must_use]
pub(super) fn percent(part: f64) -> String {
    // Done is what is done: 99.9 % are not all.
    let part = (part.clamp(0.0, 1.0) * 100.0).floor();
    format!("{part:.0}%")
}

/// Whole seconds; none as [`NONE`].
#[must_use]
pub(super) fn seconds(seconds: Option<f64>) -> String {
    let Some(seconds) = seconds else {
        return NONE.to_owned();
    };
    if seconds < 1.0 {
        return "<1s".to_owned();
    }
    let time = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    humantime::format_duration(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(3 << 30), "3.0 GiB");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(percent(0.999), "99%");
        assert_eq!(seconds(Some(0.2)), "<1s");
        assert_eq!(seconds(Some(61.4)), "1m 1s");
        assert_eq!(seconds(None), "-");
    }
}
