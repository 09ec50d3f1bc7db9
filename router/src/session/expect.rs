//! Pure: which answers of a backend are still to come, and which of them the client reads.
//!
//! One entry for each message sent to the backend, in order, and for each answer that the router
//! itself puts between them.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use topology::ShardId;
use wire::TagSet;

use super::notifiers::Listener;
use super::shape::Shape;
use crate::moving::{self, Said};

/// What a message's answer ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Parse, of the statement with this id: ParseComplete.
    Parse(u64),
    /// Bind: BindComplete.
    Bind,
    /// Close of a portal: CloseComplete.
    ClosePortal,
    /// Close of the statement with this id: CloseComplete.
    CloseStatement(u64),
    /// Describe: RowDescription or NoData.
    Describe,
    /// Execute: CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Sync, or a simple query: everything up to and including ReadyForQuery.
    Ready,
    /// A simple query of which the client reads all but its ReadyForQuery.
    Commands,
}

/// What an entry stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    /// The client reads the answer.
    Forward(Answer),
    /// The client did not send the message and reads nothing of the answer.
    Drop(Answer),
    /// The backend was made to fail; the client reads these bytes instead of its error.
    Replace(Bytes),
    /// Not sent to the backend: the client reads these bytes at this place.
    Local(Bytes),
}

/// One entry.
#[derive(Debug)]
struct Entry {
    expected: Expected,
    /// The change of the session's statements that its message made, which is undone if an error
    /// keeps the message from being done.
    change: Option<u64>,
    /// Whose rows are described.
    described: Option<Box<Described>>,
}

/// A statement that a shard describes.
#[derive(Debug)]
struct Described {
    shape: Arc<Shape>,
    shard: ShardId,
}

impl Entry {
    fn is_ready(&self) -> bool {
        matches!(
            self.expected,
            Expected::Forward(Answer::Ready | Answer::Commands) | Expected::Drop(Answer::Ready)
        )
    }
}

/// What to do with a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The client reads it.
    Forward,
    /// Nobody reads it.
    Drop,
    /// The client reads these bytes instead.
    Replace(Bytes),
}

/// What no longer fits its tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outdated {
    /// A prepared statement, whose result has another form than when it was parsed.
    Plans,
    /// Perhaps the names of columns that the router has written into a statement.
    Columns,
    /// Perhaps the server, which is a primary no longer: it lets nobody write.
    Server,
}

impl Outdated {
    /// What an error says.
    fn read(body: &[u8]) -> Option<Self> {
        let mut fields = body.split(|byte| *byte == 0);
        fields.find_map(|field| match field {
            // Where PostgreSQL finds it, whatever its words are.
            b"RRevalidateCachedQuery" => Some(Self::Plans),
            b"C42703" => Some(Self::Columns),
            b"C25006" => Some(Self::Server),
            _ => None,
        })
    }
}

/// What a run of answers amounted to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Seen {
    /// The status of the last ReadyForQuery.
    pub status: Option<u8>,
    /// Whether the client's own messages met an error.
    pub error: bool,
    /// Whether a message of the router's own met one, which breaks what it was sent for.
    pub own_error: bool,
    /// What the tables have become different from, by an error.
    pub outdated: Option<Outdated>,
    /// How many Executes, or commands of a simple query, were completed.
    pub completed: usize,
    /// Which of them said ROLLBACK, in order.
    pub rollbacks: Vec<usize>,
    /// Statements that the backend has not got, because their Parse failed or was skipped.
    pub unprepared: Vec<u64>,
    /// Statements that the backend still has, because their Close was skipped.
    pub unclosed: Vec<u64>,
    /// Whether the backend may hold a statement that it was asked to describe and has not.
    pub undescribed: bool,
    /// Changes of the session's statements to undo, in the order in which they were made.
    pub undone: Vec<u64>,
    /// What a guard has said of rows that are being moved.
    pub guarded: Option<Guarded>,
}

/// What became of an error by which a guard keeps rows that are being moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Guarded {
    /// The client has read of it.
    Told(Said),
    /// The client knows nothing of it, nor of anything since [`Expectations::may_take_back`]: that
    /// can be done anew.
    TakenBack(Said),
}

impl Seen {
    /// A message is not done because of an error before it, or is where the error was met.
    fn skip(&mut self, entry: &Entry) {
        match &entry.expected {
            Expected::Forward(answer) | Expected::Drop(answer) => match answer {
                Answer::Parse(id) => self.unprepared.push(*id),
                Answer::CloseStatement(id) => self.unclosed.push(*id),
                Answer::Bind
                | Answer::ClosePortal
                | Answer::Describe
                | Answer::Execute
                | Answer::Ready
                | Answer::Commands => {}
            },
            Expected::Replace(_) | Expected::Local(_) => {}
        }
        let is_own = matches!(entry.expected, Expected::Drop(_));
        self.undescribed |= is_own && entry.described.is_some();
        self.undone.extend(entry.change);
    }

    /// Whether what was sent is to be done anew.
    #[must_use]
    pub(super) fn is_taken_back(&self) -> bool {
        matches!(self.guarded, Some(Guarded::TakenBack(_)))
    }

    /// Whether a completed command said ROLLBACK.
    #[must_use]
    pub(super) fn is_rollback(&self, command: usize) -> bool {
        self.rollbacks.binary_search(&command).is_ok()
    }

    /// Whether the last completed command said ROLLBACK.
    #[must_use]
    pub(super) fn rolled_back(&self) -> bool {
        self.completed
            .checked_sub(1)
            .is_some_and(|last| self.is_rollback(last))
    }
}

/// How far an answer can be taken back when a guard refuses what it is the answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Back {
    /// Not at all: the client reads it as it comes.
    #[default]
    Never,
    /// As long as nothing of it has come: it costs nothing.
    Unread,
    /// Until something is executed: what comes before is kept from the client.
    Kept,
}

/// The answers still to come.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    queue: VecDeque<Entry>,
    /// The backend has failed and skips whatever it is sent before a Sync.
    skipping: bool,
    /// The backend takes copy data of the client.
    copying_in: bool,
    /// Whether the client has read nothing yet of what is being answered.
    back: Back,
    /// What was seen since [`Expectations::take_seen`].
    seen: Seen,
    /// Who reads notifications, where the session keeps a connection.
    listener: Option<Listener>,
}

impl Expectations {
    /// The client reads the answer to a message that is being sent.
    pub(super) fn forward(&mut self, answer: Answer) {
        self.push(Expected::Forward(answer), None);
    }

    /// As [`Self::forward`], for a message that made a change to the session's statements.
    pub(super) fn forward_change(&mut self, answer: Answer, change: u64) {
        self.push(Expected::Forward(answer), Some(change));
    }

    /// A Describe of a prepared statement is being sent: what the shard says is compared with what
    /// was said before. The client reads it too where it has asked.
    pub(super) fn describe(&mut self, is_asked: bool, shape: Option<&Arc<Shape>>, shard: &ShardId) {
        let expected = if is_asked {
            Expected::Forward(Answer::Describe)
        } else {
            Expected::Drop(Answer::Describe)
        };
        let described = shape.map(|shape| {
            Box::new(Described {
                shape: Arc::clone(shape),
                shard: shard.clone(),
            })
        });
        self.push_entry(Entry {
            expected,
            change: None,
            described,
        });
    }

    /// Nobody reads the answer to a message that is being sent.
    pub(super) fn drop_answer(&mut self, answer: Answer) {
        self.push(Expected::Drop(answer), None);
    }

    /// A message is being sent that fails for certain; the client reads `error` instead.
    pub(super) fn replace_error(&mut self, error: Bytes) {
        self.push(Expected::Replace(error), None);
    }

    /// The client reads `frames` after the answers before; `change` is what the message that they
    /// answer did to the session's statements.
    pub(super) fn local(&mut self, frames: Bytes, change: Option<u64>) {
        self.push(Expected::Local(frames), change);
    }

    fn push(&mut self, expected: Expected, change: Option<u64>) {
        self.push_entry(Entry {
            expected,
            change,
            described: None,
        });
    }

    fn push_entry(&mut self, entry: Entry) {
        self.skipping = self.skipping && !entry.is_ready();
        if self.skipping {
            self.seen.skip(&entry);
        } else {
            self.queue.push_back(entry);
        }
    }

    /// Whether the backend owes nothing and nothing local waits.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the backend has answered everything, even if something local waits.
    #[must_use]
    pub(super) fn owes_nothing(&self) -> bool {
        let is_local = |entry: &Entry| matches!(entry.expected, Expected::Local(_));
        self.queue.iter().all(is_local)
    }

    /// How many entries wait.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    fn front(&self) -> Option<&Expected> {
        self.queue.front().map(|entry| &entry.expected)
    }

    /// Whether it is the turn of local frames.
    #[must_use]
    pub(super) fn is_local_next(&self) -> bool {
        matches!(self.front(), Some(Expected::Local(_)))
    }

    /// Local frames whose turn it is.
    pub(super) fn next_local(&mut self) -> Option<Bytes> {
        let Some(Expected::Local(frames)) = self.front() else {
            return None;
        };
        let frames = frames.clone();
        self.queue.pop_front();
        Some(frames)
    }

    /// What is answered next can be taken back so far.
    pub(super) fn may_take_back(&mut self, back: Back) {
        self.back = back;
    }

    /// Whether the client must not be written to now.
    #[must_use]
    pub(super) fn keeps_back(&self) -> bool {
        self.seen.is_taken_back() || (self.back == Back::Kept && !self.queue.is_empty())
    }

    /// Whether rows that come now are for the client.
    #[must_use]
    pub(super) fn rows_are_forwarded(&mut self) -> bool {
        let forwarded = matches!(self.front(), Some(Expected::Forward(_)));
        if forwarded {
            self.back = Back::Never;
        }
        forwarded
    }

    /// Whether the backend takes copy data.
    #[must_use]
    pub(super) fn is_copying_in(&self) -> bool {
        self.copying_in
    }

    /// The client has sent the last of its copy data.
    pub(super) fn copy_in_was_sent(&mut self) {
        self.copying_in = false;
    }

    /// Whether an Execute is being answered.
    #[must_use]
    pub(super) fn is_execute(&self) -> bool {
        matches!(self.front(), Some(Expected::Forward(Answer::Execute)))
    }

    /// Takes a frame of the backend into account. `None` when nothing was asked that it could
    /// answer: the backend has lost its step.
    pub(super) fn on_frame(&mut self, tag: u8, body: &[u8]) -> Option<Verdict> {
        match tag {
            // Notices, settings and notifications come between answers.
            b'N' | b'S' => return Some(self.between()),
            b'A' => return Some(self.on_notification(body)),
            b'E' => return self.on_error(body),
            _ => {}
        }
        let (answer, verdict) = match self.front()? {
            Expected::Forward(answer) => (*answer, Verdict::Forward),
            Expected::Drop(answer) => (*answer, Verdict::Drop),
            Expected::Replace(_) | Expected::Local(_) => return None,
        };
        if matches!(verdict, Verdict::Forward)
            && (self.back == Back::Unread
                || matches!(answer, Answer::Execute | Answer::Ready | Answer::Commands))
        {
            self.back = Back::Never;
        }
        if tag == b'G' {
            if matches!(verdict, Verdict::Drop) {
                return None;
            }
            self.copying_in = true;
        }
        if matches!(tag, b'C' | b's' | b'I') && matches!(verdict, Verdict::Forward) {
            if body.starts_with(b"ROLLBACK") {
                self.seen.rollbacks.push(self.seen.completed);
            }
            self.seen.completed += 1;
        }
        if ends(answer, tag)? {
            if let Some(Entry {
                described: Some(it),
                ..
            }) = self.queue.pop_front()
                && !it.shape.note(&it.shard, tag, body)
            {
                self.seen.outdated = Some(Outdated::Plans);
            }
            if tag == b'Z' {
                self.seen.status = body.first().copied();
                if answer == Answer::Commands {
                    return Some(Verdict::Drop);
                }
            }
        }
        Some(verdict)
    }

    /// An unsolicited frame: forwarded unless the router's own message is being answered.
    fn between(&mut self) -> Verdict {
        match self.front() {
            Some(Expected::Drop(_)) => Verdict::Drop,
            Some(Expected::Forward(_) | Expected::Replace(_) | Expected::Local(_)) | None => {
                self.forward_between()
            }
        }
    }

    fn forward_between(&mut self) -> Verdict {
        if self.back == Back::Unread {
            self.back = Back::Never;
        }
        Verdict::Forward
    }

    /// A notification, which is not of the message that is being answered, whosesoever that is.
    fn on_notification(&mut self, body: &[u8]) -> Verdict {
        let verdict = self.forward_between();
        let renamed = self.listener.as_ref().and_then(|it| it.renamed(body));
        renamed.map_or(verdict, Verdict::Replace)
    }

    /// Who reads the notifications that come, if anybody does.
    pub(super) fn listen(&mut self, listener: Option<Listener>) {
        self.listener = listener;
    }

    fn on_error(&mut self, body: &[u8]) -> Option<Verdict> {
        self.copying_in = false;
        let said = moving::said(body);
        let taken_back = self.back != Back::Never
            && said.as_ref().is_some_and(Said::is_passing)
            && matches!(self.front()?, Expected::Forward(_));
        let verdict = match (self.front()?, &said) {
            (Expected::Forward(_), Some(_)) if taken_back => Verdict::Drop,
            (Expected::Forward(_) | Expected::Drop(_), Some(said)) => {
                Verdict::Replace(said.clone().error().frame())
            }
            (Expected::Forward(_) | Expected::Drop(_), None) => Verdict::Forward,
            (Expected::Replace(error), _) => Verdict::Replace(error.clone()),
            (Expected::Local(_), _) => return None,
        };
        self.seen.own_error |= matches!(self.front()?, Expected::Drop(_));
        self.seen.error = true;
        self.seen.outdated = self.seen.outdated.or_else(|| Outdated::read(body));
        if let Some(said) = said {
            self.seen.guarded = Some(if taken_back {
                Guarded::TakenBack(said)
            } else {
                Guarded::Told(said)
            });
        }
        self.back = Back::Never;
        self.skip_to_ready();
        if taken_back && let Some(entry) = self.queue.front_mut() {
            // Its end is not the client's either.
            entry.expected = Expected::Drop(Answer::Ready);
        }
        Some(verdict)
    }

    /// Nothing of what waits has been sent, and nothing will be: it is as if it had never come.
    pub(super) fn forget_unsent(&mut self) -> Seen {
        for entry in std::mem::take(&mut self.queue) {
            self.seen.skip(&entry);
        }
        self.back = Back::Never;
        self.skipping = false;
        self.take_seen()
    }

    /// After an error the backend skips to Sync, and the client expects nothing before it.
    fn skip_to_ready(&mut self) {
        while let Some(entry) = self.queue.front() {
            if entry.is_ready() {
                return;
            }
            self.seen.skip(entry);
            self.queue.pop_front();
        }
        self.skipping = true;
    }

    /// The backend is gone: nothing more comes, and what was not answered is undone.
    pub(super) fn abandon(&mut self) {
        let changes = self.queue.drain(..).filter_map(|entry| entry.change);
        self.seen.undone.extend(changes);
        self.skipping = false;
    }

    /// What was seen since the last call.
    pub(super) fn take_seen(&mut self) -> Seen {
        self.back = Back::Never;
        std::mem::take(&mut self.seen)
    }
}

/// Whether a frame ends an answer; `None` when it has no place in it.
fn ends(answer: Answer, tag: u8) -> Option<bool> {
    const OF_DESCRIBE: TagSet = TagSet::of(b"t");
    const OF_EXECUTE: TagSet = TagSet::of(b"DGHWdc");
    const OF_QUERY: TagSet = TagSet::of(b"TDCInstGHWdcV123");
    let (last, inner) = match answer {
        Answer::Parse(_) => (tag == b'1', TagSet::NONE),
        Answer::Bind => (tag == b'2', TagSet::NONE),
        Answer::ClosePortal | Answer::CloseStatement(_) => (tag == b'3', TagSet::NONE),
        Answer::Describe => (matches!(tag, b'T' | b'n'), OF_DESCRIBE),
        Answer::Execute => (matches!(tag, b'C' | b'I' | b's'), OF_EXECUTE),
        Answer::Ready | Answer::Commands => (tag == b'Z', OF_QUERY),
    };
    match last {
        true => Some(true),
        false => inner.contains(tag).then_some(false),
    }
}

#[cfg(test)]
mod tests;
