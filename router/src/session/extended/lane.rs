//! A batch of one short read, all of which has come, stands in a lane (docs/decisions/0020).

use std::sync::Arc;

use bytes::Bytes;
use platform::trace;
use tokio::time::Instant;
use wire::Header;
use wire::frontend::{Bind, Parse, tag};

use super::bind::{Bound, Opening};
use super::definition_of;
use super::steps::Step;
use crate::cache::Planned;
use crate::pool::{MAX_REQUEST_BYTES, Request};
use crate::query::{Class, HINTS};
use crate::route::{self, Target};
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::client::Frame;
use crate::session::effects::Effect;
use crate::session::expect::Answer;
use crate::session::form::Located;
use crate::session::prepared::{Parsed, Prepared};
use crate::session::simple::may_write;
use crate::view::Serving;

/// What is looked at of the messages behind a Bind.
const MAX_REST_BYTES: usize = 32;

/// What is looked at of the messages behind a Parse.
const MAX_BATCH_BYTES: usize = MAX_REQUEST_BYTES;

/// The Parse of an unnamed statement that was answered the short way, which nobody has asked for
/// since.
#[derive(Debug)]
pub(in crate::session) struct Unparsed {
    parse: Frame,
    planned: Arc<Planned>,
}

impl Unparsed {
    /// Keeps no more than the message.
    pub(in crate::session) fn new(parse: &Frame, planned: Arc<Planned>) -> Self {
        Self {
            parse: parse.copy(),
            planned,
        }
    }
}

/// A batch that was asked in a lane.
struct Asking<'a> {
    prepared: &'a Arc<Prepared>,
    rest: Rest,
    /// What its Parse did to the session's statements.
    change: Option<u64>,
    /// When it was asked.
    asked: Instant,
}

/// What follows a Bind: the statement is executed once, as a whole, and that is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Whether the client asks what its rows look like.
    describes: bool,
    /// Up to the end of Sync, from where it was read.
    bytes: usize,
}

impl Rest {
    /// The rest of a batch that has one Bind, if all of it is there.
    pub(super) fn read(buffered: &[u8]) -> Option<Self> {
        let (first, mut at) = message(buffered, 0)?;
        let describes = first == (tag::DESCRIBE, b"P\0");
        let mut execute = first;
        if describes {
            (execute, at) = message(buffered, at)?;
        }
        let ((sync, _), bytes) = message(buffered, at)?;
        // The unnamed portal, and all of its rows.
        let is_plain = execute == (tag::EXECUTE, b"\0\0\0\0\0") && sync == tag::SYNC;
        is_plain.then_some(Self { describes, bytes })
    }

    /// What follows the Parse of a statement without a name, from its Bind on, and that Bind.
    fn behind_parse(buffered: &[u8]) -> Option<(Bind<'_>, Self)> {
        let ((tag, body), at) = message(buffered, 0)?;
        if tag != tag::BIND {
            return None;
        }
        let bind = Bind::decode(body).ok()?;
        let rest = Self::read(buffered.get(at..)?)?;
        let whole = Self {
            bytes: at + rest.bytes,
            ..rest
        };
        let unnamed = bind.portal.is_empty() && bind.statement.is_empty();
        unnamed.then_some((bind, whole))
    }
}

/// The message at a place, and where it ends.
fn message(buffered: &[u8], at: usize) -> Option<((u8, &[u8]), usize)> {
    let rest = buffered.get(at..)?;
    let header = Header::parse(rest, buffered.len()).ok()??;
    let frame = rest.get(..header.frame_bytes())?;
    let body = frame.get(frame.len() - header.body_bytes..)?;
    Some(((header.tag, body), at + header.frame_bytes()))
}

impl Session {
    /// Does a batch in a lane, from its Bind to its Sync; false when it has to go to a backend of
    /// its own, and nothing was done.
    ///
    /// # Errors
    /// As [`Session::its_turn`], nothing having been done either.
    pub(super) async fn open_in_lane(
        &mut self,
        serving: &Serving,
        target: Target,
        opening: &Opening<'_>,
    ) -> Result<bool, Stopped> {
        let (prepared, bind, named) = (&opening.prepared, opening.frame, opening.named);
        // The messages behind the Bind are looked at one by one where texts are converted.
        let is_handled_whole = !self.batch.keeps() && !self.client.converts();
        let (Some(planned), true) = (&prepared.planned, is_handled_whole) else {
            return Ok(false);
        };
        let rest = Rest::read(self.client.peek(MAX_REST_BYTES));
        let Some(rest) = rest.filter(|_| opening.portal.is_empty()) else {
            return Ok(false);
        };
        let change = match self.batch.deferred.as_slice() {
            [] if named => None,
            [
                Step::Parse {
                    prepared: parsed,
                    named: false,
                    change,
                },
            ] if !named && parsed.id == prepared.id => Some(*change),
            _ => return Ok(false),
        };
        let mut bytes = std::mem::take(&mut self.outbound);
        if named {
            let server_name = prepared.server_name.as_bytes();
            wire::frontend::bind_renamed(&mut bytes, bind.body(), server_name)?;
        } else {
            prepared.put_parse(&mut bytes, "");
            bytes.extend_from_slice(bind.bytes());
        }
        bytes.extend_from_slice(self.client.peek(rest.bytes));
        let request = Request {
            bytes: [&bytes, &[]],
            routed: serving.snapshot.epoch(),
            settings: self.settings.committed(),
            statement: named.then_some(prepared.id),
            pace: &planned.pace,
        };
        let standing = self.line_up(serving, target, &request);
        bytes.clear();
        self.outbound = bytes;
        let Some(standing) = standing? else {
            return Ok(false);
        };
        let asked = self.wait_for_turn(serving, standing).await?;
        self.batch.deferred.clear();
        let asking = Asking {
            prepared,
            rest,
            change,
            asked,
        };
        self.exchange_in_lane(asking, opening.effect.clone(), bind)
            .await?;
        Ok(true)
    }

    /// Where a batch goes that is one statement without a name, and its length behind the Parse;
    /// none where more has to be known, or not all of it is there.
    pub(in crate::session) fn locate_batch(
        &self,
        parse: &Frame,
        serving: &Serving,
    ) -> Option<(Located, usize)> {
        let (bind, rest) = Rest::behind_parse(self.client.peek(MAX_BATCH_BYTES))?;
        let is_short = parse.bytes().len() + rest.bytes <= MAX_REQUEST_BYTES;
        if !is_short || !self.may_share_now() || self.front.core.moving.is_likely() {
            return None;
        }
        let parse = Parse::decode(parse.body()).ok()?;
        if !parse.name.is_empty() {
            return None;
        }
        let sql = trace::without_comment(parse.sql.as_str().ok()?, &HINTS);
        let planned = self.front.core.cache.plan(sql, &serving.snapshot).ok()?;
        let [statement] = planned.analysis.statements.as_slice() else {
            return None;
        };
        let plans = self.plans(&planned, serving);
        let plan = plans.plans.first()?;
        let is_query = matches!(statement.class, Class::Select(_));
        if !is_query || !route::holds_for_texts(statement, plan) {
            return None;
        }
        let types: Vec<u32> = parse.parameter_types.iter().collect();
        let bound = Bound {
            bind,
            types: &types,
        };
        let located = Located {
            target: self.place(statement, plan, &bound, serving).ok()?,
            writes: may_write(plan, statement),
            permit: self.permit(statement, Some(plan)),
            planned: Arc::clone(&planned),
        };
        Some((located, rest.bytes))
    }

    /// Goes on with such a batch, which was asked at that time on the backend that the session has
    /// in a lane, up to its Sync.
    pub(super) async fn finish_in_lane(
        &mut self,
        parse: &Frame,
        asked: Instant,
    ) -> Result<(), Stopped> {
        let planned = self.flight.shares.clone();
        let unparsed = planned.map(|planned| Unparsed::new(parse, planned));
        let prepared = unparsed.and_then(|unparsed| self.unnamed(&unparsed));
        let rest = Rest::behind_parse(self.client.peek(MAX_BATCH_BYTES));
        let (prepared, (_, rest)) = prepared
            .zip(rest)
            .expect("the batch is still what it was when it was asked");
        self.statements.insert(Bytes::new(), Arc::clone(&prepared));
        let change = self.batch.changes.parsed(Bytes::new());
        let asking = Asking {
            prepared: &prepared,
            rest,
            change: Some(change),
            asked,
        };
        self.exchange_in_lane(asking, Effect::None, parse).await
    }

    /// Makes a statement of a Parse that was answered the short way, unless the next message is
    /// another one.
    pub(super) fn take_up_unparsed(&mut self, unparsed: &Unparsed, next: &Frame) {
        let replaces = next.tag() == tag::PARSE && next.body().first() == Some(&0);
        if !replaces && let Some(prepared) = self.unnamed(unparsed) {
            self.statements.insert(Bytes::new(), prepared);
        }
    }

    /// The statement of a Parse without a name.
    fn unnamed(&self, unparsed: &Unparsed) -> Option<Arc<Prepared>> {
        let Unparsed { parse, planned } = unparsed;
        let decoded = Parse::decode(parse.body()).ok()?;
        let parsed = Parsed {
            planned: Some(Arc::clone(planned)),
            ..self.said_in(&decoded, definition_of(&decoded, parse))
        };
        Some(self.front.statements.unnamed(parsed))
    }

    /// Relays what a batch is answered that was asked in a lane; `told` is a message of it.
    async fn exchange_in_lane(
        &mut self,
        asking: Asking<'_>,
        effect: Effect,
        told: &Frame,
    ) -> Result<(), Stopped> {
        let Asking {
            prepared,
            rest,
            change,
            asked,
        } = asking;
        self.client.consume(rest.bytes);
        if let Some(change) = change {
            let answer = Answer::Parse(prepared.id);
            self.expected.forward_change(answer, change);
        }
        self.expected.forward(Answer::Bind);
        if rest.describes {
            self.expected.forward(Answer::Describe);
        }
        self.expected.forward(Answer::Execute);
        self.note_effect(effect);
        self.expected.forward(Answer::Ready);
        self.flight.ends = true;
        self.flight.shares.clone_from(&prepared.planned);
        self.asked = Some(Arc::clone(prepared));
        if !self.client.owes() {
            self.client.withhold_no_more();
        }
        let exchanged = self.exchange_since(asked).await;
        // What is not kept is not done anew either.
        let _anew = self.synced(exchanged, true).await?;
        self.note_answered(told);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use wire::frontend::{TargetKind, encode};

    use super::*;

    fn rest(write: impl FnOnce(&mut BytesMut)) -> (Option<Rest>, usize) {
        let mut out = BytesMut::new();
        write(&mut out);
        // Whatever comes behind is another batch.
        let bytes = out.len();
        encode::sync(&mut out);
        (Rest::read(&out), bytes)
    }

    #[test]
    fn a_batch_of_one_execute_is_known_by_what_follows_its_bind() {
        let (read, bytes) = rest(|out| {
            encode::execute(out, b"", 0).unwrap();
            encode::sync(out);
        });
        let describes = false;
        assert_eq!(read, Some(Rest { describes, bytes }));
        let (read, bytes) = rest(|out| {
            encode::describe(out, TargetKind::Portal, b"").unwrap();
            encode::execute(out, b"", 0).unwrap();
            encode::sync(out);
        });
        let describes = true;
        assert_eq!(read, Some(Rest { describes, bytes }));
    }

    #[test]
    fn nothing_else_is() {
        let refused = |write: fn(&mut BytesMut)| assert_eq!(rest(write).0, None);
        refused(|_| {});
        refused(|out| encode::execute(out, b"a", 0).unwrap());
        refused(|out| encode::execute(out, b"", 1).unwrap());
        refused(|out| encode::describe(out, TargetKind::Statement, b"").unwrap());
        refused(|out| {
            encode::execute(out, b"", 0).unwrap();
            encode::execute(out, b"", 0).unwrap();
        });
        refused(|out| {
            encode::execute(out, b"", 0).unwrap();
            encode::flush(out);
        });
    }

    #[test]
    fn what_has_not_come_as_a_whole_is_waited_for() {
        let mut out = BytesMut::new();
        encode::describe(&mut out, TargetKind::Portal, b"").unwrap();
        encode::execute(&mut out, b"", 0).unwrap();
        encode::sync(&mut out);
        for bytes in 0..out.len() {
            assert_eq!(Rest::read(out.get(..bytes).unwrap()), None);
        }
        assert!(Rest::read(&out).is_some());
    }
}
