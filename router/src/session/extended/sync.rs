//! Sync: the end of a batch, and what came of it.

use super::Batch;
use crate::error::Error;
use crate::moving;
use crate::session::attach::Stopped;
use crate::session::expect::{Answer, Seen};
use crate::session::state::Transaction;
use crate::session::{Ended, Session, local};

impl Session {
    /// Ends the batch; with an error when it is to be done anew and the client has read nothing.
    pub(super) async fn sync(&mut self) -> Result<Option<(Error, Batch)>, Ended> {
        if self.torn && !self.batch.failed {
            let outdated = Error::Moving(moving::Error::Outdated);
            Box::pin(self.fail_batch(&outdated)).await?;
        }
        if !self.batch.failed {
            match self.find_backend().await {
                Ok(()) => self.emit_deferred(),
                Err(Stopped::Told(error)) => Box::pin(self.fail_batch(&error)).await?,
                Err(Stopped::Answered) => {}
                Err(Stopped::Ended(ended)) => return Err(ended),
            }
        }
        // After an error nothing of what came before it is answered any more.
        self.drop_deferred();
        if self.is_implicit() {
            Box::pin(self.sync_together()).await?;
            self.answer_ready().await?;
            return Ok(None);
        }
        if !self.client.owes() {
            self.client.withhold_no_more();
        }
        let synced = self.attachment.is_some();
        if let Some(attachment) = &mut self.attachment {
            attachment.unsynced = false;
            self.flight.ends |= self.transaction == Transaction::Idle;
            wire::frontend::encode::sync(&mut self.outbound);
            self.expected.forward(Answer::Ready);
            self.keep_answers_back();
        }
        let exchanged = if synced {
            self.exchange_to_ready().await
        } else {
            self.exchange().await
        };
        self.synced(exchanged, synced).await
    }

    /// Ends the batch with what came of it; as [`Self::sync`].
    pub(super) async fn synced(
        &mut self,
        exchanged: Result<Seen, Stopped>,
        synced: bool,
    ) -> Result<Option<(Error, Batch)>, Ended> {
        let answered = match exchanged {
            Ok(seen) if seen.is_taken_back() => {
                let batch = std::mem::take(&mut self.batch);
                return Ok(Some((Box::pin(self.step_back(&seen)).await, batch)));
            }
            Err(Stopped::Told(error @ Error::Moving(_))) if self.batch.kept.is_whole() => {
                return Ok(Some((error, std::mem::take(&mut self.batch))));
            }
            Ok(mut seen) => {
                // An error that was flushed before it undoes the batch as well.
                seen.error |= self.batch.failed;
                if synced {
                    self.finish(&seen);
                    if self.company.is_some() {
                        Box::pin(self.undo_parked()).await;
                    }
                } else if self.transaction == Transaction::Idle {
                    self.settings.end_transaction(!self.batch.failed);
                }
                synced
            }
            Err(Stopped::Told(error)) => {
                self.transaction = std::mem::take(&mut self.transaction).refused();
                self.client.take_completions_back();
                self.client
                    .outbound
                    .extend_from_slice(&local::error(&error));
                false
            }
            Err(Stopped::Answered) => false,
            Err(Stopped::Ended(ended)) => return Err(ended),
        };
        self.batch = Batch::default();
        self.end_sync(answered).await?;
        Ok(None)
    }
}
