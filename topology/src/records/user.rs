//! What is stored beside the topology: users of the Postgres front, and the heads that are not the
//! topology's.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::codec;
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

/// The number of the newest audit entry. Every write that is audited raises it by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditHead {
    /// The number.
    pub sequence: u64,
}
