//! A statement whose keys are being moved waits before it is sent, and is then routed anew.
//!
//! Only what would begin on the keys' shard waits. A transaction that is on a backend already goes
//! on: whether it still may write is for the shard to say, and it ends the sooner.

use tokio::time::Instant;

use super::Session;
use super::attach::Stopped;
use super::client::{ClientError, Frame};
use crate::error::Error;
use crate::hold;
use crate::route::Target;
use crate::view::Serving;

impl Session {
    /// Refuses, for [`Self::wait_out`] to see, what may not be sent now.
    pub(super) fn check_hold(&self, serving: &Serving, target: Target) -> Result<(), Stopped> {
        let begun = self.attachment.as_ref();
        if begun.is_some_and(|attachment| attachment.movable.is_none()) {
            return Ok(());
        }
        let token = match target {
            Target::Shard { token, .. } => token,
            Target::Any | Target::Everywhere => None,
        };
        let checked = self.front.core.holding.check(&serving.snapshot, token);
        checked.map_err(|held| Error::Hold(hold::Error::Held(held)).into())
    }

    /// Waits while a statement is held; everything else is given back. `since` is when the
    /// statement, which came as `frame`, met its first hold.
    pub(super) async fn wait_out(
        &mut self,
        stopped: Stopped,
        frame: &Frame,
        since: &mut Option<Instant>,
    ) -> Result<(), Stopped> {
        let Stopped::Told(Error::Hold(hold::Error::Held(held))) = stopped else {
            return Err(stopped);
        };
        // What has been done so far can be done again elsewhere, and keeps no backend meanwhile.
        self.move_away().await?;
        let since = *since.get_or_insert_with(Instant::now);
        let bytes = frame.bytes().len() + self.client.buffered_bytes() + self.outbound.len();
        let holding = self.front.core.holding.clone();
        let mut wait = self.cancel.waits();
        tokio::select! {
            // A client that has left is not served even if its turn has come.
            biased;
            gone = self.client.gone() => {
                Err(Stopped::Ended(ClientError::Io(gone).into()))
            }
            () = wait.cancelled() => Err(Error::Cancelled.into()),
            waited = holding.wait(&held, bytes, since) => Ok(waited.map_err(Error::Hold)?),
        }
    }
}
