//! The one hash of the system: murmur3 x86_32, seed 0, over a key's canonical bytes.
//!
//! Written for a slice in memory: the implementation on crates.io reads from `io::Read`, which
//! takes several times as long. The golden vectors in `testdata/` hold this and every other form
//! of it, such as one in SQL, to the same tokens.

use crate::{Key, Token};

/// The token of raw canonical bytes.
#[must_use]
pub fn hash_bytes(bytes: &[u8]) -> Token {
    let (blocks, tail) = bytes.as_chunks::<4>();
    let mut hash = 0_u32;
    for block in blocks {
        hash ^= scramble(*block);
        hash = hash
            .rotate_left(13)
            .wrapping_mul(5)
            .wrapping_add(0xe654_6b64);
    }
    // Up to three bytes are left; none of them scramble to zero, which changes nothing.
    let mut last = [0; 4];
    for (place, byte) in last.iter_mut().zip(tail) {
        *place = *byte;
    }
    hash ^= scramble(last);
    // The length counts modulo 2^32.
    let [a, b, c, d, ..] = bytes.len().to_le_bytes();
    hash ^= u32::from_le_bytes([a, b, c, d]);
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    Token(hash ^ (hash >> 16))
}

fn scramble(block: [u8; 4]) -> u32 {
    let block = u32::from_le_bytes(block).wrapping_mul(0xcc9e_2d51);
    block.rotate_left(15).wrapping_mul(0x1b87_3593)
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
    use proptest::prelude::*;

    use super::{hash_bytes, token_of};
    use crate::{Key, KeyType};

    proptest! {
        #[test]
        fn any_bytes_have_the_token_that_another_implementation_gives_them(
            bytes in proptest::collection::vec(any::<u8>(), 0..70),
        ) {
            let other = murmur3::murmur3_32(&mut &bytes[..], 0).unwrap();
            prop_assert_eq!(hash_bytes(&bytes).0, other);
        }
    }

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
