//! Reads out of a certificate when it ends. Nothing else of X.509 is understood here.

use rustls::pki_types::CertificateDer;

use super::subject::{SEQUENCE, element, fields_behind, of};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

const DAY: i64 = 24 * 60 * 60;

/// The last second at which the certificate is valid, since 1970; none where it cannot be read.
#[must_use]
pub fn not_after(certificate: &CertificateDer<'_>) -> Option<i64> {
    // Serial number, signature algorithm, issuer.
    let fields = fields_behind(3, certificate)?;
    let (validity, _) = of(SEQUENCE, fields)?;
    let (_, _, validity) = element(validity)?;
    let (tag, text, _) = element(validity)?;
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    match tag {
        GENERALIZED_TIME => {
            let (year, rest) = text.split_at_checked(4)?;
            seconds(year.parse().ok()?, rest)
        }
        UTC_TIME => {
            let (year, rest) = text.split_at_checked(2)?;
            let year: i64 = year.parse().ok()?;
            // RFC 5280, 4.1.2.5.1.
            seconds(if year < 50 { 2000 + year } else { 1900 + year }, rest)
        }
        _ => None,
    }
}

/// The seconds since 1970 of a moment whose month to second are five pairs of digits.
fn seconds(year: i64, pairs: &str) -> Option<i64> {
    let mut numbers = [0_i64; 5];
    let mut rest = pairs;
    for number in &mut numbers {
        let (pair, tail) = rest.split_at_checked(2)?;
        *number = pair.parse().ok()?;
        rest = tail;
    }
    let [month, day, hour, minute, second] = numbers;
    if !rest.is_empty() || !(1..=12).contains(&month) {
        return None;
    }
    // Years that begin in March have their leap day at their end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1;
    // From March of year 0 to 1970.
    let days = days - 719_468;
    Some(days * DAY + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_authority::{Authority, certificate};

    #[test]
    fn moments_are_counted_as_the_calendar_has_them() {
        assert_eq!(seconds(1970, "0101000000"), Some(0));
        assert_eq!(seconds(2000, "0301000000"), Some(951_868_800));
        assert_eq!(seconds(2026, "1121172033"), Some(1_795_281_633));
        assert_eq!(seconds(2049, "1231235959"), Some(2_524_607_999));
        assert_eq!(seconds(2026, "1321172033"), None);
        assert_eq!(seconds(2026, "11211720"), None);
    }

    #[test]
    fn the_end_of_a_certificate_is_what_openssl_says_it_is() {
        let authority = Authority::new();
        for (days, name) in [("1", "short"), ("36500", "long")] {
            let fixed = ["req", "-x509", "-nodes", "-config", "openssl.cnf"];
            let files = ["-out", "a.crt", "-keyout", "a.key", "-days", days];
            let named = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
            let subject = ["-subj", "/CN=a"];
            authority.openssl(&[&fixed[..], &named, &files, &subject].concat());
            let end = not_after(&certificate(&authority.path("a.crt"))).unwrap();
            let now = std::time::SystemTime::now();
            let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
            let wanted = i64::try_from(now).unwrap() + days.parse::<i64>().unwrap() * DAY;
            assert!((end - wanted).abs() < 60, "{name}: {end}, not {wanted}");
        }
    }

    #[test]
    fn a_certificate_that_ends_early_has_no_end() {
        let authority = Authority::new();
        authority.issue("alice");
        let whole = certificate(&authority.path("alice.crt"));
        assert!(not_after(&whole).is_some());
        for length in 0..60 {
            let cut = CertificateDer::from(whole.as_ref()[..length].to_vec());
            assert_eq!(not_after(&cut), None);
        }
    }
}
