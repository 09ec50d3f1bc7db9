//! Pure: PostgreSQL's ISO style of times turned into ISO 8601, as programs read it.
//!
//! What ISO 8601 cannot say (`infinity`, years before Christ) stays as PostgreSQL writes it.

use std::borrow::Cow;

/// `2024-01-02 03:04:05.6` → `2024-01-02T03:04:05.6`.
#[must_use]
pub fn timestamp(text: &str) -> Cow<'_, str> {
    match text.split_once(' ') {
        Some((date, time)) if !text.ends_with(" BC") => Cow::Owned(format!("{date}T{time}")),
        Some(_) | None => Cow::Borrowed(text),
    }
}

/// As [`timestamp`], with the offset as hours and minutes: `+00` → `+00:00`.
#[must_use]
pub fn timestamp_tz(text: &str) -> Cow<'_, str> {
    match timestamp(text) {
        Cow::Borrowed(text) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(time_tz(&text).into_owned()),
    }
}

/// `03:04:05+00` → `03:04:05+00:00`. Offsets that have minutes already are left as they are.
#[must_use]
pub fn time_tz(text: &str) -> Cow<'_, str> {
    match text.rsplit_once(['+', '-']) {
        Some((_, hours)) if hours.len() == 2 => Cow::Owned(format!("{text}:00")),
        Some(_) | None => Cow::Borrowed(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_iso_8601() {
        for (from, to) in [
            ("2024-01-02 03:04:05+00", "2024-01-02T03:04:05+00:00"),
            (
                "2024-01-02 03:04:05.678901-08",
                "2024-01-02T03:04:05.678901-08:00",
            ),
            ("2024-01-02 03:04:05+05:30", "2024-01-02T03:04:05+05:30"),
            (
                "1880-01-02 03:04:05+00:53:28",
                "1880-01-02T03:04:05+00:53:28",
            ),
            ("12024-01-02 03:04:05+00", "12024-01-02T03:04:05+00:00"),
            ("0044-03-15 00:00:00+00 BC", "0044-03-15 00:00:00+00 BC"),
            ("infinity", "infinity"),
            ("-infinity", "-infinity"),
        ] {
            assert_eq!(timestamp_tz(from), to);
        }
        assert_eq!(timestamp("2024-01-02 03:04:05"), "2024-01-02T03:04:05");
        assert_eq!(timestamp("-infinity"), "-infinity");
        assert_eq!(time_tz("03:04:05.5-07"), "03:04:05.5-07:00");
        assert_eq!(time_tz("03:04:05+05:45"), "03:04:05+05:45");
    }
}
