//! INSERTs that leave out the names of their columns: the router writes them into the text, and
//! goes on as if the client had.

use std::sync::Arc;

use bytes::Bytes;

use super::Session;
use super::attach::Stopped;
use super::client::Frame;
use super::simple::{not_utf8, syntax_refusal};
use super::state::Transaction;
use crate::cache::{Planned, Plans};
use crate::exec::columns;
use crate::route;
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
