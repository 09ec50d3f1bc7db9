//! Makes a new backend known to its shard as one of this router, and hears from the shard whether
//! this router's topology is new enough to serve it.

use topology::records::Incarnation;
use topology::{Epoch, presence};

use super::connect::ConnectError;
use crate::barrier::Barrier;

/// Who this router is, and what it knows.
#[derive(Debug, Clone)]
pub struct Presence {
    incarnation: Incarnation,
    barrier: Barrier,
}

impl Presence {
    /// This run of a router, which begins statements by the topology of `barrier`.
    #[must_use]
    pub fn new(incarnation: Incarnation, barrier: Barrier) -> Self {
        Self {
            incarnation,
            barrier,
        }
    }

    /// What is asked of a shard. The lock comes first: whoever raises the horizon and then looks
    /// for holders of the lock misses no backend that was let in before.
    pub fn question(&self) -> String {
        let (class, key) = (presence::LOCK_CLASS, presence::lock_key(self.incarnation));
        format!(
            "SELECT pg_catalog.pg_try_advisory_lock_shared({class}, {key});\
             SELECT pg_catalog.pg_sequence_last_value(pg_catalog.to_regclass('{}'))",
            presence::HORIZON
        )
    }

    /// Judges the shard's answer: one value of each statement, in order.
    ///
    /// # Errors
    /// The backend must not be used.
    pub fn admit(&self, answer: &[Option<String>]) -> Result<(), ConnectError> {
        let [locked, horizon] = answer else {
            return Err(ConnectError::Protocol(
                "the shard does not say whether this router may come in".to_owned(),
            ));
        };
        if locked.as_deref() != Some("t") {
            return Err(ConnectError::ShutOut);
        }
        let horizon = horizon.as_deref().and_then(|text| text.parse().ok());
        let (known, horizon) = (self.barrier.epoch(), Epoch(horizon.unwrap_or(0)));
        if known < horizon {
            return Err(ConnectError::Outdated { known, horizon });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_router_is_let_in_when_it_knows_what_the_shard_asks_for() {
        let barrier = Barrier::default();
        barrier.raise(Epoch(7));
        let presence = Presence::new(Incarnation(0xffff_ffff_0000_0000), barrier);
        assert!(presence.question().contains("(7303, -1)"));
        let told = |locked: &str, horizon: Option<&str>| {
            presence.admit(&[Some(locked.to_owned()), horizon.map(ToOwned::to_owned)])
        };
        for horizon in [None, Some("0"), Some("7")] {
            told("t", horizon).unwrap();
        }
        assert!(matches!(
            told("t", Some("8")),
            Err(ConnectError::Outdated { .. })
        ));
        assert!(matches!(told("f", None), Err(ConnectError::ShutOut)));
        assert!(matches!(
            presence.admit(&[]),
            Err(ConnectError::Protocol(_))
        ));
    }
}
