//! INSERTs that leave out the names of their columns: the router writes them into the text, and
//! goes on as if the client had.

use std::sync::Arc;

use bytes::Bytes;
use platform::trace;

use super::Session;
use super::attach::Stopped;
use super::client::Frame;
use super::prepared::{Parsed, Written};
use super::several;
use super::simple::{not_utf8, syntax_refusal};
use super::state::Transaction;

use crate::cache::{Planned, Plans};
use crate::error::Error;
use crate::exec::columns;
use crate::query::HINTS;
use crate::route::{self, Plan, Refusal};
use crate::view::Serving;

/// Whether the names of columns have been written into a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Named {
    No,
    Yes,
}

impl Session {
    /// Whether a text has to be rewritten. When the transaction has failed, nothing of it is going
    /// to run.
    pub(super) fn needs_columns(&self, plans: &Plans) -> bool {
        let runs = match self.transaction {
            Transaction::Idle | Transaction::Pending(_) | Transaction::Open => true,
            Transaction::Failed | Transaction::FailedPending(_) => false,
        };
        runs && route::unnamed_inserts(&plans.plans).next().is_some()
    }

    /// Answers a Query whose INSERTs leave out their columns.
    pub(super) async fn run_with_columns(
        &mut self,
        serving: &Serving,
        sql: &str,
        plans: &Plans,
    ) -> Result<(), Stopped> {
        self.must_know_columns()?;
        let text = columns::name(&self.front.core, serving, sql, &plans.plans).await?;
        let frame = Frame::query(text.as_deref().unwrap_or(sql))?;
        Box::pin(self.run_text(&frame, Named::Yes)).await
    }

    /// Whether queries have to be written into a text in the place of views.
    pub(super) fn needs_views(&self, plans: &Plans) -> bool {
        let runs = match self.transaction {
            Transaction::Idle | Transaction::Pending(_) | Transaction::Open => true,
            Transaction::Failed | Transaction::FailedPending(_) => false,
        };
        runs && route::views_in_place(&plans.plans).next().is_some()
    }

    /// Answers a Query that reads views.
    pub(super) async fn run_with_views(
        &mut self,
        sql: &str,
        plans: &Plans,
        named: Named,
    ) -> Result<(), Stopped> {
        self.must_know_views()?;
        if plans.plans.contains(&Plan::Everywhere) {
            // Some of it would be read as it was before.
            return Err(several::changes_views().into());
        }
        let text = route::with_views(sql, &plans.plans);
        let frame = Frame::query(text.as_deref().unwrap_or(sql))?;
        let ran = Box::pin(self.run_text(&frame, named)).await;
        ran.map_err(|stopped| match stopped {
            Stopped::Told(Error::Refused(refusal)) => route::reading(refusal, &plans.plans).into(),
            stopped => stopped,
        })
    }

    /// A Parse's definition and its analysis with queries in the place of views; none where it reads
    /// none.
    fn with_views(
        &self,
        serving: &Serving,
        definition: &Bytes,
        planned: &Planned,
    ) -> Result<Option<(Bytes, Arc<Planned>)>, Refusal> {
        let plans = self.plans(planned, serving);
        if !self.needs_views(&plans) {
            return Ok(None);
        }
        self.must_know_views()?;
        let end = memchr::memchr(0, definition).unwrap_or(definition.len());
        let (text, types) = definition.split_at(end);
        let sql = std::str::from_utf8(text).map_err(|_| not_utf8())?;
        let Some(text) = route::with_views(sql, &plans.plans) else {
            return Ok(None);
        };
        let planned = self.front.core.cache.plan(&text, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let definition = [text.as_bytes(), types].concat();
        Ok(Some((definition.into(), planned)))
    }

    /// What a client's Parse comes to: the definition that backends are given, its analysis, and
    /// what the client wrote where that reads views.
    pub(super) async fn defined(
        &self,
        serving: &Serving,
        definition: Bytes,
        planned: Option<Arc<Planned>>,
    ) -> Result<(Bytes, Option<Arc<Planned>>, Option<Written>), Stopped> {
        let viewed = match &planned {
            Some(known) => self.with_views(serving, &definition, known)?,
            None => None,
        };
        let Some((expanded, analysis)) = viewed else {
            let (definition, planned) = self.define(serving, definition, planned).await?;
            return Ok((definition, planned, None));
        };
        let written = Written {
            definition,
            epoch: serving.snapshot.epoch(),
        };
        let (definition, planned) = self.define(serving, expanded, Some(analysis)).await?;
        Ok((definition, planned, Some(written)))
    }

    /// Puts a statement's views as they are now in the place of those that they were.
    pub(super) async fn take_present_views(&mut self, name: &[u8]) -> Result<(), Stopped> {
        if self.must_not_have_failed().is_err() {
            return Ok(());
        }
        let serving = self.front.core.view.load();
        let settings = self.settings.in_force();
        let Some(known) = self.statements.get(name) else {
            return Ok(());
        };
        let Some(written) = known.written_before(serving.snapshot.epoch(), settings) else {
            return Ok(());
        };
        let known = known.under(settings);
        let end = memchr::memchr(0, &written).unwrap_or(written.len());
        let sql = std::str::from_utf8(written.get(..end).unwrap_or_default());
        let sql = trace::without_comment(sql.map_err(|_| not_utf8())?, &HINTS);
        let planned = self.front.core.cache.plan(sql, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let (definition, planned, now) = self.defined(&serving, written, Some(planned)).await?;
        let parsed = Parsed {
            definition,
            planned,
            written: now,
            ..known
        };
        let present = self.named(parsed);
        self.statements
            .insert(Bytes::copy_from_slice(name), present);
        Ok(())
    }

    /// A Parse's definition, which is its text, a NUL and the types of its parameters, and the
    /// analysis of it: those of the text with columns where it needs them.
    pub(super) async fn define(
        &self,
        serving: &Serving,
        definition: Bytes,
        planned: Option<Arc<Planned>>,
    ) -> Result<(Bytes, Option<Arc<Planned>>), Stopped> {
        let Some(known) = &planned else {
            return Ok((definition, planned));
        };
        let plans = self.plans(known, serving);
        if !self.needs_columns(&plans) {
            return Ok((definition, planned));
        }
        self.must_know_columns()?;
        let end = memchr::memchr(0, &definition).unwrap_or(definition.len());
        let (text, types) = definition.split_at(end);
        let sql = std::str::from_utf8(text).map_err(|_| not_utf8())?;
        let cache = &self.front.core.cache;
        let named = columns::name(&self.front.core, serving, sql, &plans.plans).await?;
        let Some(named) = named else {
            return Ok((definition, planned));
        };
        let planned = cache.plan(&named, &serving.snapshot);
        let planned = planned.map_err(|error| syntax_refusal(&error))?;
        let definition = [named.as_bytes(), types].concat();
        Ok((definition.into(), Some(planned)))
    }
}
