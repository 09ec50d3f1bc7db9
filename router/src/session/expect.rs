//! Pure: which answers of a backend are still to come, and which of them the client reads.
//!
//! One entry for each message sent to the backend, in order, and for each answer that the router
//! itself puts between them.

use std::collections::VecDeque;

use bytes::Bytes;

/// What a message's answer ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Parse, of the statement with this id: ParseComplete.
    Parse(u64),
    /// Bind: BindComplete.
    Bind,
    /// Close: CloseComplete.
    Close,
    /// Describe: RowDescription or NoData.
    Describe,
    /// Execute: CommandComplete, EmptyQueryResponse or PortalSuspended.
    Execute,
    /// Sync, or a simple query: everything up to and including ReadyForQuery.
    Ready,
}

/// One entry.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Expected {
    /// The client reads the answer.
    Forward(Answer),
    /// The client did not send the message and reads nothing of the answer.
    Drop(Answer),
    /// The backend was made to fail; the client reads these bytes instead of its error.
    Replace(Bytes),
    /// Not sent to the backend: the client reads these bytes at this place. The number is what
    /// [`Seen::skipped`] calls it by when an error keeps the client from reading them.
    Local(Bytes, Option<u64>),
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

/// What a run of answers amounted to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Seen {
    /// The status of the last ReadyForQuery.
    pub status: Option<u8>,
    /// Whether the client's own messages met an error.
    pub error: bool,
    /// Whether a message of the router's own met one, which breaks what it was sent for.
    pub own_error: bool,
    /// How many Executes, or commands of a simple query, were completed.
    pub completed: usize,
    /// Whether the last command that ended was ROLLBACK.
    pub rolled_back: bool,
    /// Statements whose Parse was skipped because of an error.
    pub unprepared: Vec<u64>,
    /// Whether a Close of a portal was skipped because of an error.
    pub close_skipped: bool,
    /// Local answers that were skipped because of an error, by the number they were given.
    pub skipped: Vec<u64>,
}

/// The answers still to come.
#[derive(Debug, Default)]
pub(super) struct Expectations {
    queue: VecDeque<Expected>,
    /// The backend takes copy data of the client.
    copying_in: bool,
    /// What was seen since [`Expectations::take_seen`].
    pub seen: Seen,
}

impl Expectations {
    /// The client reads the answer to a message that is being sent.
    pub(super) fn forward(&mut self, answer: Answer) {
        self.queue.push_back(Expected::Forward(answer));
    }

    /// Nobody reads the answer to a message that is being sent.
    pub(super) fn drop_answer(&mut self, answer: Answer) {
        self.queue.push_back(Expected::Drop(answer));
    }

    /// A message is being sent that fails for certain; the client reads `error` instead.
    pub(super) fn replace_error(&mut self, error: Bytes) {
        self.queue.push_back(Expected::Replace(error));
    }

    /// The client reads `frames` after the answers before.
    pub(super) fn local(&mut self, frames: Bytes) {
        self.queue.push_back(Expected::Local(frames, None));
    }

    /// As [`Self::local`]; `number` is reported in [`Seen::skipped`] if the client never reads it.
    pub(super) fn local_numbered(&mut self, frames: Bytes, number: u64) {
        self.queue.push_back(Expected::Local(frames, Some(number)));
    }

    /// Whether the backend owes nothing and nothing local waits.
    #[must_use]
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// How many entries wait.
    #[must_use]
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Local frames whose turn it is.
    pub(super) fn next_local(&mut self) -> Option<Bytes> {
        match self.queue.front() {
            Some(Expected::Local(..)) => match self.queue.pop_front() {
                Some(Expected::Local(frames, _)) => Some(frames),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether rows that come now are for the client.
    #[must_use]
    pub(super) fn rows_are_forwarded(&self) -> bool {
        matches!(self.queue.front(), Some(Expected::Forward(_)))
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
        matches!(self.queue.front(), Some(Expected::Forward(Answer::Execute)))
    }

    /// Takes a frame of the backend into account. `None` when nothing was asked that it could
    /// answer: the backend has lost its step.
    pub(super) fn on_frame(&mut self, tag: u8, body: &[u8]) -> Option<Verdict> {
        match tag {
            // Notices, settings and notifications come between answers.
            b'N' | b'S' | b'A' => return Some(self.between()),
            b'E' => return self.on_error(),
            _ => {}
        }
        let front = self.queue.front()?;
        let (answer, verdict) = match front {
            Expected::Forward(answer) => (*answer, Verdict::Forward),
            Expected::Drop(answer) => (*answer, Verdict::Drop),
            Expected::Replace(_) | Expected::Local(..) => return None,
        };
        if tag == b'G' {
            if matches!(verdict, Verdict::Drop) {
                return None;
            }
            self.copying_in = true;
        }
        if matches!(tag, b'C' | b's' | b'I') && matches!(verdict, Verdict::Forward) {
            self.seen.completed += 1;
            self.seen.rolled_back = body.starts_with(b"ROLLBACK");
        }
        if ends(answer, tag)? {
            self.queue.pop_front();
            if tag == b'Z' {
                self.seen.status = body.first().copied();
            }
        }
        Some(verdict)
    }

    /// An unsolicited frame: forwarded unless the router's own message is being answered.
    fn between(&self) -> Verdict {
        match self.queue.front() {
            Some(Expected::Drop(_)) => Verdict::Drop,
            Some(Expected::Forward(_) | Expected::Replace(_) | Expected::Local(..)) | None => {
                Verdict::Forward
            }
        }
    }

    fn on_error(&mut self) -> Option<Verdict> {
        self.copying_in = false;
        let verdict = match self.queue.front()? {
            Expected::Forward(_) => {
                self.seen.error = true;
                Verdict::Forward
            }
            Expected::Drop(_) => {
                self.seen.own_error = true;
                self.seen.error = true;
                Verdict::Forward
            }
            Expected::Replace(error) => {
                self.seen.error = true;
                Verdict::Replace(error.clone())
            }
            Expected::Local(..) => return None,
        };
        self.skip_to_ready();
        Some(verdict)
    }

    /// After an error the backend skips to Sync, and the client expects nothing before it.
    fn skip_to_ready(&mut self) {
        while let Some(front) = self.queue.front() {
            match front {
                Expected::Forward(Answer::Ready) | Expected::Drop(Answer::Ready) => break,
                Expected::Forward(Answer::Parse(id)) | Expected::Drop(Answer::Parse(id)) => {
                    self.seen.unprepared.push(*id);
                }
                Expected::Forward(Answer::Close) | Expected::Drop(Answer::Close) => {
                    self.seen.close_skipped = true;
                }
                Expected::Local(_, Some(number)) => self.seen.skipped.push(*number),
                Expected::Forward(_)
                | Expected::Drop(_)
                | Expected::Replace(_)
                | Expected::Local(_, None) => {}
            }
            self.queue.pop_front();
        }
    }

    /// What was seen since the last call.
    pub(super) fn take_seen(&mut self) -> Seen {
        std::mem::take(&mut self.seen)
    }
}

/// Whether a frame ends an answer; `None` when it has no place in it.
fn ends(answer: Answer, tag: u8) -> Option<bool> {
    let (last, inner): (&[u8], &[u8]) = match answer {
        Answer::Parse(_) => (b"1", b""),
        Answer::Bind => (b"2", b""),
        Answer::Close => (b"3", b""),
        Answer::Describe => (b"Tn", b"t"),
        Answer::Execute => (b"CIs", b"DGHWdc"),
        Answer::Ready => (b"Z", b"TDCInstGHWdcV123"),
    };
    if last.contains(&tag) {
        Some(true)
    } else if inner.contains(&tag) {
        Some(false)
    } else {
        None
    }
}
