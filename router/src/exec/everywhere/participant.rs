//! One shard's backend in a statement for all of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use topology::ShardId;
use wire::backend::{CommandComplete, DataRow, TransactionStatus, ready_for_query, tag};
use wire::frontend::encode;

use super::{Failure, MAX_ANSWER_BYTES};
use crate::error::Error;
use crate::exec::conversation::{self, Lost, Message};
use crate::moving;
use crate::pool::metrics::{Outcome, Route};
use crate::pool::settings::Settings;
use crate::pool::traced;
use crate::pool::{Lease, Pool};

/// Longest single message that is taken.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A row of text values.
pub(super) type Row = Vec<Option<String>>;

/// A backend that takes part.
pub(super) struct Participant {
    pub(super) shard: ShardId,
    /// None once the backend is given back or lost.
    pub(super) lease: Option<Lease>,
}

/// What a backend said to one query, up to its ReadyForQuery.
pub(super) struct Answer {
    frames: BytesMut,
    pub(super) error: Option<Bytes>,
    tag: Option<Vec<u8>>,
    rows: Vec<Row>,
    pub(super) status: TransactionStatus,
}

impl Participant {
    /// Borrows a backend of a shard.
    pub(super) async fn borrow(pool: &Pool) -> Result<Self, Error> {
        let lease = pool.checkout().await.map_err(Error::Pool)?;
        Ok(Self {
            shard: pool.shard().clone(),
            lease: Some(lease),
        })
    }

    /// Brings the backend to the settings and opens a transaction on it, in one exchange.
    pub(super) async fn begin(&mut self, settings: &Arc<Settings>) -> Result<(), Failure> {
        self.establish(settings, b"BEGIN").await
    }

    /// Brings the backend to the settings and runs `then`, in one exchange.
    pub(super) async fn establish(
        &mut self,
        settings: &Arc<Settings>,
        then: &[u8],
    ) -> Result<(), Failure> {
        let lost = Error::BackendLost {
            shard: self.shard.clone(),
        };
        let Some(lease) = &mut self.lease else {
            return Err(lost.into());
        };
        let mut outbound = BytesMut::new();
        let differs = *lease.settings != **settings;
        if differs {
            encode::query(&mut outbound, settings.establish().as_bytes())
                .map_err(|error| unspeakable(&error))?;
        }
        encode::query(&mut outbound, then).map_err(|error| unspeakable(&error))?;
        let exchanged = async {
            conversation::send(lease, &mut outbound).await?;
            let mut answers = Vec::new();
            for _ in 0..=usize::from(differs) {
                answers.push(answer(lease, 0).await?);
            }
            Ok::<_, Lost>(answers)
        };
        let Ok(answers) = exchanged.await else {
            self.lease = None;
            return Err(lost.into());
        };
        if let Some(error) = answers.into_iter().find_map(|answer| answer.error) {
            // Which settings are in force now is not known.
            self.lease = None;
            return Err(Failure::Shard(error));
        }
        lease.settings = Arc::clone(settings);
        Ok(())
    }

    /// Runs the statement in the open transaction and gives the frames to forward.
    pub(super) async fn run(&mut self, sql: &str) -> Result<Bytes, Failure> {
        let (frames, status) = self.run_counted(sql).await?;
        match status {
            TransactionStatus::InTransaction => Ok(frames),
            TransactionStatus::Idle | TransactionStatus::Failed => {
                self.lease = None;
                Err(self.lost().into())
            }
        }
    }

    /// Runs the statement outside of a transaction and gives the frames to forward.
    pub(super) async fn run_alone(&mut self, sql: &str) -> Result<Bytes, Failure> {
        let (frames, _) = self.run_counted(sql).await?;
        Ok(frames)
    }

    /// Rows of text that a statement of the router's own gives.
    pub(super) async fn rows(&mut self, sql: &str) -> Result<Vec<Row>, Failure> {
        let answer = self.ask(sql, MAX_ANSWER_BYTES).await;
        let answer = answer.map_err(|_| self.lost())?;
        match answer.error {
            Some(error) => Err(Failure::Shard(error)),
            None => Ok(answer.rows),
        }
    }

    /// As [`Self::rows`], of at most so many bytes; more is an error.
    pub(super) async fn all_rows(&mut self, sql: &str, most: usize) -> Result<Vec<Row>, Failure> {
        let answer = self.ask(sql, most).await;
        let answer = answer.map_err(|_| self.lost())?;
        match answer.error {
            Some(error) => Err(Failure::Shard(error)),
            None if answer.frames.len().saturating_add(MAX_MESSAGE_BYTES) > most => {
                Err(Error::Protocol("a shard's answer is too long".to_owned()).into())
            }
            None => Ok(answer.rows),
        }
    }

    async fn run_counted(&mut self, sql: &str) -> Result<(Bytes, TransactionStatus), Failure> {
        let started = Instant::now();
        let shard = self.lease.as_ref().map(|lease| lease.pool().shard());
        let span = shard.and_then(|shard| traced::request(shard, Route::Everywhere));
        let outcome = self.ask(sql, MAX_ANSWER_BYTES).await;
        if let Some(lease) = &self.lease {
            let succeeded = matches!(&outcome, Ok(answer) if answer.error.is_none());
            let outcome = if succeeded {
                Outcome::Success
            } else {
                Outcome::Error
            };
            let metrics = lease.metrics();
            metrics.answered(Route::Everywhere, outcome, started.elapsed());
            traced::answered(span, outcome);
        }
        let answer = outcome.map_err(|_| self.lost())?;
        match answer.error {
            Some(error) => Err(Failure::Shard(error)),
            None => Ok((answer.frames.freeze(), answer.status)),
        }
    }

    /// Commits and gives the backend back.
    pub(super) async fn commit(&mut self) -> Result<(), Failure> {
        let Ok(answer) = self.ask("COMMIT", MAX_ANSWER_BYTES).await else {
            self.lease = None;
            return Err(self.lost().into());
        };
        let committed = answer.tag.as_deref() == Some(b"COMMIT");
        self.give_back(answer.status);
        match answer.error {
            Some(error) => Err(Failure::Shard(error)),
            None if committed => Ok(()),
            None => Err(self.lost().into()),
        }
    }

    pub(super) async fn ask(&mut self, sql: &str, max_answer_bytes: usize) -> Result<Answer, Lost> {
        let lease = self.lease.as_mut().ok_or(Lost::Closed)?;
        let mut outbound = BytesMut::new();
        encode::query(&mut outbound, sql.as_bytes())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        conversation::send(lease, &mut outbound).await?;
        answer(lease, max_answer_bytes).await
    }

    /// Ends the open transaction, or the backend.
    pub(super) async fn roll_back(&mut self, grace: Duration) {
        let ended = self.ask("ROLLBACK", MAX_ANSWER_BYTES);
        if let Ok(Ok(answer)) = tokio::time::timeout(grace, ended).await
            && answer.error.is_none()
        {
            self.give_back(answer.status);
        }
    }

    /// Returns a backend outside of a transaction, of which every answer was read.
    pub(super) fn give_back_idle(&mut self) {
        self.give_back(TransactionStatus::Idle);
    }

    /// Returns the backend when it is idle (I6); every answer was read.
    pub(super) fn give_back(&mut self, status: TransactionStatus) {
        if let (Some(mut lease), TransactionStatus::Idle) = (self.lease.take(), status) {
            conversation::shrink(&mut lease);
            lease.give_back();
        }
    }

    pub(super) fn lost(&self) -> Error {
        Error::BackendLost {
            shard: self.shard.clone(),
        }
    }
}

/// Reads one query's answer.
async fn answer(lease: &mut Lease, max_answer_bytes: usize) -> Result<Answer, Lost> {
    let (mut frames, mut error, mut command) = (BytesMut::new(), None, None);
    let mut rows = Vec::new();
    loop {
        let message = conversation::receive(lease, MAX_MESSAGE_BYTES).await?;
        match message.tag() {
            tag::READY_FOR_QUERY => {
                return Ok(Answer {
                    frames,
                    error,
                    tag: command,
                    rows,
                    status: status_of(&message)?,
                });
            }
            tag::ERROR_RESPONSE => error = Some(for_clients(message)),
            tag::COMMAND_COMPLETE => {
                let tag = CommandComplete::decode(message.body())
                    .map_err(malformed)?
                    .tag;
                command = Some(tag.as_bytes().to_vec());
                frames.extend_from_slice(message.bytes());
            }
            _ if frames.len() + message.bytes().len() <= max_answer_bytes => {
                if message.tag() == tag::DATA_ROW {
                    rows.push(row(message.body())?);
                }
                frames.extend_from_slice(message.bytes());
            }
            _ => {}
        }
    }
}

fn row(body: &[u8]) -> Result<Row, Lost> {
    let row = DataRow::decode(body).map_err(malformed)?;
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    Ok(row.values.iter().map(|value| value.map(text)).collect())
}

/// A shard's error as a client reads it.
fn for_clients(message: Message) -> Bytes {
    match moving::said(message.body()) {
        Some(said) => said.error().frame(),
        None => message.into_bytes(),
    }
}

fn status_of(message: &Message) -> Result<TransactionStatus, Lost> {
    Ok(ready_for_query(message.body()).map_err(malformed)?)
}

fn malformed(error: wire::DecodeError) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, error)
}

/// A statement that cannot be written down as a message.
fn unspeakable(error: &wire::EncodeError) -> Failure {
    Failure::Own(Error::Protocol(error.to_string()))
}
