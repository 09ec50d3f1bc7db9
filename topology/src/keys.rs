//! Every etcd key of the system. The only file with their text.

use crate::access::AccountName;
use crate::percent::{escape, unescape};
use crate::records::Incarnation;
use crate::{GroupName, ShardId, TableName, UserName};

#[cfg(test)]
mod tests;

/// All of our keys lie under this prefix.
pub const ALL: &str = "/sharding/v1/";
/// All records that make up the topology lie under this prefix, so that one watch sees them all.
pub const TOPOLOGY: &str = "/sharding/v1/topology/";
/// The head: epoch and term.
pub const HEAD: &str = "/sharding/v1/topology/head";
/// Prefix of shard records.
pub const SHARDS: &str = "/sharding/v1/topology/shards/";
/// Prefix of ring records, one a shard.
pub const RING: &str = "/sharding/v1/topology/ring/";
/// Prefix of table groups.
pub const GROUPS: &str = "/sharding/v1/topology/groups/";
/// Prefix of registered tables.
pub const TABLES: &str = "/sharding/v1/topology/tables/";
/// Prefix of holds.
pub const HOLDS: &str = "/sharding/v1/topology/holds/";
/// The leader's key, under its lease; its create revision is the term.
pub const LEADER: &str = "/sharding/v1/leader";
/// Prefix of audit entries.
pub const AUDIT: &str = "/sharding/v1/audit/";
/// The newest audit entry's sequence number and digest.
pub const AUDIT_HEAD: &str = "/sharding/v1/audit-head";
/// Up to where the audit log was cut off.
pub const AUDIT_ANCHOR: &str = "/sharding/v1/audit-anchor";
/// Prefix of what routers hand to the leader for the audit log, one record a run of a router. None
/// is under a lease: what is in it outlives its router.
pub const AUDIT_INBOX: &str = "/sharding/v1/audit-inbox/";
/// Prefix of routers' records, each under its router's lease.
pub const ROUTERS: &str = "/sharding/v1/routers/";
/// Prefix of the users of the Postgres front. Not a part of the topology: no epoch is made when
/// one of them changes.
pub const USERS: &str = "/sharding/v1/users/";
/// That the first administrator was created.
pub const AUTH_SETUP: &str = "/sharding/v1/auth/setup";
/// Prefix of the accounts of the control plane.
pub const ACCOUNTS: &str = "/sharding/v1/auth/accounts/";
/// Prefix of what routers and managers follow to know whom to let in.
pub const GRANTS: &str = "/sharding/v1/auth/grants/";
/// Prefix of API keys.
pub const API_KEYS: &str = "/sharding/v1/auth/grants/keys/";
/// Prefix of tokens and sessions that are over.
pub const REVOKED_TOKENS: &str = "/sharding/v1/auth/grants/revoked/tokens/";
/// Prefix of accounts whose earlier tokens are over.
pub const REVOKED_ACCOUNTS: &str = "/sharding/v1/auth/grants/revoked/accounts/";
/// What routers make up salts from that no user has chosen, so that all of them make up the same.
pub const LOGIN_SEED: &str = "/sharding/v1/login-seed";
/// The numbers of shards, by which their sequences differ.
pub const NUMBERS: &str = "/sharding/v1/shard-numbers";
/// Prefix of the reservations of ids, one a node number.
pub const ID_NODES: &str = "/sharding/v1/id-nodes/";
/// The last backup that was finished.
pub const LAST_BACKUP: &str = "/sharding/v1/backup/last";
/// Prefix of idempotency records.
pub const IDEMPOTENCY: &str = "/sharding/v1/idempotency/";

/// Prefix of the records of resharding jobs.
pub const JOBS: &str = "/sharding/v1/reshard/jobs/";
/// Prefix of the records of their legs.
pub const LEGS: &str = "/sharding/v1/reshard/legs/";
/// Prefix of how far jobs are, rewritten while they run.
pub const PROGRESS: &str = "/sharding/v1/reshard/progress/";
/// Prefix of the copies that run, for managers that keep their snapshots.
pub const COPIES: &str = "/sharding/v1/reshard/copies/";
/// Prefix of resharding plans that can be run by their id, each under a lease.
pub const PLANS: &str = "/sharding/v1/reshard/plans/";

/// A shard's record.
#[must_use]
pub fn shard(id: &ShardId) -> String {
    format!("{SHARDS}{id}")
}

/// A shard's part of the ring.
#[must_use]
pub fn ring(id: &ShardId) -> String {
    format!("{RING}{id}")
}

/// A group's record.
#[must_use]
pub fn group(name: &GroupName) -> String {
    format!("{GROUPS}{name}")
}

/// A table's record; the parts are escaped, since a quoted identifier may hold anything.
#[must_use]
pub fn table(name: &TableName) -> String {
    format!("{TABLES}{}/{}", escape(name.schema()), escape(name.name()))
}

/// A hold's record.
#[must_use]
pub fn hold(id: &str) -> String {
    format!("{HOLDS}{id}")
}

/// An audit entry; zero-padded, so that key order is time order.
#[must_use]
pub fn audit(sequence: u64) -> String {
    format!("{AUDIT}{sequence:020}")
}

/// What one run of a router hands to the leader for the audit log.
#[must_use]
pub fn audit_inbox(incarnation: Incarnation) -> String {
    format!("{AUDIT_INBOX}{incarnation}")
}

/// Whose key under [`AUDIT_INBOX`] this is; none for a key that [`audit_inbox`] does not give.
#[must_use]
pub fn audit_inbox_of(key: &str) -> Option<Incarnation> {
    let text = key.strip_prefix(AUDIT_INBOX)?;
    Incarnation::try_from(text.to_owned()).ok()
}

/// A router's record.
#[must_use]
pub fn router(id: u16) -> String {
    format!("{ROUTERS}{id}")
}

/// The reservation of ids under a node number.
#[must_use]
pub fn id_node(number: u16) -> String {
    format!("{ID_NODES}{number}")
}

/// A user's record.
#[must_use]
pub fn user(name: &UserName) -> String {
    format!("{USERS}{}", escape(name.as_str()))
}

/// Whose record a key under [`USERS`] holds; none when it is not one that [`user`] writes.
#[must_use]
pub fn user_of(key: &str) -> Option<UserName> {
    let name = unescape_strictly(key.strip_prefix(USERS)?)?;
    UserName::try_new(&name).ok()
}

/// An account's record.
#[must_use]
pub fn account(name: &AccountName) -> String {
    format!("{ACCOUNTS}{name}")
}

/// An API key's record, by the key's id.
#[must_use]
pub fn api_key(id: &str) -> String {
    format!("{API_KEYS}{id}")
}

/// That a token or a session is over.
#[must_use]
pub fn revoked_token(id: &str) -> String {
    format!("{REVOKED_TOKENS}{}", escape(id))
}

/// Which token or session a key under [`REVOKED_TOKENS`] is about.
#[must_use]
pub fn revoked_token_of(key: &str) -> Option<String> {
    unescape(key.strip_prefix(REVOKED_TOKENS)?)
}

/// That an account's earlier tokens are over.
#[must_use]
pub fn revoked_account(name: &AccountName) -> String {
    format!("{REVOKED_ACCOUNTS}{name}")
}

/// The number in a router's key; none for a key that [`router`] does not give.
#[must_use]
pub fn router_number(key: &str) -> Option<u16> {
    let number = key.strip_prefix(ROUTERS)?.parse().ok()?;
    (router(number) == key).then_some(number)
}

/// The record of a request that was made under a client's idempotency key.
#[must_use]
pub fn idempotency(key: &str) -> String {
    format!("{IDEMPOTENCY}{}", escape(key))
}

/// The record of a resharding job.
#[must_use]
pub fn job(id: &str) -> String {
    format!("{JOBS}{}", escape(id))
}

/// Prefix of the records of a job's legs.
#[must_use]
pub fn legs(job: &str) -> String {
    format!("{LEGS}{}/", escape(job))
}

/// The record of a leg; zero-padded, so that key order is the order in which they run.
#[must_use]
pub fn leg(job: &str, number: u16) -> String {
    format!("{}{number:05}", legs(job))
}

/// How far a job is.
#[must_use]
pub fn progress(job: &str) -> String {
    format!("{PROGRESS}{}", escape(job))
}

/// The copy of a leg, by its tag.
#[must_use]
pub fn copy(tag: &str) -> String {
    format!("{COPIES}{}", escape(tag))
}

/// The record of a resharding plan.
#[must_use]
pub fn plan(id: &str) -> String {
    format!("{PLANS}{}", escape(id))
}

/// What a key under [`TOPOLOGY`] holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopologyKey {
    /// The head.
    Head,
    /// A shard's record.
    Shard(ShardId),
    /// A shard's part of the ring.
    Ring(ShardId),
    /// A group's record.
    Group(GroupName),
    /// A table's record.
    Table(TableName),
    /// A hold's record.
    Hold(String),
}

impl TopologyKey {
    /// Reads a key; none when it is not one that this release writes.
    #[must_use]
    pub fn parse(key: &str) -> Option<Self> {
        if key == HEAD {
            return Some(Self::Head);
        }
        if let Some(id) = key.strip_prefix(SHARDS) {
            return ShardId::try_new(id).ok().map(Self::Shard);
        }
        if let Some(id) = key.strip_prefix(RING) {
            return ShardId::try_new(id).ok().map(Self::Ring);
        }
        if let Some(name) = key.strip_prefix(GROUPS) {
            return GroupName::try_new(name).ok().map(Self::Group);
        }
        if let Some(id) = key.strip_prefix(HOLDS) {
            return (!id.is_empty()).then(|| Self::Hold(id.to_owned()));
        }
        let (schema, name) = key.strip_prefix(TABLES)?.split_once('/')?;
        let name =
            TableName::try_from_parts(&unescape_strictly(schema)?, &unescape_strictly(name)?)
                .ok()?;
        Some(Self::Table(name))
    }
}

/// The part that a key holds escaped; none for a text that [`escape`] does not write, so that two
/// keys never mean one table.
fn unescape_strictly(text: &str) -> Option<String> {
    unescape(text).filter(|part| escape(part) == text)
}
