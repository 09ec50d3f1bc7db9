//! A client whose encoding is not UTF-8. Its messages are converted when they are taken up, and the
//! answers when they are written, so that everything between reads and writes UTF-8, backends
//! included (docs/decisions/0021).
//!
//! While this is so, the end of each answer waits until the session has noticed what the statement
//! did to its settings: a client must know its encoding before it sends anything more.

use bytes::Bytes;
use platform::trace;
use wire::backend::encode;
use wire::frontend::{Bind, Execute, Target as Described, TargetKind, tag};

use super::client::Frame;
use super::shortcut::Begun;
use super::{Ended, Session, local};
use crate::charset::{Inconvertible, Named};
use crate::error::Error;
use crate::route::Refusal;

mod binary;
mod copied;
mod incoming;
mod outgoing;

pub(super) use outgoing::Conversion;

use incoming::Types;

impl From<Inconvertible> for Refusal {
    fn from(error: Inconvertible) -> Self {
        Self {
            sqlstate: error.sqlstate(),
            message: error.to_string(),
            hint: None,
        }
    }
}

impl Session {
    /// As [`Session::handle`], for a client whose texts are converted.
    pub(super) async fn handle_converted(&mut self, frame: Frame) -> Result<bool, Ended> {
        let (frame, asks_binary) = match self.converted(frame) {
            Ok(converted) => converted,
            Err((tag, refusal)) => {
                self.refuse_message(tag, refusal).await?;
                return Ok(true);
            }
        };
        let goes_on = if trace::is_on() {
            self.handle_traced(frame).await?
        } else {
            self.handle(frame, Begun::Not).await?
        };
        if !goes_on {
            return Ok(false);
        }
        if asks_binary {
            // Whether there is text in the values is for their types to say.
            let describe = Frame::describe_unnamed_portal();
            return self.handle(describe, Begun::Not).await;
        }
        Ok(true)
    }

    /// A message of the client in UTF-8, and whether it asks for values in binary format.
    fn converted(&mut self, frame: Frame) -> Result<(Frame, bool), (u8, Refusal)> {
        let (message_tag, body) = (frame.tag(), frame.body());
        let Some(conversion) = self.client.conversion() else {
            return Ok((frame, false));
        };
        let refused = |refusal| (message_tag, refusal);
        let asks_binary = match message_tag {
            // It is skipped.
            _ if self.batch.is_failed() => None,
            tag::BIND => Bind::decode(body).ok().map(|bind| {
                let asks = bind
                    .result_formats
                    .iter()
                    .any(|it| it == wire::Format::Binary);
                conversion.binds(bind.portal.is_empty(), asks)
            }),
            tag::EXECUTE => Execute::decode(body)
                .ok()
                .map(|execute| conversion.looks_at(execute.portal.is_empty())),
            tag::DESCRIBE => Described::decode_describe(body)
                .ok()
                .filter(|it| it.kind == TargetKind::Portal)
                .map(|it| conversion.looks_at(it.name.is_empty())),
            _ => None,
        };
        let asks_binary = asks_binary.transpose().map_err(refused)?.unwrap_or(false);
        let Some(charset) = conversion.incoming else {
            return Ok((frame, asks_binary));
        };
        let statements = &self.statements;
        let types: Types<'_> = &|name| statements.get(name).map(|it| &*it.parameter_types);
        let converted = incoming::convert(charset, &frame, types).map_err(refused)?;
        Ok((converted.unwrap_or(frame), asks_binary))
    }

    /// Refuses a message that cannot be converted, as if it had been understood.
    async fn refuse_message(&mut self, message_tag: u8, refusal: Refusal) -> Result<(), Ended> {
        let error = Error::Refused(refusal);
        if message_tag == tag::QUERY {
            return match self.begin_simple().await? {
                true => self.answer_simple_error(&error).await,
                false => Ok(()),
            };
        }
        if self.batch.is_failed() {
            return Ok(());
        }
        self.client.withhold();
        self.fail_batch(&error).await
    }

    /// After a message: tells the client its encoding, if that is another one now, and lets it read
    /// the end of the answer.
    pub(super) async fn settle_encoding(&mut self) -> Result<(), Ended> {
        if let Some((refusal, is_answered)) = self.client.conversion().and_then(Conversion::failure)
        {
            let error = Error::Refused(refusal);
            if is_answered {
                Box::pin(self.answer_simple_error(&error)).await?;
            } else {
                Box::pin(self.fail_batch(&error)).await?;
            }
        }
        let hints = &self.settings.hints;
        let (named, may_end) = (hints.encoding(), hints.is_utf8());
        let may_end = may_end && !self.transaction.is_block();
        let is_at_end = self.client.conversion().map(|it| it.settle(named));
        self.client.flush_converted().await?;
        let may_end = may_end && is_at_end == Some(true);
        if may_end {
            self.client.convert_no_more();
        }
        Ok(())
    }

    /// The answer to a statement that may have changed the client's encoding.
    pub(super) fn with_encoding(&mut self, answer: Bytes) -> Bytes {
        let named = self.settings.hints.encoding();
        let known = self.client.conversion().map_or(Named::UTF8, |it| it.named);
        if known.name() == named.name() {
            return answer;
        }
        self.client.convert(named);
        // What stands before it in the stream of answers is in the encoding of before.
        let status =
            local::frames(|out| encode::parameter_status(out, "client_encoding", named.name()));
        [status, answer].concat().into()
    }
}
