//! Percent-escapes of RFC 3986: the text form of names that may hold anything, in etcd keys and
//! in endpoints.

/// Everything but RFC 3986's unreserved characters as `%XX`, so that no two texts are written
/// alike and no part of a path holds a slash.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The text in which some characters may be escaped; none when a `%` begins no escape or the
/// result is not UTF-8.
pub(crate) fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{escape, unescape};

    proptest! {
        #[test]
        fn what_is_escaped_is_read_back_and_has_no_slash(text in any::<String>()) {
            let escaped = escape(&text);
            prop_assert!(!escaped.contains('/'));
            prop_assert_eq!(unescape(&escaped), Some(text));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[%0-9a-fA-F\\PC]{0,20}") {
            if let Some(read) = unescape(&text) {
                prop_assert_eq!(unescape(&escape(&read)), Some(read));
            }
        }
    }
}
