//! The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677) without channel binding. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use topology::verifier::{Verifier, hmac};

/// The SASL mechanism's name.
pub const MECHANISM: &str = "SCRAM-SHA-256";

/// Longest message of a client that is looked at.
const MAX_MESSAGE_BYTES: usize = 4096;

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
        let salt = BASE64.encode(verifier.salt());
        let server_first = format!("r={nonce},s={salt},i={}", verifier.iterations());
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
        let signature = hmac(self.verifier.stored_key(), signed.as_bytes());
        let mut client_key = proof;
        for (byte, mask) in client_key.iter_mut().zip(signature) {
            *byte ^= mask;
        }
        let candidate: [u8; 32] = Sha256::digest(client_key).into();
        if !bool::from(candidate.ct_eq(self.verifier.stored_key())) {
            return Err(Failed::Mismatch);
        }
        Ok(format!(
            "v={}",
            BASE64.encode(hmac(self.verifier.server_key(), signed.as_bytes()))
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

#[cfg(test)]
mod tests;
