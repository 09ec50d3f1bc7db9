//! What is stored beside the topology: users of the Postgres front, and the heads that are not the
//! topology's.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Digest, codec};
use crate::{UserName, Verifier};

/// A user of the Postgres front. Roles will be a field more, which this release passes over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The name.
    pub name: UserName,
    /// What the password is checked by. Never the password.
    pub verifier: Verifier,
    /// Whether the user may log in.
    pub enabled: bool,
    /// Grows by one with each change of this record.
    pub version: u64,
    /// When the record was created.
    #[serde(with = "codec::rfc3339")]
    pub created_at: SystemTime,
    /// When the record was last changed.
    #[serde(with = "codec::rfc3339")]
    pub updated_at: SystemTime,
}

/// What salts of users that do not exist are made from. The first router writes it; a router that
/// made up its own would give other salts than its neighbour, and so tell who exists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoginSeed {
    /// Random bytes, in base64.
    #[serde(with = "codec::base64_32")]
    pub seed: [u8; 32],
}

/// The newest audit entry. Every write that is audited raises its number by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// Its number.
    pub sequence: u64,
    /// The digest of its stored bytes; releases before the chain left it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<Digest>,
}

/// Up to where the audit log was cut off, so that the chain of what is left can be checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditAnchor {
    /// The number of the newest entry that is gone.
    pub sequence: u64,
    /// The digest of its stored bytes.
    pub hash: Digest,
    /// Whether it was a part of the chain: then all that follow it must be.
    pub chained: bool,
}
