//! The end of a transaction on several shards: does on their backends what
//! [`crate::twopc::machine`] says, and tells the client what became of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use platform::failpoint;
use tokio::time::{Instant, timeout};
use topology::ShardId;
use topology::decision::{self, Global};
use wire::SqlState;
use wire::backend::{Report, Severity, TransactionStatus, encode};

use super::{Company, rollback_to};
use crate::error::Error;
use crate::exec::ask::{Refused, ask};
use crate::exec::everywhere;
use crate::pool::Lease;
use crate::session::attach::{Attachment, Stopped};
use crate::session::state::Transaction;
use crate::session::{Session, local};
use crate::twopc::machine::{self, Answer, Command, State, Verdict};

/// How long a shard may take over what waits for no lock. Recovery ends after the same time what
/// was prepared and not decided.
const PROMPT: Duration = Duration::from_secs(10);

/// How a transaction on several shards is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::session) enum End {
    /// COMMIT.
    Commit,
    /// ROLLBACK, or COMMIT of a transaction that has failed.
    RollBack,
}

/// Why a transaction is not committed.
#[derive(Debug)]
enum Failed {
    /// A shard's own error.
    Said(Refused),
    /// The router's.
    Told(Error),
}

/// One backend of the transaction.
#[derive(Debug)]
struct Member {
    shard: ShardId,
    /// None once it is lost.
    lease: Option<Lease>,
    wrote: bool,
    /// What it has to run first.
    undo: Option<Box<str>>,
    /// Whether settings of the transaction are missing on it.
    lacks: bool,
    /// Whether it is outside of a transaction.
    idle: bool,
    /// Why it refused.
    refused: Option<Refused>,
}

impl Session {
    /// Ends the transaction on all of its shards; nothing that was sent is still to be answered.
    /// Gives the answer without its ReadyForQuery.
    pub(in crate::session) async fn end_together(
        &mut self,
        end: End,
        chain: bool,
    ) -> Result<Bytes, Stopped> {
        let _unaimed = self.cancel.detach();
        let (current, company) = (self.attachment.take(), self.company.take());
        let (Some(current), Some(company)) = (current, company) else {
            return Err(Error::NoShard.into());
        };
        let script = current.ties.script.clone().unwrap_or_default();
        let (changed, views) = (company.changed, company.views.clone());
        let in_force = Arc::clone(self.settings.in_force());
        let mut members = members(*company, current, script.len());
        let outcome = match end {
            End::RollBack => {
                roll_back(&mut members).await;
                Ok(local::complete("ROLLBACK"))
            }
            End::Commit => self.commit(&mut members).await,
        };
        if std::mem::take(&mut self.reshaped) || changed {
            // Whatever became of it, what is remembered of the schema may not be so any more.
            drop(self.front.core.schema.forgetting());
        }
        let committed = end == End::Commit && outcome.is_ok();
        let is_changed = self.settings.is_changed();
        self.settings.end_transaction(committed);
        for member in members {
            self.give_back(member, committed && is_changed);
        }
        self.portals.clear();
        self.flight = crate::session::Flight::default();
        self.transaction = if chain && outcome.is_ok() {
            Transaction::Pending(script.chained())
        } else {
            Transaction::Idle
        };
        if let (true, Some(views)) = (committed, views) {
            let settled = everywhere::settle(&self.front.core, &in_force, &views).await;
            if let Err(failure) = settled {
                let error = failure.into_error();
                return Ok(committed_but(&error.to_string()));
            }
        }
        if outcome.is_err() {
            self.client.take_completions_back();
        }
        outcome.map_err(|failed| match failed {
            Failed::Told(error) => Stopped::Told(error),
            Failed::Said(refused) => {
                self.client.outbound.extend_from_slice(&refused.frame);
                Stopped::Answered
            }
        })
    }

    /// Returns a backend to its pool, where its state is known (I6).
    fn give_back(&mut self, member: Member, changed: bool) {
        let Some(mut lease) = member.lease else {
            return;
        };
        if !member.idle || (changed && member.lacks) {
            return;
        }
        lease.settings = Arc::clone(self.settings.committed());
        if let Some(lease) = self.keep(&member.shard, lease) {
            lease.give_back();
        }
    }

    async fn commit(&self, members: &mut [Member]) -> Result<Bytes, Failed> {
        if let Some(error) = undo(members).await {
            roll_back(members).await;
            return Err(Failed::Said(error));
        }
        let wrote: Vec<bool> = members.iter().map(|member| member.wrote).collect();
        let writers = wrote.iter().filter(|wrote| **wrote).count();
        let anchor = members.iter().rfind(|member| member.wrote);
        let anchor = anchor.map(|member| member.shard.clone());
        let twopc = &self.front.core.twopc;
        let global = anchor.filter(|_| writers > 1).map(|it| twopc.global(it));
        let started = Instant::now();
        let verdict = run(members, &wrote, global.as_ref()).await;
        if let Some(global) = &global {
            twopc.metrics.ended(&verdict, started.elapsed());
            self.report(&verdict, members, global);
        }
        answer_to(&verdict, members)
    }

    fn report(&self, verdict: &Verdict, members: &[Member], global: &Global) {
        let left = match verdict {
            Verdict::Committed { left }
            | Verdict::Aborted { left, .. }
            | Verdict::Unknown { left, .. } => left,
        };
        if left.is_empty() {
            return;
        }
        let shards = left.iter().filter_map(|at| members.get(*at));
        let shards: Vec<&str> = shards.map(|member| member.shard.as_str()).collect();
        let _logged = self.span.enter();
        let shards = shards.join(", ");
        match verdict {
            Verdict::Committed { .. } => tracing::warn!(
                %global, shards, "a transaction is committed, and recovery finishes it on shards"
            ),
            Verdict::Aborted { .. } => tracing::warn!(
                %global, shards, "a transaction is rolled back, and recovery finishes it on shards"
            ),
            Verdict::Unknown { .. } => tracing::warn!(
                %global, shards, "the outcome of a transaction is not known; recovery asks for it"
            ),
        }
    }
}

fn answer_to(verdict: &Verdict, members: &mut [Member]) -> Result<Bytes, Failed> {
    let shards = |all: &[usize]| {
        let all = all.iter().filter_map(|at| members.get(*at));
        all.map(|member| member.shard.clone()).collect::<Vec<_>>()
    };
    let told = |error| Err(Failed::Told(error));
    match verdict {
        Verdict::Committed { left } if left.is_empty() => Ok(local::complete("COMMIT")),
        Verdict::Committed { left } => Ok(committed_later(&shards(left))),
        Verdict::Unknown { anchor, .. } => match shards(&[*anchor]).pop() {
            Some(shard) => told(Error::OutcomeUnknown { shard }),
            None => told(Error::NoShard),
        },
        Verdict::Aborted { cause, .. } => {
            let lost = shards(&[*cause]).pop();
            let refused = members.get_mut(*cause).and_then(|it| it.refused.take());
            match (refused, lost) {
                (Some(refused), _) => Err(Failed::Said(refused)),
                (None, Some(shard)) => told(Error::BackendLost { shard }),
                (None, None) => told(Error::NoShard),
            }
        }
    }
}

fn members(company: Company, current: Attachment, statements: usize) -> Vec<Member> {
    let member = |attachment: Attachment, undo, lacks| Member {
        shard: attachment.shard,
        lease: Some(attachment.lease),
        wrote: attachment.ties.wrote,
        undo,
        lacks,
        idle: false,
        refused: None,
    };
    let others = company.others.into_iter().map(|parked| {
        let lacks = parked.caught_up < statements;
        member(parked.attachment, parked.undo, lacks)
    });
    let mut all: Vec<Member> = others.collect();
    all.push(member(current, None, false));
    all
}

/// Takes back what was undone by a savepoint while the session worked elsewhere.
async fn undo(members: &mut [Member]) -> Option<Refused> {
    let undone = members.iter_mut().map(|member| async move {
        let savepoint = member.undo.take()?;
        let sql = rollback_to(&savepoint);
        if member.ask(&sql, Some(PROMPT), b"ROLLBACK").await == Answer::Done {
            return None;
        }
        member.refused.take()
    });
    join_all(undone).await.into_iter().flatten().next()
}

/// Does what the machine says until it is over.
async fn run(members: &mut [Member], wrote: &[bool], global: Option<&Global>) -> Verdict {
    let (mut state, mut commands) = machine::begin(wrote);
    loop {
        if let State::Over(verdict) = state {
            return verdict;
        }
        pass_failpoint("before", &commands, global);
        let begun = members.iter_mut().enumerate().filter_map(|(at, member)| {
            let command = commands.iter().find(|command| command.member() == at)?;
            Some(async move { (at, member.obey(*command, global).await) })
        });
        let answers = join_all(begun).await;
        pass_failpoint("after", &commands, global);
        commands = Vec::new();
        for (at, answer) in answers {
            let (after, more) = machine::next(state, at, answer);
            state = after;
            commands.extend(more);
        }
    }
}

/// The places at which a test has the router die: `before:prepare`, `before:decide`,
/// `after:decide`, `before:finish`, `after:finish`.
fn pass_failpoint(moment: &str, commands: &[Command], global: Option<&Global>) {
    if global.is_none() {
        return;
    }
    let step = commands.iter().find_map(|command| match command {
        Command::Prepare(_) => Some("prepare"),
        Command::Decide { .. } => Some("decide"),
        Command::CommitPrepared(_) => Some("finish"),
        Command::Release(_) | Command::RollBackPrepared(_) | Command::RollBack(_) => None,
    });
    if let Some(step) = step {
        failpoint::pass(moment, step);
    }
}

async fn roll_back(members: &mut [Member]) {
    let ended = members.iter_mut().map(|member| async move {
        member.ask("ROLLBACK", Some(PROMPT), b"ROLLBACK").await;
    });
    join_all(ended).await;
}

impl Member {
    async fn obey(&mut self, command: Command, global: Option<&Global>) -> Answer {
        let name = global.map(|global| global.prepared_on(&self.shard));
        let name = name.unwrap_or_default();
        match command {
            Command::Release(_) => self.ask("COMMIT", Some(PROMPT), b"COMMIT").await,
            Command::Prepare(_) => {
                let sql = format!("PREPARE TRANSACTION '{name}'");
                self.ask(&sql, Some(PROMPT), b"PREPARE TRANSACTION").await
            }
            Command::Decide { together, .. } => {
                let decided = global.filter(|_| together);
                let sql = decided.map_or("COMMIT".to_owned(), |global| {
                    format!("SELECT {}('{global}');COMMIT", decision::DECIDE)
                });
                self.ask(&sql, None, b"COMMIT").await
            }
            Command::CommitPrepared(_) => {
                let sql = format!("COMMIT PREPARED '{name}'");
                self.finish(&sql, b"COMMIT PREPARED").await
            }
            Command::RollBackPrepared(_) => {
                let sql = format!("ROLLBACK PREPARED '{name}'");
                self.finish(&sql, b"ROLLBACK PREPARED").await
            }
            Command::RollBack(_) => self.ask("ROLLBACK", Some(PROMPT), b"ROLLBACK").await,
        }
    }

    /// Ends what is prepared; recovery may have been faster, and can only have done the same.
    async fn finish(&mut self, sql: &str, tag: &[u8]) -> Answer {
        let answer = self.ask(sql, Some(PROMPT), tag).await;
        let gone = self.refused.as_ref();
        let gone = gone.is_some_and(|refused| refused.sqlstate == UNDEFINED_OBJECT);
        if answer == Answer::Refused && gone {
            self.refused = None;
            return Answer::Done;
        }
        answer
    }

    /// Asks, and closes the backend where no answer comes.
    async fn ask(&mut self, sql: &str, limit: Option<Duration>, tag: &[u8]) -> Answer {
        let Some(lease) = &mut self.lease else {
            return Answer::Lost;
        };
        let asked = ask(lease, sql);
        let reply = match limit {
            None => asked.await.ok(),
            Some(limit) => timeout(limit, asked).await.ok().and_then(Result::ok),
        };
        let Some(reply) = reply else {
            self.lease = None;
            return Answer::Lost;
        };
        self.idle = reply.status == TransactionStatus::Idle;
        if reply.is(tag) {
            return Answer::Done;
        }
        self.refused = Some(reply.error.unwrap_or_else(rolled_back));
        Answer::Refused
    }
}

/// `undefined_object`: no prepared transaction has the name.
const UNDEFINED_OBJECT: &str = "42704";

/// A shard that answers COMMIT with ROLLBACK had failed before.
fn rolled_back() -> Refused {
    let mut frame = BytesMut::new();
    let code = SqlState::parse(b"40000").unwrap_or(SqlState::INTERNAL_ERROR);
    Report::new(
        Severity::Error,
        code,
        "the transaction was rolled back on a shard",
    )
    .encode(&mut frame);
    Refused {
        frame: frame.freeze(),
        sqlstate: "40000".to_owned(),
    }
}

/// The answer to a COMMIT that is decided and not done everywhere.
fn committed_later(shards: &[ShardId]) -> Bytes {
    let names: Vec<&str> = shards.iter().map(ShardId::as_str).collect();
    committed_but(&format!(
        "what it wrote is seen later on: {}",
        names.join(", ")
    ))
}

/// The answer to a COMMIT that leaves something undone.
fn committed_but(what: &str) -> Bytes {
    let text = format!("the transaction is committed; {what}");
    local::frames(|out| {
        let code = SqlState::parse(b"01000").unwrap_or(SqlState::INTERNAL_ERROR);
        Report::new(Severity::Warning, code, text).encode(out);
        encode::command_complete(out, "COMMIT");
    })
}
