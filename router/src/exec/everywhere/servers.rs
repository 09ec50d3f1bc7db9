//! Which shards are databases of one server: what belongs to the server is done there once.

use super::Failure;
use super::participant::{Participant, Row};

/// The start of a server tells apart those that were copied from each other.
const IDENTITY: &str = "SELECT (SELECT system_identifier FROM pg_catalog.pg_control_system())::text, \
     pg_catalog.extract('epoch', pg_catalog.pg_postmaster_start_time())::text";

/// What a server is known by.
pub(super) async fn identity(shard: &mut Participant) -> Result<Vec<Row>, Failure> {
    shard.rows(IDENTITY).await
}

/// Whether each is the first of its kind.
pub(super) fn firsts<T: PartialEq>(identities: &[T]) -> Vec<bool> {
    let is_first = |(at, identity)| !identities.iter().take(at).any(|other| other == identity);
    identities.iter().enumerate().map(is_first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_kept_once() {
        assert_eq!(
            firsts(&["a", "b", "a", "b", "c"]),
            [true, true, false, false, true]
        );
        assert!(firsts::<u8>(&[]).is_empty());
    }
}
