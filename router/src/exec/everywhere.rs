//! One statement on every shard, all or nothing: schema changes.
//!
//! Each shard runs it inside a transaction, and all of them commit once all have succeeded. The
//! commits are not one: a shard that goes away between the first and the last of them is named in
//! the error.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use tokio::time::Instant;
use topology::ShardId;
use wire::backend::{CommandComplete, TransactionStatus, ready_for_query, tag};
use wire::frontend::encode;

use crate::core::Core;
use crate::error::Error;
use crate::exec::cancel;
use crate::exec::conversation::{self, Lost, Message};
use crate::moving;
use crate::pool::Lease;
use crate::pool::metrics::Outcome;
use crate::pool::settings::Settings;
use crate::view::Serving;

/// Most bytes of an answer that are kept; further notices are dropped.
const MAX_ANSWER_BYTES: usize = 1 << 20;

/// Longest single message that is taken.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// Why the statement is on no shard, or not on all.
#[derive(Debug)]
pub enum Failure {
    /// A shard refused it: its ErrorResponse as it came. No shard has it.
    Shard(Bytes),
    /// The router's own words.
    Own(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// Runs `sql`, one statement that may stand inside a transaction block, on every active shard of
/// `serving` under `settings`, and gives the first shard's answer without its ReadyForQuery.
///
/// # Errors
/// [`Failure`]; unless it holds [`Error::PartlyApplied`] or [`Error::OutcomeUnknown`], no shard has
/// the statement's effect.
///
/// Not cancel-safe: dropped while it commits, some shards may have the effect and others not.
pub async fn run(
    core: &Core,
    serving: &Serving,
    settings: &Settings,
    sql: &str,
) -> Result<Bytes, Failure> {
    run_within(core, serving, settings, sql, None).await
}

/// As [`run`], giving up when the shards have not run the statement within `limit`.
///
/// # Errors
/// As [`run`], and [`Error::Timeout`].
pub async fn run_within(
    core: &Core,
    serving: &Serving,
    settings: &Settings,
    sql: &str,
    limit: Option<Duration>,
) -> Result<Bytes, Failure> {
    let grace = core.config.sharding.connect_timeout;
    let mut all = Participants::borrow_all(serving, settings, grace).await?;
    let _forgetting = core.schema.forgetting();
    let prepared = match limit {
        None => all.prepare(sql).await,
        Some(limit) => match tokio::time::timeout(limit, all.prepare(sql)).await {
            Ok(prepared) => prepared,
            Err(_) => {
                all.cancel().await;
                return Err(Error::Timeout(limit).into());
            }
        },
    };
    match prepared {
        Ok(answer) => {
            all.commit().await?;
            Ok(answer)
        }
        Err(failure) => {
            all.roll_back().await;
            Err(failure)
        }
    }
}

/// The backends that take part, in the order of their shards' ids.
struct Participants {
    members: Vec<Participant>,
    settings: Arc<Settings>,
    /// How long a shard may take over what it can do at once.
    grace: Duration,
}

struct Participant {
    shard: ShardId,
    /// None once the backend is given back or lost.
    lease: Option<Lease>,
}

/// What a backend said to one query, up to its ReadyForQuery.
struct Answer {
    frames: BytesMut,
    error: Option<Bytes>,
    tag: Option<Vec<u8>>,
    status: TransactionStatus,
}

impl Participants {
    /// Borrows in the order of the shards, so that two of these never wait for each other.
    async fn borrow_all(
        serving: &Serving,
        settings: &Settings,
        grace: Duration,
    ) -> Result<Self, Error> {
        let mut members = Vec::new();
        for (_, pool) in serving.active() {
            let lease = pool.checkout().await.map_err(Error::Pool)?;
            members.push(Participant {
                shard: pool.shard().clone(),
                lease: Some(lease),
            });
        }
        if members.is_empty() {
            return Err(Error::NoShard);
        }
        Ok(Self {
            members,
            settings: Arc::new(settings.clone()),
            grace,
        })
    }

    /// Runs the statement on all, inside open transactions. The first shard goes ahead alone:
    /// where two such statements want the same locks, the first shard lets one of them through,
    /// and they cannot each hold the lock that the other one waits for.
    async fn prepare(&mut self, sql: &str) -> Result<Bytes, Failure> {
        let settings = Arc::clone(&self.settings);
        let begun = self.members.iter_mut().map(|one| one.begin(&settings));
        for outcome in join_all(begun).await {
            outcome?;
        }
        let Some((first, others)) = self.members.split_first_mut() else {
            return Err(Error::NoShard.into());
        };
        let answer = first.run(sql).await?;
        for outcome in join_all(others.iter_mut().map(|one| one.run(sql))).await {
            outcome?;
        }
        Ok(answer)
    }

    async fn commit(mut self) -> Result<(), Failure> {
        let committed = self.members.iter_mut().map(Participant::commit);
        let outcomes = join_all(committed).await;
        let (mut applied, mut missing, mut refused) = (false, Vec::new(), None);
        let (mut unknown, mut shards) = (false, Vec::new());
        for (member, outcome) in self.members.iter().zip(outcomes) {
            shards.push(member.shard.clone());
            match outcome {
                Ok(()) => applied = true,
                Err(Failure::Shard(error)) => {
                    missing.push(member.shard.clone());
                    refused.get_or_insert(error);
                }
                Err(Failure::Own(_)) => {
                    missing.push(member.shard.clone());
                    unknown = true;
                }
            }
        }
        match (missing.pop(), refused) {
            (None, _) => Ok(()),
            // Every shard refused its commit.
            (Some(_), Some(error)) if !applied && !unknown => Err(Failure::Shard(error)),
            (Some(shard), _) if shards.len() == 1 => Err(Error::OutcomeUnknown { shard }.into()),
            (Some(last), _) => {
                missing.push(last);
                Err(Error::PartlyApplied { missing }.into())
            }
        }
    }

    /// Ends the transactions of those that are still there. What can't be rolled back by word is
    /// closed, which rolls it back too.
    async fn roll_back(mut self) {
        let grace = self.grace;
        join_all(self.members.iter_mut().map(|one| async move {
            let ended = one.ask("ROLLBACK", MAX_ANSWER_BYTES);
            if let Ok(Ok(answer)) = tokio::time::timeout(grace, ended).await
                && answer.error.is_none()
            {
                one.give_back(answer.status);
            }
        }))
        .await;
    }

    /// Stops what the shards are running; the backends are closed.
    async fn cancel(self) {
        let leases = self.members.iter().filter_map(|one| one.lease.as_ref());
        join_all(leases.map(|lease| cancel::send(&lease.cancel, self.grace))).await;
    }
}

impl Participant {
    /// Brings the backend to the settings and opens a transaction on it, in one exchange.
    async fn begin(&mut self, settings: &Arc<Settings>) -> Result<(), Failure> {
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
        encode::query(&mut outbound, b"BEGIN").map_err(|error| unspeakable(&error))?;
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

    /// Runs the statement and gives the frames to forward.
    async fn run(&mut self, sql: &str) -> Result<Bytes, Failure> {
        let started = Instant::now();
        let outcome = self.ask(sql, MAX_ANSWER_BYTES).await;
        if let Some(lease) = &self.lease {
            let succeeded = matches!(&outcome, Ok(answer) if answer.error.is_none());
            let outcome = if succeeded {
                Outcome::Success
            } else {
                Outcome::Error
            };
            lease.metrics().answered(outcome, started.elapsed());
        }
        let answer = outcome.map_err(|_| self.lost())?;
        match (answer.error, answer.status) {
            (Some(error), _) => Err(Failure::Shard(error)),
            (None, TransactionStatus::InTransaction) => Ok(answer.frames.freeze()),
            (None, TransactionStatus::Idle | TransactionStatus::Failed) => {
                self.lease = None;
                Err(self.lost().into())
            }
        }
    }

    /// Commits and gives the backend back.
    async fn commit(&mut self) -> Result<(), Failure> {
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

    async fn ask(&mut self, sql: &str, max_answer_bytes: usize) -> Result<Answer, Lost> {
        let lease = self.lease.as_mut().ok_or(Lost::Closed)?;
        let mut outbound = BytesMut::new();
        encode::query(&mut outbound, sql.as_bytes())
            .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidInput, error))?;
        conversation::send(lease, &mut outbound).await?;
        answer(lease, max_answer_bytes).await
    }

    /// Returns the backend when it is idle (I6); every answer was read.
    fn give_back(&mut self, status: TransactionStatus) {
        if let (Some(mut lease), TransactionStatus::Idle) = (self.lease.take(), status) {
            conversation::shrink(&mut lease);
            lease.give_back();
        }
    }

    fn lost(&self) -> Error {
        Error::BackendLost {
            shard: self.shard.clone(),
        }
    }
}

/// Reads one query's answer.
async fn answer(lease: &mut Lease, max_answer_bytes: usize) -> Result<Answer, Lost> {
    let (mut frames, mut error, mut command) = (BytesMut::new(), None, None);
    loop {
        let message = conversation::receive(lease, MAX_MESSAGE_BYTES).await?;
        match message.tag() {
            tag::READY_FOR_QUERY => {
                return Ok(Answer {
                    frames,
                    error,
                    tag: command,
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
                frames.extend_from_slice(message.bytes());
            }
            _ => {}
        }
    }
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
