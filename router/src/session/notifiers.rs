//! Who sent a notification: a shard names the process of a connection, a client knows of the process
//! id that it was told at its login. Where a session of this router keeps the connection, the one is
//! put in the place of the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use topology::ShardId;
use wire::backend::tag;
use wire::frame::HEADER_BYTES;

/// The connections that sessions of this router keep, and what each session's client was told.
#[derive(Debug, Clone, Default)]
pub struct Notifiers(Arc<Mutex<HashMap<(ShardId, i32), i32>>>);

/// The connection that a session keeps; forgotten when this is dropped.
#[derive(Debug)]
pub(super) struct Entry {
    listener: Listener,
    process_id: i32,
}

/// Who reads the notifications of a shard.
#[derive(Debug, Clone)]
pub(super) struct Listener {
    notifiers: Notifiers,
    shard: ShardId,
}

impl Notifiers {
    /// A session keeps the connection to a shard that this process there serves; its client was told
    /// that it is `told`.
    pub(super) fn enter(&self, shard: &ShardId, process_id: i32, told: i32) -> Entry {
        self.known().insert((shard.clone(), process_id), told);
        Entry {
            listener: Listener {
                notifiers: self.clone(),
                shard: shard.clone(),
            },
            process_id,
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(ShardId, i32), i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// Who reads what the connection says.
    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let key = (self.listener.shard.clone(), self.process_id);
        self.listener.notifiers.known().remove(&key);
    }
}

impl Listener {
    /// A notification with this body, as the client is to read it; none where it stays as it is.
    pub(super) fn renamed(&self, body: &[u8]) -> Option<Bytes> {
        let (process_id, texts) = body.split_first_chunk::<4>()?;
        let key = (self.shard.clone(), i32::from_be_bytes(*process_id));
        let told = *self.notifiers.known().get(&key)?;
        let mut frame = BytesMut::with_capacity(HEADER_BYTES + body.len());
        frame.extend_from_slice(&[tag::NOTIFICATION_RESPONSE]);
        let length = u32::try_from(body.len() + 4).ok()?;
        frame.extend_from_slice(&length.to_be_bytes());
        frame.extend_from_slice(&told.to_be_bytes());
        frame.extend_from_slice(texts);
        Some(frame.freeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_names_the_session_that_keeps_the_connection() {
        let notifiers = Notifiers::default();
        let shard = |name| ShardId::try_new(name).unwrap();
        let (one, two) = (shard("shard-1"), shard("shard-2"));
        let entry = notifiers.enter(&one, 7, 700);
        let other = notifiers.enter(&two, 7, 800);
        let body = b"\0\0\0\x07news\0first\0";
        let told = |entry: &Entry| entry.listener().renamed(body);
        let frame = |told: i32| {
            let message = [&told.to_be_bytes(), &body[4..]].concat();
            Some(Bytes::from([&b"A\0\0\0\x13"[..], &message].concat()))
        };
        assert_eq!(told(&entry), frame(700));
        assert_eq!(told(&other), frame(800));
        let listener = entry.listener().clone();
        drop(entry);
        assert_eq!(listener.renamed(body), None);
        assert_eq!(listener.renamed(b"\0"), None);
    }
}
