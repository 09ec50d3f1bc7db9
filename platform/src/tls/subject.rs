//! Reads the common name out of a certificate that a handshake has verified already. Nothing else
//! of X.509 is understood here.

use rustls::pki_types::CertificateDer;

pub(super) const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
/// The explicit tag of the version, which certificates of version 1 leave out.
const VERSION: u8 = 0xa0;

/// 2.5.4.3.
const COMMON_NAME: [u8; 3] = [0x55, 0x04, 0x03];

/// The subject's common name; none where it has no such name, several of them, or one that is not
/// text.
#[must_use]
pub fn common_name(certificate: &CertificateDer<'_>) -> Option<String> {
    // Serial number, signature algorithm, issuer, validity.
    let fields = fields_behind(4, certificate)?;
    let (mut subject, _) = of(SEQUENCE, fields)?;
    let mut found = None;
    while !subject.is_empty() {
        let (mut set, rest) = of(SET, subject)?;
        subject = rest;
        while !set.is_empty() {
            let (attribute, rest) = of(SEQUENCE, set)?;
            set = rest;
            let (id, value) = of(OBJECT_ID, attribute)?;
            if id == COMMON_NAME && found.replace(text(value)?).is_some() {
                return None;
            }
        }
    }
    found
}

/// What follows the version, if there is one, and so many fields more.
pub(super) fn fields_behind<'a>(
    count: usize,
    certificate: &'a CertificateDer<'_>,
) -> Option<&'a [u8]> {
    let (whole, _) = of(SEQUENCE, certificate.as_ref())?;
    let (mut fields, _) = of(SEQUENCE, whole)?;
    if let Some((_, rest)) = of(VERSION, fields) {
        fields = rest;
    }
    for _ in 0..count {
        (_, _, fields) = element(fields)?;
    }
    Some(fields)
}

fn text(value: &[u8]) -> Option<String> {
    let (tag, text, _) = element(value)?;
    let is_text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
    let text = std::str::from_utf8(text).ok().filter(|_| is_text)?;
    // A name such as "alice\0.example" must not pass for a shorter one anywhere.
    (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
}

/// The contents of the first element, if it has this tag, and what follows it.
pub(super) fn of(wanted: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (tag, contents, rest) = element(bytes)?;
    (tag == wanted).then_some((contents, rest))
}

/// Tag, contents, and what follows; lengths as DER has them, of up to four bytes.
pub(super) fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x84 => {
            let (long, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = long.iter().fold(0, |sum, &b| (sum << 8) | usize::from(b));
            (length, rest)
        }
        _ => return None,
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_authority::{Authority, certificate};

    fn name_of(subject: &str) -> Option<String> {
        let authority = Authority::new();
        let signer = ["-CA", "ca.crt", "-CAkey", "ca.key"];
        let fixed = ["req", "-x509", "-nodes", "-config", "openssl.cnf", "-utf8"];
        let named = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
        let files = ["-subj", subject, "-out", "a.crt", "-keyout", "a.key"];
        authority.openssl(&[&fixed[..], &named, &files, &signer].concat());
        common_name(&certificate(&authority.path("a.crt")))
    }

    #[test]
    fn the_common_name_is_found_among_other_names() {
        assert_eq!(name_of("/CN=alice").as_deref(), Some("alice"));
        let long = format!("/C=DE/O={}/CN=Zoë Müller/OU=x", "o".repeat(60));
        assert_eq!(name_of(&long).as_deref(), Some("Zoë Müller"));
    }

    #[test]
    fn no_name_and_two_names_are_none() {
        assert_eq!(name_of("/O=nobody"), None);
        assert_eq!(name_of("/CN=alice/CN=bob"), None);
    }

    #[test]
    fn a_certificate_that_ends_early_has_no_name() {
        let authority = Authority::new();
        authority.issue("alice");
        let whole = certificate(&authority.path("alice.crt"));
        assert_eq!(common_name(&whole).as_deref(), Some("alice"));
        for length in 0..100 {
            let cut = CertificateDer::from(whole.as_ref()[..length].to_vec());
            assert_eq!(common_name(&cut), None);
        }
    }
}
