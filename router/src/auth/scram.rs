//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// PostgreSQL's own default (`scram_iterations`).
pub const ITERATIONS: u32 = 4096;

/// The SASL mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Longest message of a client that is looked at.
const MAX_MESSAGE_BYTES: usize = 4096;

/// What is stored of a password: enough to check it, not enough to use it.
#[derive(Clone)]
pub struct Verifier {
    iterations: u32,
    salt: Vec<u8>,
    stored_key: [u8; 32],
    server_key: [u8; 32],
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifier(***)")
    }
}

/// Why a login failed. A client only ever reads "password authentication failed".
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failed {
    /// The message is not what RFC 5802 asks for.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The client insists on channel binding.
    #[error("channel binding is not offered")]
    ChannelBinding,
    /// The proof does not fit.
    #[error("password does not match")]
    Mismatch,
}

impl Verifier {
    /// The verifier of a password. The caller has normalised it or accepts it as it is, which is
    /// what PostgreSQL does with a password that SASLprep refuses.
    #[must_use]
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let mut salted = [0_u8; 32];
        pbkdf2::pbkdf2_hmac::<Sha256>(password.as_bytes(), salt, iterations, &mut salted);
        let client_key = hmac(&salted, b"Client Key");
        Self {
            iterations,
            salt: salt.to_vec(),
            stored_key: Sha256::digest(client_key).into(),
            server_key: hmac(&salted, b"Server Key"),
        }
    }

    /// Reads PostgreSQL's form: `SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>`.
    ///
    /// # Errors
    /// The rule that the text breaks; never the text.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const RULE: &str =
            "a verifier has the form SCRAM-SHA-256$<iterations>:<salt>$<stored key>:<server key>";
        let body = text.strip_prefix("SCRAM-SHA-256$").ok_or(RULE)?;
        let (head, keys) = body.split_once('$').ok_or(RULE)?;
        let (iterations, salt) = head.split_once(':').ok_or(RULE)?;
        let (stored, server) = keys.split_once(':').ok_or(RULE)?;
        let key = |text: &str| -> Result<[u8; 32], &'static str> {
            BASE64
                .decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or(RULE)
        };
        Ok(Self {
            iterations: iterations.parse().map_err(|_| RULE)?,
            salt: BASE64.decode(salt).map_err(|_| RULE)?,
            stored_key: key(stored)?,
            server_key: key(server)?,
        })
    }

    /// A verifier that no password fits, the same each time for one name.
    #[must_use]
    pub fn decoy(seed: &[u8; 32], name: &str) -> Self {
        let salt = hmac(seed, name.as_bytes());
        Self {
            iterations: ITERATIONS,
            salt: salt.iter().copied().take(16).collect(),
            stored_key: hmac(seed, b"stored"),
            server_key: hmac(seed, b"server"),
        }
    }
}

/// An exchange that has had its first message.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    nonce: String,
}

impl Exchange {
    /// Takes the client's first message; `server_nonce` is fresh and printable.
    ///
    /// # Errors
    /// [`Failed`] when the message is malformed or asks for channel binding.
    pub fn start(
        verifier: Verifier,
        client_first: &[u8],
        server_nonce: &str,
    ) -> Result<(Self, String), Failed> {
        let text = message(client_first)?;
        let (flag, rest) = text.split_once(',').ok_or(Failed::Malformed)?;
        match flag {
            "n" | "y" => {}
            _ if flag.starts_with("p=") => return Err(Failed::ChannelBinding),
            _ => return Err(Failed::Malformed),
        }
        let (authzid, bare) = rest.split_once(',').ok_or(Failed::Malformed)?;
        let nonce = attribute(bare, 'r').ok_or(Failed::Malformed)?;
        if nonce.is_empty() || bare.starts_with("m=") {
            return Err(Failed::Malformed);
        }
        let nonce = format!("{nonce}{server_nonce}");
        let salt = BASE64.encode(&verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations);
        let exchange = Self {
            verifier,
            gs2_header: format!("{flag},{authzid},"),
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
            nonce,
        };
        Ok((exchange, server_first))
    }

    /// Takes the client's proof and gives the server's.
    ///
    /// # Errors
    /// [`Failed::Mismatch`] when the password is wrong.
    pub fn finish(self, client_final: &[u8]) -> Result<String, Failed> {
        let text = message(client_final)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(Failed::Malformed)?;
        let binding = attribute(without_proof, 'c').ok_or(Failed::Malformed)?;
        let nonce = attribute(without_proof, 'r').ok_or(Failed::Malformed)?;
        if binding != BASE64.encode(&self.gs2_header) || nonce != self.nonce {
            return Err(Failed::Malformed);
        }
        let proof = BASE64.decode(proof).map_err(|_| Failed::Malformed)?;
        let proof: [u8; 32] = proof.try_into().map_err(|_| Failed::Malformed)?;
        let signed = format!(
            "{},{},{without_proof}",
            self.client_first_bare, self.server_first
        );
        let signature = hmac(&self.verifier.stored_key, signed.as_bytes());
        let mut client_key = proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let candidate: [u8; 32] = Sha256::digest(client_key).into();
        if !bool::from(candidate.ct_eq(&self.verifier.stored_key)) {
            return Err(Failed::Mismatch);
        }
        Ok(format!(
            "v={}",
            BASE64.encode(hmac(&self.verifier.server_key, signed.as_bytes()))
        ))
    }
}

fn message(bytes: &[u8]) -> Result<&str, Failed> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Failed::Malformed);
    }
    std::str::from_utf8(bytes).map_err(|_| Failed::Malformed)
}

fn attribute(text: &str, name: char) -> Option<&str> {
    text.split(',')
        .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

fn hmac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests;
