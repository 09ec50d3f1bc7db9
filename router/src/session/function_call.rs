//! The function call message, by which drivers work with large objects: libpq's `lo_open`,
//! `lo_read` and their like. Other functions are refused: what they touch is not seen.

use super::attach::Stopped;
use super::client::Frame;
use super::effects::Effect;
use super::expect::Answer;
use super::state::Transaction;
use super::{Ended, Session, control};
use crate::route::{self, Refusal, Target};

/// `lo_create`, `lo_open`, `lo_close`, `loread`, `lowrite`, `lo_lseek`, `lo_creat`, `lo_tell`,
/// `lo_unlink`, `lo_truncate`, and those of 64 bits (`pg_proc.dat` of PostgreSQL).
const LARGE_OBJECTS: [u32; 13] = [
    715, 952, 953, 954, 955, 956, 957, 958, 964, 1004, 3170, 3171, 3172,
];

impl Session {
    /// Answers a FunctionCall message.
    pub(super) async fn function_call(&mut self, frame: &Frame) -> Result<(), Ended> {
        if !self.begin_simple().await? {
            return Ok(());
        }
        match self.call_function(frame).await {
            Ok(()) => Ok(()),
            Err(Stopped::Told(error)) => self.answer_simple_error(&error).await,
            Err(Stopped::Answered) => self.answer_ready().await,
            Err(Stopped::Ended(ended)) => Err(ended),
        }
    }

    async fn call_function(&mut self, frame: &Frame) -> Result<(), Stopped> {
        let function = frame
            .body()
            .first_chunk()
            .map(|oid| u32::from_be_bytes(*oid));
        if !function.is_some_and(|oid| LARGE_OBJECTS.contains(&oid)) {
            return Err(Refusal {
                sqlstate: "0A000",
                message: "the function call message is not supported by the router, but for large \
                          objects"
                    .to_owned(),
                hint: Some("call the function with SELECT".to_owned()),
            }
            .into());
        }
        if let Transaction::Failed | Transaction::FailedPending(_) = self.transaction {
            return Err(control::in_failed_transaction().into());
        }
        let serving = self.front.core.view.load();
        let index = route::common_shard(&serving.snapshot)?;
        self.flight.note_writes(true);
        self.attach(&serving, Target::Shard { index, token: None })
            .await?;
        // Its descriptors are not on another shard.
        self.stay();
        self.flight.ends = self.transaction == Transaction::Idle;
        self.note_effect(Effect::Pins);
        self.outbound.extend_from_slice(frame.bytes());
        self.expected.forward(Answer::Ready);
        let seen = self.exchange_to_ready().await?;
        self.finish(&seen);
        Ok(())
    }
}
