//! A statement whose keys are being moved waits before it is sent, and is then routed anew.
//!
//! Only what would begin on the keys' shard waits. A transaction that is on a backend already goes
//! on: whether it still may write is for the shard to say, and it ends the sooner.

use std::sync::Arc;

use tokio::time::Instant;

use super::Session;
use super::attach::Stopped;
use super::client::ClientError;
use crate::error::Error;
use crate::hold;
use crate::moving;
use crate::pool;
use crate::route::Target;
use crate::view::Serving;

impl Session {
    /// Refuses, for [`Self::wait_out`] to see, what may not be sent now.
    pub(super) fn check_hold(&self, serving: &Serving, target: Target) -> Result<(), Stopped> {
        if self.has_begun() {
            return Ok(());
        }
        let token = match target {
            Target::Shard { token, .. } => token,
            Target::Any | Target::Catalog | Target::Everywhere => None,
        };
        let checked = self.front.core.holding.check(&serving.snapshot, token);
        checked.map_err(|held| Error::Hold(hold::Error::Held(held)).into())
    }

    /// Whether the transaction has done on a backend what is done nowhere else.
    fn has_begun(&self) -> bool {
        let attachment = self.attachment.as_ref();
        attachment.is_some_and(|attachment| attachment.movable.is_none())
    }

    /// Waits while a statement is held, or after a guard has refused it; everything else is given
    /// back. `since` is when the statement, which has so many bytes, was first in the way.
    pub(super) async fn wait_out(
        &mut self,
        stopped: Stopped,
        bytes: usize,
        since: &mut Option<Instant>,
    ) -> Result<(), Stopped> {
        let held = match stopped {
            Stopped::Told(Error::Hold(hold::Error::Held(held))) => {
                // A transaction that is on a backend would have to leave it, and what it has done.
                if self.has_begun() {
                    return Err(Error::Moving(moving::Error::Outdated).into());
                }
                Some(held)
            }
            Stopped::Told(Error::Moving(error)) if self.may_repeat(&error) => None,
            // The topology that sent it there is not in force any more.
            Stopped::Told(Error::Pool(pool::Error::Retired { .. }))
                if self.attachment.is_none() && !self.torn =>
            {
                return Ok(());
            }
            stopped => return Err(stopped),
        };
        // What has been done so far can be done again elsewhere, and keeps no backend meanwhile.
        self.move_away().await?;
        let since = *since.get_or_insert_with(Instant::now);
        let bytes = bytes + self.client.buffered_bytes() + self.outbound.len();
        let core = Arc::clone(&self.front.core);
        let waits = async {
            match held {
                Some(held) => core
                    .holding
                    .wait(&held, bytes, since)
                    .await
                    .map_err(Error::Hold),
                None => core.moving.wait(self.routed, bytes, since).await,
            }
        };
        let mut wait = self.cancel.waits();
        tokio::select! {
            // A client that has left is not served even if its turn has come.
            biased;
            gone = self.client.gone() => {
                Err(Stopped::Ended(ClientError::Io(gone).into()))
            }
            () = wait.cancelled() => Err(Error::Cancelled.into()),
            waited = waits => Ok(waited?),
        }
    }
}
