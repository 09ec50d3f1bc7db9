//! A batch of one short read, all of which has come, stands in a lane (docs/decisions/0020).

use std::sync::Arc;

use tokio::time::Instant;
use wire::Header;
use wire::frontend::tag;

use super::bind::Opening;
use super::steps::Step;
use crate::pool::Request;
use crate::route::Target;
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::session::expect::Answer;
use crate::view::Serving;

/// What is looked at of the messages behind a Bind.
const MAX_REST_BYTES: usize = 32;

/// What follows a Bind: the statement is executed once, as a whole, and that is all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rest {
    /// Whether the client asks what its rows look like.
    describes: bool,
    /// Up to the end of Sync.
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
    /// As [`Session::wait_for_turn`], nothing having been done either.
    pub(super) async fn open_in_lane(
        &mut self,
        serving: &Serving,
        target: Target,
        opening: &Opening<'_>,
    ) -> Result<bool, Stopped> {
        let (prepared, bind, named) = (&opening.prepared, opening.frame, opening.named);
        let (Some(planned), false) = (&prepared.planned, self.batch.keeps()) else {
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
            bytes: &bytes,
            routed: serving.snapshot.epoch(),
            settings: self.settings.committed(),
            statement: named.then_some(prepared.id),
            pace: &planned.pace,
        };
        let place = self.line_up(serving, target, &request);
        bytes.clear();
        self.outbound = bytes;
        let Some(place) = place? else {
            return Ok(false);
        };
        let asked = Instant::now();
        self.wait_for_turn(serving, target, (place, asked)).await?;
        self.client.consume(rest.bytes);
        self.batch.deferred.clear();
        if let Some(change) = change {
            let answer = Answer::Parse(prepared.id);
            self.expected.forward_change(answer, change);
        }
        self.expected.forward(Answer::Bind);
        if rest.describes {
            self.expected.forward(Answer::Describe);
        }
        self.expected.forward(Answer::Execute);
        self.note_effect(opening.effect.clone());
        self.expected.forward(Answer::Ready);
        self.flight.ends = true;
        self.flight.shares = Some(Arc::clone(planned));
        self.asked = Some(Arc::clone(prepared));
        if !self.client.owes() {
            self.client.withhold_no_more();
        }
        let exchanged = self.exchange_since(asked).await;
        // What is not kept is not done anew either.
        let _anew = self.synced(exchanged, true).await?;
        self.note_answered(bind);
        Ok(true)
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
