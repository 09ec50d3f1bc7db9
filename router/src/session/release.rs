//! How a session lets its backend go: to the pool, to what it keeps itself, or for good.

use std::sync::Arc;

use super::Session;
use super::attach::Attachment;

impl Session {
    /// Gives the backend back, idle and with the session's settings in force; one that is not idle
    /// is closed (I6).
    pub(super) fn release(&mut self) {
        let unaimed = self.cancel.detach();
        let Some(attachment) = self.attachment.take() else {
            return;
        };
        let answered = self.outbound.is_empty() && self.expected.owes_nothing();
        let is_clean = answered && attachment.idle && !attachment.unsynced;
        // A cancel that is still on its way may hit who borrows it next, unless nobody does.
        let may_stay = is_clean && (unaimed || self.is_bound());
        if !may_stay {
            return;
        }
        let Attachment {
            mut lease,
            shard,
            on_replica,
            baton,
            ..
        } = attachment;
        lease.settings = Arc::clone(self.settings.committed());
        if let Some(baton) = baton {
            if unaimed && lease.is_sound() {
                // To the next in the line, or, with nobody there, to the pool.
                if let Some(lease) = baton.pass(lease) {
                    lease.give_back();
                }
            }
            return;
        }
        let left = if on_replica {
            Some(lease)
        } else {
            self.keep(&shard, lease)
        };
        if let Some(lease) = left.filter(|_| unaimed) {
            lease.give_back();
        }
    }

    /// Closes the backend.
    pub(super) fn close_backend(&mut self) {
        self.torn |= self.is_implicit();
        // It is closed whether a cancel was aimed at it or not.
        let _unaimed = self.cancel.detach();
        self.attachment = None;
        // Nothing of the transaction can be committed any more, on no shard.
        self.company = None;
        self.portals.clear();
    }
}
