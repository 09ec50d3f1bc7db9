//! Sets of keys.

use std::collections::BTreeSet;

/// The keys of the rows that something depends on: at most these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Any.
    All,
    /// These, as text.
    Keys(BTreeSet<String>),
}

impl Reach {
    /// Some keys.
    pub fn keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        Self::Keys(keys.into_iter().map(str::to_owned).collect())
    }

    /// The keys of both.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, reach) | (reach, Self::All) => reach.clone(),
            (Self::Keys(one), Self::Keys(two)) => Self::Keys(one & two),
        }
    }

    /// The keys of either.
    #[must_use]
    pub fn or(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Keys(one), Self::Keys(two)) => Self::Keys(one | two),
        }
    }
}
