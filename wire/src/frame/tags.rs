//! A set of message tags that is asked once for each frame.

use std::fmt;

/// A set of tags; all tags of the protocol are ASCII.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TagSet(u128);

impl TagSet {
    /// The set of these tags. Bytes that are not ASCII are no tags and are left out.
    #[must_use]
    pub const fn of(tags: &[u8]) -> Self {
        let mut bits = 0;
        let mut rest = tags;
        while let [tag, others @ ..] = rest {
            if tag.is_ascii() {
                bits |= 1 << *tag;
            }
            rest = others;
        }
        Self(bits)
    }

    /// Whether the tag is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, tag: u8) -> bool {
        tag.is_ascii() && (self.0 >> tag) & 1 == 1
    }

    /// The tags of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

impl fmt::Debug for TagSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags = (0..=127_u8)
            .filter(|tag| self.contains(*tag))
            .map(char::from);
        formatter.debug_set().entries(tags).finish()
    }
}
