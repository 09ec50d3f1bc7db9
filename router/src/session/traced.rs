//! Statements of the Postgres front as traces, and in the log.
//!
//! Whoever writes a `traceparent` into a comment of a statement, as sqlcommenter does, has it traced
//! within their own span. A trace is one Query message, or what comes up to a Sync.

use std::time::Duration;

use platform::trace::{self, Here, Parent, Role, Span};
use wire::frontend::{Bind, Parse, Query, tag};

use super::client::Frame;
use super::shortcut::Begun;
use super::{Ended, Session};
use crate::slow;

impl Session {
    /// As [`Session::handle`], within the trace of what the message belongs to.
    pub(super) async fn handle_traced(&mut self, frame: Frame) -> Result<bool, Ended> {
        match frame.tag() {
            tag::QUERY => {
                let parent = Query::decode(frame.body()).ok().and_then(|query| {
                    let sql = query.sql.as_str().ok()?;
                    trace::commented(sql)
                });
                let span = begin("query", parent);
                let handled = within(span.as_ref(), self.handle(frame, Begun::Not)).await;
                drop(span);
                handled
            }
            tag::SYNC => {
                let span = self.trace.take();
                within(span.as_deref(), self.handle(frame, Begun::Not)).await
            }
            tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH => {
                if self.trace.is_none() && !self.batch.is_failed() {
                    self.trace = begin("batch", self.parent_of(&frame)).map(Box::new);
                }
                let here = self.trace.as_deref().map(Span::here);
                scoped(here, self.handle(frame, Begun::Not)).await
            }
            _ => self.handle(frame, Begun::Not).await,
        }
    }

    /// The parent that the statement of a Parse or a Bind names.
    fn parent_of(&self, frame: &Frame) -> Option<Parent> {
        match frame.tag() {
            tag::PARSE => {
                let parse = Parse::decode(frame.body()).ok()?;
                trace::commented(parse.sql.as_str().ok()?)
            }
            tag::BIND => {
                let bind = Bind::decode(frame.body()).ok()?;
                let prepared = self.statements.get(bind.statement.as_bytes())?;
                trace::commented(prepared.sql())
            }
            _ => None,
        }
    }

    /// A request is over: tells of it where it is to be told, or where it was slow.
    pub(super) fn note_answered(&mut self, frame: &Frame) {
        let took = std::mem::take(&mut self.took);
        let is_slow = took >= self.front.core.config.observability.slow_query;
        if is_slow || tracing::enabled!(tracing::Level::DEBUG) {
            self.tell(frame, (took, is_slow));
        }
    }

    #[cold]
    fn tell(&mut self, frame: &Frame, (took, is_slow): (Duration, bool)) {
        let asked = self.asked.take();
        let sql = match frame.tag() {
            tag::QUERY => {
                let query = Query::decode(frame.body()).ok();
                query.and_then(|query| Some(query.sql.as_str().ok()?.to_owned()))
            }
            tag::PARSE => {
                let parse = Parse::decode(frame.body()).ok();
                parse.and_then(|parse| Some(parse.sql.as_str().ok()?.to_owned()))
            }
            _ => asked.map(|prepared| prepared.sql().to_owned()),
        };
        let trace_id = trace::present().map(|here| here.trace_id());
        let _logged = self.span.enter();
        if is_slow {
            slow::tell(took, sql.as_deref(), trace_id.as_deref());
        } else {
            let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            let trace_id = trace_id.as_deref();
            tracing::debug!(shard_us = micros, trace_id, "statement answered");
        }
    }
}

fn begin(name: &'static str, parent: Option<Parent>) -> Option<Span> {
    let mut span = trace::begin(name, Role::Server, parent)?;
    span.set("db.system.name", "postgresql");
    Some(span)
}

async fn within<F: Future>(span: Option<&Span>, work: F) -> F::Output {
    scoped(span.map(Span::here), work).await
}

async fn scoped<F: Future>(here: Option<Here>, work: F) -> F::Output {
    match here {
        Some(here) => here.scope(work).await,
        None => work.await,
    }
}
