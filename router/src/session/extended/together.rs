//! The end of a batch, or of a transaction, that has gone on on several shards.

use bytes::Bytes;

use super::Batch;
use super::steps::Step;
use crate::query::Class;
use crate::session::attach::Stopped;
use crate::session::several::{End, Split};
use crate::session::state::Transaction;
use crate::session::{Ended, Session, local};

impl Session {
    /// Runs a portal's statement on its shards; what came before it is answered first.
    pub(super) async fn execute_split(&mut self, split: &Split) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let frames = self.run_parts(&serving, split).await?;
        self.step(Step::Local(frames, None))
    }

    /// Describes what a portal's statement hands out.
    pub(super) async fn describe_split(&mut self, split: &Split) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let heading = self.describe_parts(&serving, split).await?;
        self.step(Step::Local(heading, None))
    }

    /// COMMIT or ROLLBACK within a batch, once all before it is answered; none for any other
    /// statement.
    pub(super) async fn finish_together(
        &mut self,
        class: &Class,
    ) -> Result<Option<Bytes>, Stopped> {
        // A Sync right before it ends nothing else.
        let seen = self.sync_silently().await?;
        self.apply_effects(&seen);
        self.flight.effects.clear();
        if seen.error {
            self.transaction = Transaction::Failed;
            return Err(Stopped::Answered);
        }
        self.run_together(class).await
    }

    /// Ends a batch outside of a transaction block that has gone on on several shards: all of it is
    /// committed, or nothing. Leaves the ReadyForQuery to the caller.
    pub(super) async fn sync_together(&mut self) -> Result<(), Ended> {
        let ended = self.end_batch_together().await;
        self.batch = Batch::default();
        self.portals.clear();
        self.transaction = Transaction::Idle;
        match ended {
            Ok(()) | Err(Stopped::Answered) => Ok(()),
            Err(Stopped::Told(error)) => {
                self.front.core.metrics.failed(&error);
                let frames = local::error(&error);
                self.client.outbound.extend_from_slice(&frames);
                Ok(())
            }
            Err(Stopped::Ended(ended)) => Err(ended),
        }
    }

    async fn end_batch_together(&mut self) -> Result<(), Stopped> {
        let seen = self.sync_silently().await?;
        self.apply_effects(&seen);
        if self.company.is_none() {
            return Ok(());
        }
        let failed = self.batch.failed || seen.error || self.transaction != Transaction::Open;
        let end = if failed { End::RollBack } else { End::Commit };
        let frames = self.end_together(end, false).await?;
        if end == End::Commit {
            self.client
                .outbound
                .extend_from_slice(&without_tag(&frames));
        }
        Ok(())
    }
}

/// What was said besides the command's own answer, which nobody has asked for.
fn without_tag(frames: &Bytes) -> Bytes {
    let complete = local::complete("COMMIT");
    let length = frames.len().saturating_sub(complete.len());
    frames.slice(..length)
}
