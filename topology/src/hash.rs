//! The one hash of the system: murmur3 x86_32, seed 0, over a key's canonical bytes.
//!
//! The SQL form that guards a move and every router agree with it through the golden vectors in
//! `testdata/`.

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
