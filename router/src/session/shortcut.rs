//! The short way of a short read: a simple query, or a batch of one statement without a name. Where
//! it stands in a line, and its answer has been read when its turn comes, it is answered without
//! anything that other statements need: the session holds no backend, expects nothing and waits
//! once (docs/decisions/0020).
//!
//! Whatever is not as usual goes on from where it has come to, by way of
//! [`Session::simple_query`] or [`Session::extended_message`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Buf as _;
use platform::trace;
use tokio::time::Instant;
use wire::frame::HEADER_BYTES;
use wire::frontend::{Query, tag};

use super::attach::Stopped;
use super::client::Frame;
use super::extended::Unparsed;
use super::form::{ByForm, Located};
use super::sharing::Standing;
use super::state::Transaction;
use super::{Ended, Session};
use crate::metrics::route_of;
use crate::pool::metrics::Outcome;
use crate::pool::{Request, Turn};
use crate::query::{self, HINTS};
use crate::view::Serving;

/// How far a message has come before it is handled.
#[derive(Debug, Default)]
pub(super) enum Begun {
    /// Nothing was done about it.
    #[default]
    Not,
    /// It goes to one shard, on a backend of its own.
    Located(Arc<Serving>, Located),
    /// It was asked at that time on the backend that the session has, in a lane.
    Turn(Instant),
    /// It does not run, or not yet.
    Stopped(Stopped),
    /// All is done.
    Answered,
}

impl Session {
    /// Does what can be done about a message the short way.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn begin(&mut self, frame: &Frame) -> Result<Begun, Ended> {
        if !self.may_begin(frame) {
            return Ok(Begun::Not);
        }
        let serving = self.front.core.view.load();
        let is_query = frame.tag() == tag::QUERY;
        let located = match is_query {
            true => self.locate(frame, &serving).map(|located| (located, 0)),
            false => self.locate_batch(frame, &serving),
        };
        let Some((located, rest_bytes)) = located else {
            return Ok(Begun::Not);
        };
        let rest = self.client.peek(rest_bytes);
        let joined = match self.may_share_located(&located) {
            true => self.line_up_located(&serving, &located, [frame.bytes(), rest]),
            false => Ok(None),
        };
        let mut standing = match joined {
            Ok(Some(standing)) => standing,
            Ok(None) if is_query => return Ok(Begun::Located(serving, located)),
            Err(stopped) if is_query => return Ok(Begun::Stopped(stopped)),
            // Met again where the batch is bound.
            Ok(None) | Err(_) => return Ok(Begun::Not),
        };
        self.begin_alone();
        self.clock.start();
        self.cancel.lines_up();
        let turn = (&mut standing.place).await.ok();
        let now = Instant::now();
        let turn = match self.its_turn(turn, &serving, (&standing, now)) {
            Ok(turn) => turn,
            Err(stopped) => return Ok(Begun::Stopped(stopped)),
        };
        if let Err(turn) = self.answer_at_once(turn, is_query)? {
            self.take_turn(turn, &serving, standing.target);
            self.flight.shares = Some(located.planned);
            return Ok(Begun::Turn(standing.joined));
        }
        self.client.consume(rest_bytes);
        if !is_query {
            self.unparsed = Some(Unparsed::new(frame, Arc::clone(&located.planned)));
        }
        located.planned.pace.took(Duration::ZERO);
        self.note_shortcut(&serving, &standing, now);
        self.note_answered(frame);
        if self.client.owes() {
            self.client.flush_now().await?;
        }
        Ok(Begun::Answered)
    }

    /// Whether a message may go the short way: it is a query, or may begin a batch that is one, and
    /// nothing is under way.
    fn may_begin(&self, frame: &Frame) -> bool {
        matches!(frame.tag(), tag::QUERY | tag::PARSE)
            && self.attachment.is_none()
            && self.transaction == Transaction::Idle
            && !self.batch.is_failed()
            && !self.is_within_batch()
            && !self.client.withholds()
            && self.portals.is_empty()
            && !self.client.owes()
            && !self.client.converts()
            && !trace::is_on()
    }

    /// Where a query goes, by its form; none where more has to be known.
    fn locate(&self, frame: &Frame, serving: &Serving) -> Option<Located> {
        let sql = Query::decode(frame.body()).ok()?.sql.as_str().ok()?;
        let sql = trace::without_comment(sql, &HINTS);
        if query::new_ids(sql).is_some() {
            return None;
        }
        match self.locate_by_form(sql, serving)? {
            ByForm::Located(located) => Some(located),
            ByForm::Unnamed(_) | ByForm::Viewed(_) => None,
        }
    }

    /// Whether a query may share a backend with strangers.
    pub(super) fn may_share_located(&self, located: &Located) -> bool {
        !located.writes && located.permit.is_none() && self.may_share(&located.planned)
    }

    /// The end of a line in which a query waits for its turn; none where it has to go to a backend
    /// of its own. Its bytes may be in two places.
    pub(super) fn line_up_located<'a>(
        &self,
        serving: &'a Serving,
        located: &Located,
        bytes: [&[u8]; 2],
    ) -> Result<Option<Standing<'a>>, Stopped> {
        let request = Request {
            bytes,
            routed: serving.snapshot.epoch(),
            settings: self.settings.committed(),
            statement: None,
            pace: &located.planned.pace,
        };
        self.line_up(serving, located.target, &request)
    }

    /// Passes on an answer that whoever was first in the line before has read, and the backend to
    /// the next; gives the turn back where there is more to it.
    fn answer_at_once(
        &mut self,
        mut turn: Turn,
        is_query: bool,
    ) -> Result<Result<(), Turn>, Ended> {
        let inbound = &turn.lease.inbound;
        let length = match is_query {
            true => plain_answer(inbound, b"T", b""),
            false => plain_answer(inbound, b"12", b"Tn"),
        };
        let answer = length.and_then(|bytes| inbound.get(..bytes));
        let Some(answer) = answer.filter(|_| turn.unsent.is_empty() && turn.lease.is_sound())
        else {
            return Ok(Err(turn));
        };
        let bytes = answer.len();
        let written = self.client.write_at_once(answer);
        turn.lease.inbound.advance(bytes);
        // It may have parsed one of a stranger's.
        turn.lease.unnamed = None;
        if let Some(lease) = turn.baton.pass(turn.lease) {
            lease.give_back();
        }
        written?;
        Ok(Ok(()))
    }

    /// What is counted of each query, of one that was answered at that time.
    fn note_shortcut(&mut self, serving: &Serving, standing: &Standing<'_>, now: Instant) {
        let target = standing.target;
        let took = now.saturating_duration_since(standing.joined);
        self.listed.requests(now);
        self.front.core.metrics.routed(&serving.snapshot, target);
        let metrics = standing.pool.metrics();
        metrics.answered(route_of(target), Outcome::Success, took);
        self.took = self.took.max(took);
        self.settings.end_transaction(true);
        self.clock.stop();
    }
}

/// The length of the answer that the buffer begins with: messages of these types, one of those that
/// may follow, rows, CommandComplete, and ReadyForQuery outside of a transaction. None where it is
/// not there as a whole, or is anything else.
fn plain_answer(inbound: &[u8], begins: &[u8], may_follow: &[u8]) -> Option<usize> {
    let mut at = 0;
    for tag in begins {
        at = behind(inbound, at, |it| it == *tag)?;
    }
    at = behind(inbound, at, |it| may_follow.contains(&it)).unwrap_or(at);
    while let Some(next) = behind(inbound, at, |it| it == b'D') {
        at = next;
    }
    at = behind(inbound, at, |it| it == b'C')?;
    inbound
        .get(at..)?
        .starts_with(READY)
        .then(|| at + READY.len())
}

/// ReadyForQuery outside of a transaction.
const READY: &[u8] = b"Z\0\0\0\x05I";

/// Where the message at a place ends, if it is of a type that is wanted.
fn behind(inbound: &[u8], at: usize, is_wanted: impl Fn(u8) -> bool) -> Option<usize> {
    let (header, _) = inbound.get(at..)?.split_first_chunk::<HEADER_BYTES>()?;
    let [tag, length @ ..] = *header;
    let body_bytes = usize::try_from(u32::from_be_bytes(length).checked_sub(4)?).ok()?;
    is_wanted(tag).then(|| at + HEADER_BYTES + body_bytes)
}

#[cfg(test)]
mod tests {
    use super::{READY, plain_answer};

    const ROWS: &[u8] = b"T\0\0\0\x06\0\0D\0\0\0\x06\0\0D\0\0\0\x04C\0\0\0\x0dSELECT 2\0";
    const BOUND: &[u8] = b"1\0\0\0\x042\0\0\0\x04";
    const DONE: &[u8] = b"C\0\0\0\x0dSELECT 0\0";

    fn query(parts: &[&[u8]]) -> Option<usize> {
        plain_answer(&parts.concat(), b"T", b"")
    }

    fn batch(parts: &[&[u8]]) -> Option<usize> {
        plain_answer(&parts.concat(), b"12", b"Tn")
    }

    #[test]
    fn an_answer_of_rows_ends_behind_its_ready_for_query() {
        let bytes = ROWS.len() + READY.len();
        assert_eq!(query(&[ROWS, READY]), Some(bytes));
        assert_eq!(query(&[ROWS, READY, ROWS, READY]), Some(bytes));
        assert_eq!(query(&[ROWS, READY, b"E"]), Some(bytes));
        assert_eq!(batch(&[BOUND, ROWS, READY]), Some(BOUND.len() + bytes));
        for described in [&b""[..], b"n\0\0\0\x04"] {
            let bytes = BOUND.len() + described.len() + DONE.len() + READY.len();
            assert_eq!(batch(&[BOUND, described, DONE, READY]), Some(bytes));
        }
    }

    #[test]
    fn what_is_not_there_as_a_whole_is_none() {
        let whole = [BOUND, ROWS, READY].concat();
        for bytes in 0..whole.len() {
            let (begin, _) = whole.split_at(bytes);
            assert_eq!(batch(&[begin]), None);
        }
    }

    #[test]
    fn neither_is_what_says_anything_else() {
        for tag in [b'E', b'N', b'S', b'A', b'G', b's', b'Z', b'C', b'1'] {
            let other = [tag, 0, 0, 0, 4];
            assert_eq!(query(&[&other, ROWS, READY]), None);
            assert_eq!(query(&[ROWS, &other, READY]), None);
            assert_eq!(batch(&[BOUND, &other, ROWS, READY]), None);
            assert_eq!(batch(&[BOUND, ROWS, &other, READY]), None);
        }
        for status in [b'T', b'E'] {
            assert_eq!(query(&[ROWS, b"Z\0\0\0\x05", &[status]]), None);
        }
        assert_eq!(query(&[BOUND, ROWS, READY]), None, "of a batch");
        assert_eq!(batch(&[ROWS, READY]), None, "of a query");
        assert_eq!(query(&[READY]), None);
    }

    #[test]
    fn a_length_that_cannot_be_is_no_answer() {
        assert_eq!(query(&[b"T\xff\xff\xff\xff", READY]), None);
        assert_eq!(query(&[b"T\0\0\0\0", READY]), None);
    }
}
