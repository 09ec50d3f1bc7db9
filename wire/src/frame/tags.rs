//! A set of message tags that is asked once for each frame.

use std::fmt;

/// A set of tags; all tags of the protocol are ASCII.
///
/// One word for each half of ASCII: a `u128` would have whatever holds a set aligned to 16 bytes,
/// which allocators are slow to give.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct TagSet {
    /// Tags below 64.
    low: u64,
    /// Tags from 64 to 127.
    high: u64,
}

impl TagSet {
    /// No tags.
    pub const NONE: Self = Self { low: 0, high: 0 };

    /// The set of these tags. Bytes that are not ASCII are no tags and are left out.
    #[must_use]
    pub const fn of(tags: &[u8]) -> Self {
        let mut set = Self::NONE;
        let mut rest = tags;
        while let [tag, others @ ..] = rest {
            let bit = 1 << (*tag % 64);
            match *tag / 64 {
                0 => set.low |= bit,
                1 => set.high |= bit,
                _ => {}
            }
            rest = others;
        }
        set
    }

    /// Whether the tag is in the set.
    #[inline]
    #[must_use]
    pub const fn contains(self, tag: u8) -> bool {
        let half = match tag / 64 {
            0 => self.low,
            1 => self.high,
            _ => 0,
        };
        (half >> (tag % 64)) & 1 == 1
    }

    /// The tags of this set that are not in the other.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self {
            low: self.low & !other.low,
            high: self.high & !other.high,
        }
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
