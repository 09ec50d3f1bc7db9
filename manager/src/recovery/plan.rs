//! Pure: what is done about a transaction that is found prepared.

use std::time::Duration;

use topology::ShardId;
use topology::decision::Global;

/// A router that lives answers for what it has prepared for so long.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// One that is not known is given so long, since it may only just have lost its lease.
pub const GRACE: Duration = Duration::from_secs(2);

/// A prepared transaction of a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Where it is prepared.
    pub shard: ShardId,
    /// Under which name.
    pub name: String,
    /// Which transaction it belongs to.
    pub global: Global,
    /// Since it was prepared, by that shard's clock.
    pub age: Duration,
}

/// What the anchor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It is committed.
    Committed,
    /// It is not, and cannot be any more.
    Aborted,
}

/// What is done to what is prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// COMMIT PREPARED.
    Commit,
    /// ROLLBACK PREPARED.
    RollBack,
}

impl Resolution {
    /// The word for logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Commit => "committed",
            Self::RollBack => "rolled_back",
        }
    }
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its router is at it.
    Wait,
    /// It is decided.
    Carry(Resolution),
    /// It is not, and has to be: an abort is written, unless a commit is there first.
    Abort,
}

/// Decides. `lives` is whether its router is known to live, `decision` what the anchor says now.
#[must_use]
pub fn next(found: &Found, lives: bool, decision: Option<Decision>) -> Step {
    if found.age < GRACE {
        return Step::Wait;
    }
    match decision {
        Some(Decision::Committed) => Step::Carry(Resolution::Commit),
        Some(Decision::Aborted) => Step::Carry(Resolution::RollBack),
        None if lives && found.age < PATIENCE => Step::Wait,
        None => Step::Abort,
    }
}

#[cfg(test)]
mod tests {
    use topology::records::Incarnation;

    use super::*;

    fn found(age: Duration) -> Found {
        let shard = ShardId::try_new("a").unwrap();
        let global = Global {
            router: Incarnation(1),
            number: 1,
            anchor: ShardId::try_new("b").unwrap(),
        };
        let name = global.prepared_on(&shard);
        Found {
            shard,
            name,
            global,
            age,
        }
    }

    #[test]
    fn a_decision_is_carried_out_whoever_lives() {
        for lives in [true, false] {
            for (decision, resolution) in [
                (Decision::Committed, Resolution::Commit),
                (Decision::Aborted, Resolution::RollBack),
            ] {
                let step = next(&found(GRACE), lives, Some(decision));
                assert_eq!(step, Step::Carry(resolution));
            }
        }
    }

    #[test]
    fn nothing_is_aborted_while_its_router_may_be_at_it() {
        assert_eq!(next(&found(GRACE / 2), false, None), Step::Wait);
        assert_eq!(next(&found(GRACE), false, None), Step::Abort);
        assert_eq!(next(&found(PATIENCE / 2), true, None), Step::Wait);
        assert_eq!(next(&found(PATIENCE), true, None), Step::Abort);
    }
}
