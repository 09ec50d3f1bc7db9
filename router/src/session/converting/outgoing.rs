//! Pure: answers in the client's encoding, and what the conversion of a session has to remember.
//!
//! What cannot be told in that encoding is met while an answer is written, when the shard has done
//! the statement. Nothing of the answer follows it then, up to ReadyForQuery; after that the session
//! fails the transaction, and the client reads why.

use std::collections::VecDeque;

use bytes::{Buf as _, BufMut as _, BytesMut};
use wire::Format;
use wire::backend::{DataRow, ParameterStatus, RowDescription, tag};
use wire::frame::{HEADER_BYTES, Header};

use super::binary::{Content, put_sized};
use super::copied::Copied;
use crate::charset::{Charset, Named};
use crate::error::Error;
use crate::route::Refusal;
use crate::session::copy::{CopyFeed, Fed};
use crate::session::local;

/// Longest message of an answer that is converted, which is done as a whole.
const MAX_CONVERTED_BYTES: usize = 64 << 20;

/// How much of a buffer is kept for the next answer.
const MAX_KEPT_BYTES: usize = 64 << 10;

/// What RowDescription says of a column behind its name: table, column, type, size, modifier, format.
const COLUMN_BYTES: usize = 4 + 2 + 4 + 2 + 4 + 2;

/// The first words of what is said to be done by statements that write nothing by themselves.
const READS: [&[u8]; 22] = [
    b"SELECT",
    b"FETCH",
    b"MOVE",
    b"SHOW",
    b"EXPLAIN",
    b"SET",
    b"RESET",
    b"BEGIN",
    b"START",
    b"COMMIT",
    b"ROLLBACK",
    b"SAVEPOINT",
    b"RELEASE",
    b"DECLARE",
    b"CLOSE",
    b"PREPARE",
    b"DEALLOCATE",
    b"DISCARD",
    b"LISTEN",
    b"UNLISTEN",
    b"LOCK",
    b"CHECKPOINT",
];

/// What the conversion of a client's texts has to remember.
#[derive(Debug)]
pub(in crate::session) struct Conversion {
    /// The encoding of what comes next of the client.
    pub(super) named: Named,
    /// What converts it.
    pub(super) incoming: Option<&'static Charset>,
    /// The encoding in which the client reads what is written next.
    told: Named,
    /// The beginning of a message of which the rest is to come.
    partial: BytesMut,
    /// How much is to come of a message that is not told.
    skip: usize,
    /// What is converted and not written yet.
    pub(in crate::session) ready: BytesMut,
    /// How much of that is the end of an answer, behind which nothing else stands.
    end: usize,
    copied: Copied,
    failure: Option<Failure>,
    /// Whether a statement that is done, and no ReadyForQuery has followed, may have written.
    wrote: bool,
    /// Whether the statement at hand is a COPY TO.
    copies_out: bool,
    rows: Rows,
}

/// Why the rest of an answer is not told.
#[derive(Debug)]
struct Failure {
    refusal: Refusal,
    /// The state of the transaction, once the answer was over.
    status: Option<u8>,
}

/// What is known of the rows that come.
#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own about another message"
)]
struct Rows {
    /// What their columns are made of; empty where all is text.
    columns: Vec<Content>,
    /// Whether all that is answered was asked since this began.
    counts: bool,
    /// For each Bind that is not answered: whether a Describe of the router's own follows.
    binds: VecDeque<bool>,
    /// Whether the next description was asked for by the router.
    hides_next: bool,
    /// Whether the next description is of a statement, and says nothing of formats.
    of_statement: bool,
    /// Whether the client's unnamed portal gives values in binary format.
    unnamed_is_binary: bool,
}

impl Conversion {
    /// A client that reads UTF-8 until it is told of another encoding.
    pub(in crate::session) fn new() -> Self {
        Self {
            named: Named::UTF8,
            incoming: None,
            told: Named::UTF8,
            partial: BytesMut::new(),
            skip: 0,
            ready: BytesMut::new(),
            end: 0,
            copied: Copied::default(),
            failure: None,
            wrote: false,
            copies_out: false,
            rows: Rows::default(),
        }
    }

    /// What comes next of the client is in this encoding.
    pub(in crate::session) fn expect(&mut self, named: Named) {
        self.named = named;
        self.incoming = named.charset();
    }

    /// A portal is made; whether its rows have to be described by the router.
    ///
    /// # Errors
    /// [`Refusal`] of what cannot be followed.
    pub(super) fn binds(&mut self, is_unnamed: bool, asks_binary: bool) -> Result<bool, Refusal> {
        if asks_binary && !(is_unnamed && self.rows.counts) {
            return Err(binary_portal());
        }
        if !self.rows.counts {
            return Ok(false);
        }
        if is_unnamed {
            self.rows.unnamed_is_binary = asks_binary;
        }
        self.rows.binds.push_back(asks_binary);
        Ok(asks_binary)
    }

    /// A portal is described or run.
    ///
    /// # Errors
    /// [`Refusal`] of what cannot be followed.
    pub(super) fn looks_at(&self, is_unnamed: bool) -> Result<bool, Refusal> {
        match self.rows.unnamed_is_binary && !is_unnamed {
            true => Err(binary_portal()),
            false => Ok(false),
        }
    }

    /// Whether the client's next messages must not be looked at yet.
    pub(in crate::session) fn asks_next(&self) -> bool {
        self.rows.binds.back() == Some(&true)
    }

    /// As [`CopyFeed::take`], in UTF-8.
    ///
    /// # Errors
    /// As there.
    pub(in crate::session) fn take_copy(
        &mut self,
        feed: &mut CopyFeed,
        inbound: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Fed, String> {
        self.copied.take(self.incoming, feed, inbound, out)
    }

    /// Why the client is not told the rest of what was answered, once, and whether that was all of
    /// it.
    pub(super) fn failure(&mut self) -> Option<(Refusal, bool)> {
        let failure = self.failure.take()?;
        let wrote = std::mem::take(&mut self.wrote) && failure.status == Some(b'I');
        let refusal = match wrote {
            false => failure.refusal,
            true => Refusal {
                sqlstate: "08007",
                message: format!(
                    "the statement took effect, but its answer cannot be told: {}",
                    failure.refusal.message
                ),
                hint: failure.refusal.hint,
            },
        };
        Some((refusal, failure.status.is_some()))
    }

    /// A message of the client was handled, after which its encoding is this one. It is told so
    /// before it reads the end of the answer; what stands in the middle of one has its own place
    /// there. Whether this is the end.
    pub(super) fn settle(&mut self, named: Named) -> bool {
        self.expect(named);
        let is_at_end = self.is_at_end();
        if !is_at_end || self.told.name() == named.name() {
            return is_at_end;
        }
        self.told = named;
        let end = self.ready.split_off(self.ready.len() - self.end);
        wire::backend::encode::parameter_status(&mut self.ready, "client_encoding", named.name());
        self.ready.unsplit(end);
        is_at_end
    }

    /// Whether what is ready ends with the end of an answer, which waits for [`Self::settle`].
    pub(in crate::session) fn is_at_end(&self) -> bool {
        self.end > 0
    }

    /// The end of an answer waits no longer.
    pub(in crate::session) fn release(&mut self) {
        self.end = 0;
    }

    /// What was ready is written.
    pub(in crate::session) fn written(&mut self) {
        if self.ready.capacity() > MAX_KEPT_BYTES {
            self.ready = BytesMut::new();
        }
    }

    /// Converts what the client is to read, as far as its messages are whole.
    pub(in crate::session) fn pass(&mut self, answers: &[u8]) {
        let skipped = self.skip.min(answers.len());
        self.skip -= skipped;
        let mut partial = std::mem::take(&mut self.partial);
        partial.extend_from_slice(answers.get(skipped..).unwrap_or_default());
        while let Ok(Some(header)) = Header::parse(&partial, usize::MAX) {
            let bytes = header.frame_bytes();
            if header.body_bytes > MAX_CONVERTED_BYTES {
                self.fail(too_long(header.body_bytes));
                self.skip = bytes.saturating_sub(partial.len());
                partial.advance(bytes.min(partial.len()));
                continue;
            }
            if partial.len() < bytes {
                break;
            }
            let frame = partial.split_to(bytes);
            self.pass_frame(header.tag, &frame);
        }
        self.partial = partial;
    }

    fn pass_frame(&mut self, message_tag: u8, frame: &[u8]) {
        let body = frame.get(HEADER_BYTES..).unwrap_or_default();
        match message_tag {
            tag::READY_FOR_QUERY => return self.end_answer(body, frame),
            tag::PARAMETER_STATUS => return self.tell_status(body, frame),
            tag::NOTIFICATION_RESPONSE | tag::NOTICE_RESPONSE => {
                return self.put_lossy(frame);
            }
            tag::COMMAND_COMPLETE => self.note_complete(body),
            tag::COPY_IN_RESPONSE => self.begin_copy(body),
            tag::COPY_OUT_RESPONSE => self.copies_out = true,
            _ => {}
        }
        if self.failure.is_some() || !self.rows.shows(message_tag, body) {
            return;
        }
        let converted = match message_tag {
            tag::ERROR_RESPONSE => return self.tell_error(body, frame),
            tag::DATA_ROW => self.convert_row(body),
            tag::ROW_DESCRIPTION => self.convert_description(body),
            tag::COPY_DATA => self.convert_copy(body),
            tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE if body.first() != Some(&0) => {
                Err(binary_copy())
            }
            _ => return self.put(frame),
        };
        match converted {
            Ok(Some(body)) => self.put_message(message_tag, &body),
            Ok(None) => self.put(frame),
            Err(refusal) => self.fail(refusal),
        }
    }

    /// The answer is over, unless the session has more to say of it.
    fn end_answer(&mut self, body: &[u8], frame: &[u8]) {
        self.rows.end();
        self.copied.begin(None);
        self.copies_out = false;
        if let Some(failure) = &mut self.failure {
            failure.status = body.first().copied();
            return;
        }
        self.wrote = false;
        self.put(frame);
        self.end = frame.len();
    }

    fn tell_status(&mut self, body: &[u8], frame: &[u8]) {
        self.put_lossy(frame);
        let status = ParameterStatus::decode(body).ok();
        let value = status
            .filter(|it| it.name == *"client_encoding")
            .map(|it| it.value);
        if let Some(named) = value.and_then(|it| Named::find(&it.to_lossy())) {
            self.told = named;
        }
    }

    fn tell_error(&mut self, body: &[u8], frame: &[u8]) {
        let is_of_copy = body.windows(7).any(|field| field == b"C57014\0");
        match self.copied.why().filter(|_| is_of_copy) {
            Some(refusal) => {
                let said = local::error(&Error::Refused(refusal));
                self.put_lossy(&said);
            }
            None => self.put_lossy(frame),
        }
    }

    fn note_complete(&mut self, body: &[u8]) {
        let word = body.split(|byte| matches!(byte, b' ' | 0)).next();
        match word.unwrap_or_default() {
            b"COPY" if std::mem::take(&mut self.copies_out) => {}
            b"COMMIT" | b"ROLLBACK" if self.failure.is_none() => self.wrote = false,
            word => self.wrote |= !READS.contains(&word),
        }
    }

    fn begin_copy(&mut self, body: &[u8]) {
        let why = match &self.failure {
            Some(failure) => Some(failure.refusal.clone()),
            None => (body.first() != Some(&0)).then(binary_copy),
        };
        self.copied.begin(why);
    }

    fn fail(&mut self, refusal: Refusal) {
        self.failure.get_or_insert(Failure {
            refusal,
            status: None,
        });
    }

    /// The values of a row, or none where nothing is to be converted.
    fn convert_row(&self, body: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(charset) = self.told.charset() else {
            return Ok(None);
        };
        let Ok(row) = DataRow::decode(body) else {
            return Ok(None);
        };
        let to_client = |text: &[u8], out: &mut Vec<u8>| charset.encode(text, out);
        let mut out = Vec::with_capacity(body.len());
        out.extend_from_slice(body.get(..2).unwrap_or_default());
        for (at, value) in row.values.iter().enumerate() {
            let content = self.rows.columns.get(at).copied().unwrap_or(Content::Text);
            match value {
                None => out.put_i32(-1),
                Some(value) => put_sized(&mut out, |out| content.convert(value, out, &to_client))?,
            }
        }
        Ok(Some(out))
    }

    fn convert_description(&self, body: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let (Some(charset), Ok(rows)) = (self.told.charset(), RowDescription::decode(body)) else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(body.len());
        let mut rest = body.get(2..).unwrap_or_default();
        out.extend_from_slice(body.get(..2).unwrap_or_default());
        for column in rows.columns() {
            charset.encode(column.name.as_bytes(), &mut out)?;
            // A zero, and what is said of the column.
            rest = rest.get(column.name.as_bytes().len()..).unwrap_or_default();
            let (said, after) = rest.split_at_checked(1 + COLUMN_BYTES).unwrap_or_default();
            out.extend_from_slice(said);
            rest = after;
        }
        Ok(Some(out))
    }

    fn convert_copy(&self, body: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let Some(charset) = self.told.charset().filter(|_| !body.is_ascii()) else {
            return Ok(None);
        };
        let mut out = Vec::with_capacity(body.len());
        charset.encode(body, &mut out)?;
        Ok(Some(out))
    }

    /// Puts a message whose texts say something about something else: it is to arrive, whatever is
    /// in it.
    fn put_lossy(&mut self, frame: &[u8]) {
        let Some(charset) = self.told.charset().filter(|_| !frame.is_ascii()) else {
            return self.put(frame);
        };
        let (&[message_tag, ..], body) = frame.split_at_checked(HEADER_BYTES).unwrap_or_default()
        else {
            return;
        };
        // The process id of a notification is no text.
        let number = if message_tag == tag::NOTIFICATION_RESPONSE {
            4
        } else {
            0
        };
        let (number, texts) = body.split_at_checked(number).unwrap_or_default();
        let mut out = number.to_vec();
        charset.encode_as_far_as_possible(texts, &mut out);
        self.put_message(message_tag, &out);
    }

    fn put_message(&mut self, message_tag: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap_or(u32::MAX);
        self.put(&[&[message_tag], &length.to_be_bytes()[..]].concat());
        self.put(body);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.ready.extend_from_slice(bytes);
        self.end = 0;
    }
}

impl Rows {
    /// Takes notice of a message; whether the client is to read it.
    fn shows(&mut self, message_tag: u8, body: &[u8]) -> bool {
        match message_tag {
            tag::BIND_COMPLETE => {
                self.hides_next = self.counts && self.binds.pop_front() == Some(true);
                self.columns.clear();
            }
            tag::PARAMETER_DESCRIPTION => self.of_statement = true,
            tag::NO_DATA => {
                let is_of_statement = std::mem::take(&mut self.of_statement);
                return is_of_statement || !std::mem::take(&mut self.hides_next);
            }
            tag::ROW_DESCRIPTION if std::mem::take(&mut self.of_statement) => {}
            tag::ROW_DESCRIPTION => {
                self.describe(body);
                return !std::mem::take(&mut self.hides_next);
            }
            _ => {}
        }
        true
    }

    fn describe(&mut self, body: &[u8]) {
        self.columns.clear();
        let Ok(rows) = RowDescription::decode(body) else {
            return;
        };
        let is_binary = |format| format == Format::Binary;
        if rows.columns().any(|it| is_binary(it.format)) {
            let content = |it: wire::backend::Column<'_>| match is_binary(it.format) {
                true => Content::of_type(it.type_oid),
                false => Content::Text,
            };
            self.columns.extend(rows.columns().map(content));
        }
    }

    /// What an error has kept from being answered never is.
    fn end(&mut self) {
        self.counts = true;
        self.binds.clear();
        self.hides_next = false;
        self.of_statement = false;
    }
}

fn too_long(bytes: usize) -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "a message of {bytes} bytes is too long to be converted to the client_encoding, which \
             takes at most {MAX_CONVERTED_BYTES}"
        ),
        hint: Some("set client_encoding to UTF8".to_owned()),
    }
}

fn binary_portal() -> Refusal {
    Refusal::unsupported(
        "values in binary format are converted to the client_encoding in the unnamed portal only, \
         with no other portal beside it",
    )
    .hint("use text format, or set client_encoding to UTF8")
}

fn binary_copy() -> Refusal {
    Refusal::unsupported("COPY in binary format cannot be converted to or from the client_encoding")
        .hint("use text or csv, or set client_encoding to UTF8")
}

#[cfg(test)]
mod tests;
