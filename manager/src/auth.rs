//! What logging in needs: passwords' hashes, the making of tokens, and what is known of keys and
//! revocations. What the operations are is in `service`.

use platform::access::gate::Gate;
use topology::access::View;

pub mod issuer;
pub mod password;

use issuer::Issuer;
use password::Passwords;

/// The parts.
#[derive(Debug)]
pub struct Auth {
    /// Hashes passwords, a few at a time.
    pub passwords: Passwords,
    /// Makes tokens; none where nobody needs one.
    pub issuer: Option<Issuer>,
    /// Keys and revocations.
    pub grants: View,
    /// Who is let in.
    pub gate: Gate,
}
