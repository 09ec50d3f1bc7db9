//! Pure: the client's own deadline, the header `grpc-timeout`.

use std::time::Duration;

/// The time that the client gives: up to eight digits and a unit. What does not read so is taken
/// for no deadline.
pub(super) fn parse(header: &str) -> Option<Duration> {
    let (number, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if number.is_empty() || number.len() > 8 || !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_have_a_number_and_a_unit() {
        for (header, expected) in [
            ("100m", Some(Duration::from_millis(100))),
            ("2S", Some(Duration::from_secs(2))),
            ("99999999H", Some(Duration::from_secs(99_999_999 * 3_600))),
            ("", None),
            ("S", None),
            ("100", None),
            ("1s", None),
            ("-1S", None),
            ("123456789S", None),
            ("1\u{e9}", None),
        ] {
            assert_eq!(parse(header), expected, "{header:?}");
        }
    }
}
