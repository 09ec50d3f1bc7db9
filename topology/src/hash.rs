//! The one hash of the system: murmur3 x86_32, seed 0, over a key's canonical bytes.
//!
//! The golden vectors in `testdata/` hold this and every other form of it, such as one in SQL, to
//! the same tokens.

use crate::{Key, Token};

/// The token of raw canonical bytes.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> Token {
    let mut reader = bytes;
    let hash = murmur3::murmur3_32(&mut reader, 0);
    Token(hash.expect("reading from a byte slice cannot end in an error"))
}

/// The token of a key.
#[must_use]
pub fn token_of(key: &Key<'_>) -> Token {
    match key {
        Key::Bigint(value) => hash_bytes(&value.to_le_bytes()),
        Key::Text(text) => hash_bytes(text.as_bytes()),
        Key::Uuid(bytes) => hash_bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::token_of;
    use crate::{Key, KeyType};

    /// Lines of `<token> <key>`; the key as it is typed in SQL, a text as a JSON string.
    fn check(key_type: KeyType, vectors: &str, wanted: usize) {
        let lines = vectors.lines().filter(|line| !line.starts_with('#'));
        let mut count = 0;
        for line in lines {
            let (token, key) = line.split_once(' ').unwrap();
            let key = if key_type == KeyType::Text {
                serde_json::from_str(key).unwrap()
            } else {
                key.to_owned()
            };
            let found = token_of(&Key::from_text(key_type, key.as_bytes()).unwrap());
            assert_eq!(found.to_string(), token, "{key_type} {key:?}");
            count += 1;
        }
        assert_eq!(count, wanted, "vectors of {key_type}");
    }

    #[test]
    fn bigint_keys_agree_with_the_golden_vectors() {
        check(KeyType::Bigint, include_str!("../testdata/bigint.txt"), 241);
    }

    #[test]
    fn text_keys_agree_with_the_golden_vectors() {
        check(KeyType::Text, include_str!("../testdata/text.txt"), 152);
    }

    #[test]
    fn uuid_keys_agree_with_the_golden_vectors() {
        check(KeyType::Uuid, include_str!("../testdata/uuid.txt"), 102);
    }
}
