//! Functions that do not mean the same on one shard of several as on one server, and why.

/// Where a call still gives the answer that PostgreSQL would give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere: it belongs to one connection, or runs SQL that is not seen.
    Nowhere,
    /// On the home shard of unsharded tables, since there is only one of it.
    Home,
    /// Wherever a key or the home shard decides, but not on just any shard.
    OneShard,
}

/// A call of such a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsafeCall {
    /// The function's name.
    pub name: &'static str,
    /// Where it may run all the same.
    pub reach: Reach,
    /// Why not elsewhere.
    pub reason: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}
