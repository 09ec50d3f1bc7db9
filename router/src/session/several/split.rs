//! One statement that writes rows of several shards: each shard runs its part, one after the other,
//! and the client reads one answer.
//!
//! The shards are gone through in one order, so that two such statements do not each hold what the
//! other waits for.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use topology::Snapshot;
use wire::Format;
use wire::backend::encode;
use wire::frontend::Bind;

use super::{Company, End};
use crate::barrier::Leave;
use crate::cache::DEFAULT_SEARCH_PATH;
use crate::error::Error;
use crate::exec::collect::{self, Collected};
use crate::moving;
use crate::query::{self, Statement};
use crate::route::{self, Copies, Parameters, Part, Plan, Refusal, Target};
use crate::scatter::exec::Arguments;
use crate::scatter::explained::OfShard;
use crate::scatter::own;
use crate::session::attach::Stopped;
use crate::session::prepared::Prepared;
use crate::session::state::{Preamble, Transaction};
use crate::session::{Session, local};
use crate::view::Serving;

/// Most rows that the parts of one statement may hand out, in bytes.
const MAX_RETURNED_BYTES: usize = 32 << 20;

/// A statement in parts.
#[derive(Debug)]
pub(in crate::session) struct Split {
    pub(super) parts: Vec<Piece>,
    /// Set where every shard has the same rows.
    copies: Option<Copies>,
    /// What it is bound to; none in a simple query.
    bound: Option<Bound>,
    /// Whether it hands out rows.
    returns: bool,
    /// Whether it may write: an EXPLAIN of it does not.
    writes: bool,
    /// The topology by which it was split.
    snapshot: Arc<Snapshot>,
}

/// What one shard runs.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) target: Target,
    sql: String,
    /// The places of its rows among all; none when they have none.
    rows: Option<Vec<usize>>,
}

/// What a portal's statement is bound to.
#[derive(Debug)]
struct Bound {
    types: Arc<[u32]>,
    formats: Vec<Format>,
    values: Vec<Option<Bytes>>,
    results: Vec<Format>,
    /// Whether the answer begins with its description, as that to a simple query.
    headed: bool,
}

impl Session {
    /// The parts of a statement that was refused since its rows are on several shards.
    pub(in crate::session) fn split_of(
        &mut self,
        (statement, plan): (&Statement, &Plan),
        (sql, refusal): (&str, &Refusal),
        params: &dyn Parameters,
        serving: &Serving,
    ) -> Result<Option<Split>, Refusal> {
        if self.hints(statement).is_some() {
            return Ok(None);
        }
        let schemas: Vec<&str> = match self.settings.search_path() {
            Some(schemas) => schemas.iter().map(String::as_str).collect(),
            None => DEFAULT_SEARCH_PATH.to_vec(),
        };
        let snapshot = &serving.snapshot;
        let parts = route::split((statement, plan), refusal, params, snapshot, &schemas)?;
        let Some(parts) = parts else {
            let copies = route::copies(statement, snapshot, &schemas);
            return copies.map(|it| of_copies(it, sql, serving)).transpose();
        };
        let max_bytes = query::MAX_STATEMENT_BYTES;
        let piece = |part: Part| {
            let text = match &part.rows {
                Some(rows) => query::with_rows(sql, rows, max_bytes)?,
                None if part.reads => query::with_condition(sql, &own::all(), max_bytes)?,
                None => sql.to_owned(),
            };
            Some(Piece {
                target: Target::Shard {
                    index: part.index,
                    token: part.token,
                },
                sql: text,
                rows: part.rows,
            })
        };
        let parts: Option<Vec<Piece>> = parts.into_iter().map(piece).collect();
        Ok(parts.map(|parts| Split {
            parts,
            copies: None,
            bound: None,
            returns: query::returns_rows(sql, max_bytes),
            writes: true,
            snapshot: Arc::clone(&serving.snapshot),
        }))
    }

    /// Runs a statement in parts as a simple query; outside of a transaction block it is one.
    pub(in crate::session) async fn query_in_parts(
        &mut self,
        serving: &Serving,
        split: &Split,
    ) -> Result<Bytes, Stopped> {
        let begun = self.transaction == Transaction::Idle;
        let ran = self.run_parts(serving, split).await;
        self.conclude(begun, ran).await
    }

    /// Ends a transaction that was begun for one statement.
    pub(in crate::session) async fn conclude(
        &mut self,
        begun: bool,
        ran: Result<Bytes, Stopped>,
    ) -> Result<Bytes, Stopped> {
        if !begun {
            return ran;
        }
        let ended = match &ran {
            Ok(_) => self.end_together(End::Commit, false).await,
            Err(_) => self.abandon_parts().await,
        };
        self.company = None;
        self.transaction = Transaction::Idle;
        // Nothing but this statement was in it.
        self.torn = false;
        self.client.withhold_no_more();
        let answer = ran?;
        let said = without_tag(&ended?);
        Ok([said, answer].concat().into())
    }

    pub(in crate::session) async fn abandon_parts(&mut self) -> Result<Bytes, Stopped> {
        if self.attachment.is_none() {
            return Ok(Bytes::new());
        }
        self.outbound.clear();
        if !self.expected.is_empty() {
            // What was begun and not asked for yet ends with its connection.
            let _seen = self.expected.forget_unsent();
            self.close_backend();
            return Ok(Bytes::new());
        }
        self.end_together(End::RollBack, false).await
    }

    /// Runs all parts within the transaction, which is begun if none is open; gives the answer.
    pub(in crate::session) async fn run_parts(
        &mut self,
        serving: &Serving,
        split: &Split,
    ) -> Result<Bytes, Stopped> {
        self.must_not_have_failed()?;
        self.check_epoch(serving, split)?;
        self.begin_implicitly().await?;
        if let Some(copies) = &split.copies {
            return self.run_copies(serving, split, copies).await;
        }
        let mut answers = Vec::with_capacity(split.parts.len());
        let mut bytes = 0;
        for piece in &split.parts {
            let collected = self.run_piece(serving, split, piece).await?;
            bytes += collected.bytes();
            if bytes > MAX_RETURNED_BYTES {
                return Err(too_much().into());
            }
            answers.push(collected);
        }
        merge(split, answers)
    }

    /// What each part that is an EXPLAIN says, as rows by their shard.
    pub(in crate::session) async fn explain_parts(
        &mut self,
        serving: &Serving,
        split: &Split,
    ) -> Result<Vec<OfShard>, Stopped> {
        self.must_not_have_failed()?;
        self.check_epoch(serving, split)?;
        self.begin_implicitly().await?;
        let mut shards = Vec::with_capacity(split.parts.len());
        for piece in &split.parts {
            let collected = self.run_piece(serving, split, piece).await?;
            let shard = self.attachment.as_ref().map(|it| it.shard.to_string());
            shards.push(OfShard {
                shard: shard.unwrap_or_default(),
                rows: collected.first_values().collect(),
            });
        }
        Ok(shards)
    }

    /// Places of shards mean nothing in a topology that has changed in more than further tables.
    fn check_epoch(&mut self, serving: &Serving, split: &Split) -> Result<(), Error> {
        let (newest, own) = (&serving.snapshot, &split.snapshot);
        if newest.epoch() == own.epoch() || newest.routes_like(own) {
            return Ok(());
        }
        self.routed = own.epoch();
        Err(Error::Moving(moving::Error::Outdated))
    }

    /// The right to send what was split by a topology.
    pub(in crate::session) fn leave_by(&mut self, by: &Snapshot) -> Result<Leave, Error> {
        let view = &self.front.core.view;
        if let Some(leave) = view.leave(by.epoch()) {
            return Ok(leave);
        }
        let newest = view.load();
        if newest.snapshot.routes_like(by)
            && let Some(leave) = view.leave(newest.snapshot.epoch())
        {
            return Ok(leave);
        }
        self.routed = by.epoch();
        Err(Error::Moving(moving::Error::Outdated))
    }

    /// Opens a transaction of the router's own, or makes what the batch has done so far a part of
    /// one.
    pub(in crate::session) async fn begin_implicitly(&mut self) -> Result<(), Stopped> {
        let attachment = self.attachment.as_ref();
        if attachment.is_some_and(|it| it.movable.is_some() || it.on_replica) {
            self.move_away().await?;
        }
        if self.transaction != Transaction::Idle {
            return Ok(());
        }
        self.client.withhold();
        let implicit = self.attachment.is_some();
        if implicit {
            self.settle_current(true).await?;
            self.transaction = Transaction::Open;
            if let Some(attachment) = &mut self.attachment {
                attachment.ties.script = Some(Preamble::new("BEGIN"));
            }
        } else {
            self.transaction = Transaction::Pending(Preamble::new("BEGIN"));
        }
        self.company = Some(Company::new(true).into());
        Ok(())
    }

    /// Asks something of the router's own within the transaction.
    pub(in crate::session) async fn look(
        &mut self,
        serving: &Serving,
        split: &Split,
        target: Target,
        sql: &str,
    ) -> Result<Collected, Stopped> {
        self.flight.note_writes(false);
        self.attach(serving, target).await?;
        let mut message = BytesMut::new();
        wire::frontend::encode::query(&mut message, sql.as_bytes())?;
        self.require(message, &split.snapshot).await
    }

    /// Sends a whole request on the session's backend; its error is the client's.
    pub(in crate::session) async fn require(
        &mut self,
        message: BytesMut,
        by: &Snapshot,
    ) -> Result<Collected, Stopped> {
        let collected = self.converse(message, by).await?;
        if let Some(error) = &collected.error {
            self.client.outbound.extend_from_slice(error);
            self.transaction = Transaction::Failed;
            return Err(Stopped::Answered);
        }
        Ok(collected)
    }

    pub(super) async fn run_piece(
        &mut self,
        serving: &Serving,
        split: &Split,
        piece: &Piece,
    ) -> Result<Collected, Stopped> {
        self.flight.note_writes(split.writes);
        self.attach(serving, piece.target).await?;
        let message = piece.message(split.bound.as_ref(), false)?;
        let outcome = self.converse(message, &split.snapshot).await?;
        if let Some(said) = &outcome.guarded
            && self.is_implicit()
            && split.bound.is_none()
            && said.is_passing()
        {
            self.routed = split.snapshot.epoch();
            let code = said.code();
            return Err(Error::Moving(moving::Error::Moved { code }).into());
        }
        if let Some(error) = &outcome.error {
            self.transaction = Transaction::Failed;
            if String::from_utf8_lossy(error).contains(own::MOVING) {
                return Err(moving_rows().into());
            }
            self.client.outbound.extend_from_slice(error);
            return Err(Stopped::Answered);
        }
        Ok(outcome)
    }

    /// Sends a whole request on the session's backend and keeps what comes, up to ReadyForQuery.
    async fn converse(&mut self, message: BytesMut, by: &Snapshot) -> Result<Collected, Stopped> {
        // What opens the transaction goes first.
        let waits = !self.outbound.is_empty() || !self.expected.is_empty();
        let unsynced = self.attachment.as_ref().is_some_and(|it| it.unsynced);
        if waits || unsynced {
            self.settle_current(false).await?;
        }
        let leave = self.leave_by(by)?;
        let limit = self.clock.query_limit();
        let grace = self.front.core.config.sharding.connect_timeout;
        let Some(attachment) = &mut self.attachment else {
            return Err(Error::NoShard.into());
        };
        attachment.keep();
        attachment.lease.unnamed = None;
        let shard = attachment.shard.clone();
        let asked = collect::exchange(&mut attachment.lease, message, leave, MAX_RETURNED_BYTES);
        let collected = collect::within(asked, limit).await;
        match collected {
            Ok(collected) => {
                self.flight.routed = None;
                Ok(collected)
            }
            Err(error) => {
                let was_implicit = self.is_implicit();
                let current = self.attachment.take();
                self.close_backend();
                if let (collect::Error::Late(_), Some(late)) = (&error, current) {
                    crate::exec::cancel::stop(late.lease, grace).await;
                }
                self.settings.end_transaction(false);
                self.transaction = if was_implicit {
                    Transaction::Idle
                } else {
                    Transaction::FailedPending(Preamble::new("BEGIN"))
                };
                Err(match error {
                    collect::Error::Late(limit) => Error::Timeout(limit).into(),
                    collect::Error::TooMuch => too_much().into(),
                    collect::Error::Lost => Error::BackendLost { shard }.into(),
                })
            }
        }
    }

    /// The description of what a bound statement in parts hands out.
    pub(in crate::session) async fn describe_parts(
        &mut self,
        serving: &Serving,
        split: &Split,
    ) -> Result<Bytes, Stopped> {
        let no_data = || local::frames(encode::no_data);
        let (true, Some(first), Some(bound)) = (split.returns, split.parts.first(), &split.bound)
        else {
            return Ok(no_data());
        };
        self.check_epoch(serving, split)?;
        self.begin_implicitly().await?;
        self.flight.note_writes(false);
        self.attach(serving, first.target).await?;
        let message = first.message(Some(bound), true)?;
        let collected = self.require(message, &split.snapshot).await?;
        Ok(collected.heading.unwrap_or_else(no_data))
    }
}

impl Split {
    /// Nothing yet, by the present topology.
    pub(in crate::session) fn bare(serving: &Serving) -> Self {
        Self {
            parts: Vec::new(),
            copies: None,
            bound: None,
            returns: false,
            writes: true,
            snapshot: Arc::clone(&serving.snapshot),
        }
    }

    /// The same, bound to the values of a Bind.
    pub(in crate::session) fn bound(mut self, prepared: &Prepared, bind: Bind<'_>) -> Self {
        let values = bind.parameters.iter();
        let values = values.map(|value| value.map(Bytes::copy_from_slice));
        self.bound = Some(Bound {
            types: Arc::clone(&prepared.parameter_types),
            formats: bind.formats.iter().collect(),
            values: values.collect(),
            results: bind.result_formats.iter().collect(),
            headed: false,
        });
        self
    }

    /// The same, given values; its answer is that to a simple query.
    pub(in crate::session) fn given(mut self, arguments: &Arguments) -> Self {
        self.bound = Some(Bound {
            types: arguments.types.as_slice().into(),
            formats: arguments.values.iter().map(|(format, _)| *format).collect(),
            values: arguments.values.iter().map(|(_, it)| it.clone()).collect(),
            results: arguments.results.clone(),
            headed: true,
        });
        self
    }

    /// The EXPLAIN of each part; `writes` is whether it runs them.
    pub(in crate::session) fn explained(mut self, prefix: &str, writes: bool) -> Self {
        for piece in &mut self.parts {
            piece.sql.insert_str(0, prefix);
        }
        self.writes = writes;
        self
    }

    /// Whether it is a write that every shard does alike.
    pub(in crate::session) fn is_of_copies(&self) -> bool {
        self.copies.is_some()
    }
}

/// A write that all shards run as it is.
fn of_copies(copies: Copies, sql: &str, serving: &Serving) -> Result<Split, Refusal> {
    super::copies::check_text(sql, &copies.table)?;
    let part = |index| Piece {
        target: Target::Shard { index, token: None },
        sql: sql.to_owned(),
        rows: None,
    };
    Ok(Split {
        parts: serving.active().map(|(index, _)| part(index)).collect(),
        copies: Some(copies),
        bound: None,
        returns: query::returns_rows(sql, query::MAX_STATEMENT_BYTES),
        writes: true,
        snapshot: Arc::clone(&serving.snapshot),
    })
}

/// The first of answers that are all the same.
pub(super) fn merge_copies(split: &Split, mut answers: Vec<Collected>) -> Result<Bytes, Stopped> {
    answers.truncate(1);
    merge(split, answers)
}

impl Piece {
    /// The statement as it is, for a further shard.
    pub(super) fn whole(target: Target, split: &Split) -> Self {
        let sql = split.parts.first().map(|piece| piece.sql.clone());
        Self {
            target,
            sql: sql.unwrap_or_default(),
            rows: None,
        }
    }

    /// What is sent for it: to run it, or only to describe what it hands out.
    fn message(&self, bound: Option<&Bound>, describe: bool) -> Result<BytesMut, Stopped> {
        use wire::frontend::{TargetKind, encode};
        let mut out = BytesMut::new();
        let Some(bound) = bound else {
            encode::query(&mut out, self.sql.as_bytes())?;
            return Ok(out);
        };
        // A parameter that other rows have gets a type, so that none is missing, and no value.
        let used = query::parameters_in(&self.sql);
        let is_used = |at: usize| u16::try_from(at).is_ok_and(|at| used.binary_search(&at).is_ok());
        let declared = |at: usize| bound.types.get(at).copied().unwrap_or(0);
        let all = 0..bound.values.len();
        let types: Vec<u32> = all
            .map(|at| if is_used(at) { declared(at) } else { TEXT_OID })
            .collect();
        let values: Vec<Option<&[u8]>> = bound
            .values
            .iter()
            .enumerate()
            .map(|(at, value)| value.as_deref().filter(|_| is_used(at)))
            .collect();
        encode::parse(&mut out, b"", self.sql.as_bytes(), &types)?;
        encode::bind(&mut out, b"", b"", &bound.formats, &values, &bound.results)?;
        if describe || bound.headed {
            encode::describe(&mut out, TargetKind::Portal, b"")?;
        }
        if !describe {
            encode::execute(&mut out, b"", 0)?;
        }
        encode::sync(&mut out);
        Ok(out)
    }
}

/// The OID of type text.
const TEXT_OID: u32 = 25;

/// One answer of several: the rows in the order of VALUES where each row has given one, and the sum
/// of what they count.
fn merge(split: &Split, answers: Vec<Collected>) -> Result<Bytes, Stopped> {
    let (mut rows, mut count, mut word) = (Vec::new(), 0_u64, "INSERT 0".to_owned());
    let mut out = BytesMut::new();
    let is_simple = split.bound.as_ref().is_none_or(|bound| bound.headed);
    for (place, (answer, piece)) in answers.into_iter().zip(&split.parts).enumerate() {
        if place == 0 && is_simple {
            out.extend_from_slice(answer.heading.as_deref().unwrap_or_default());
        }
        let tag = String::from_utf8_lossy(&answer.tag).into_owned();
        if let Some((verb, number)) = tag.rsplit_once(' ') {
            verb.clone_into(&mut word);
            count += number.parse::<u64>().unwrap_or(0);
        }
        let places = piece.rows.as_ref();
        let places = places.filter(|places| places.len() == answer.rows.len());
        for (at, row) in answer.rows.into_iter().enumerate() {
            let place = places.and_then(|places| places.get(at)).copied();
            rows.push((place.unwrap_or(usize::MAX), row));
        }
    }
    // Stable: rows without a place keep the order of the shards.
    rows.sort_by_key(|(place, _)| *place);
    for (_, row) in rows {
        out.extend_from_slice(&row);
    }
    encode::command_complete(&mut out, &format!("{word} {count}"));
    Ok(out.freeze())
}

/// What was said besides the answer to a COMMIT that nobody has sent.
pub(in crate::session) fn without_tag(frames: &Bytes) -> Bytes {
    let length = frames.len().saturating_sub(local::complete("COMMIT").len());
    frames.slice(..length)
}

fn too_much() -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "a write on several shards returns more than {MAX_RETURNED_BYTES} bytes of rows"
        ),
        hint: Some("leave RETURNING out, or write fewer rows at a time".to_owned()),
    }
}

fn moving_rows() -> Refusal {
    Refusal {
        sqlstate: "40001",
        message: "rows are being moved, so that shards hold copies which a query for new rows \
                  would read"
            .to_owned(),
        hint: Some("give the key of the rows, or run it again after the job".to_owned()),
    }
}
