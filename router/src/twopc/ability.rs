//! Pure: whether a shard can take part in a transaction on several shards, by what it says of
//! itself.

use topology::{ShardId, decision};

use crate::route::Refusal;

/// What a shard can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ability {
    /// Whether it has room for prepared transactions.
    pub prepares: bool,
    /// Whether decisions can be written there.
    pub decides: bool,
    /// The isolation of a transaction that names none.
    pub isolation: String,
}

impl Ability {
    /// What is asked of the shard; one row answers it.
    #[must_use]
    pub fn question() -> String {
        format!(
            "SELECT pg_catalog.current_setting('max_prepared_transactions')::int > 0, \
             pg_catalog.to_regproc('{}') IS NOT NULL, \
             (SELECT reset_val FROM pg_catalog.pg_settings \
              WHERE name = 'default_transaction_isolation')",
            decision::DECIDE
        )
    }

    /// Reads the answer.
    #[must_use]
    pub fn read(values: &[Option<String>]) -> Option<Self> {
        let [prepares, decides, isolation] = values else {
            return None;
        };
        let is_true = |value: &Option<String>| value.as_deref() == Some("t");
        Some(Self {
            prepares: is_true(prepares),
            decides: is_true(decides),
            isolation: isolation.clone().unwrap_or_default(),
        })
    }

    /// Refuses a second shard that is written to.
    ///
    /// # Errors
    /// The [`Refusal`] names what is missing on the shard.
    pub fn check(&self, shard: &ShardId) -> Result<(), Refusal> {
        if !self.prepares {
            return Err(Refusal {
                sqlstate: "0A000",
                message: format!(
                    "shard {shard} cannot take part in a commit on several shards: its \
                     max_prepared_transactions is 0"
                ),
                hint: Some(
                    "set max_prepared_transactions to at least the routers' max_connections and \
                     restart the shard, or keep a transaction's writes on one shard"
                        .to_owned(),
                ),
            });
        }
        if !self.decides {
            return Err(Refusal {
                sqlstate: "55000",
                message: format!(
                    "shard {shard} cannot take part in a commit on several shards: it has no \
                     function {}",
                    decision::DECIDE
                ),
                hint: Some(
                    "the manager that leads installs it; its log says what keeps it from that"
                        .to_owned(),
                ),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: [&str; 3]) -> Ability {
        Ability::read(&values.map(|value| Some(value.to_owned()))).unwrap()
    }

    #[test]
    fn a_shard_takes_part_when_it_can_prepare_and_decide() {
        let shard = ShardId::try_new("a").unwrap();
        let check = |ability: Ability| ability.check(&shard).map_err(|refusal| refusal.sqlstate);
        assert_eq!(check(read(["t", "t", "read committed"])), Ok(()));
        assert_eq!(check(read(["f", "t", ""])), Err("0A000"));
        assert_eq!(check(read(["t", "f", ""])), Err("55000"));
        assert_eq!(Ability::read(&[None]), None);
    }
}
