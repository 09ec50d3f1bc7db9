//! The end of a batch, or of a transaction, that has gone on on several shards.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;
use wire::backend::encode;

use super::steps::Step;
use super::{Batch, executed_late};
use crate::error::Error;
use crate::query::Class;
use crate::route::{Plan, PulledInto, Refusal};
use crate::scatter::exec::Arguments;
use crate::session::attach::Stopped;
use crate::session::cursors::Fetching;
use crate::session::prepared::Prepared;
use crate::session::pulling::Asked;
use crate::session::several::{End, Split, without_tag};
use crate::session::state::Transaction;
use crate::session::{Ended, Session, explaining, local};
use crate::view::Serving;

impl Session {
    /// Runs a portal's statement on its shards; what came before it is answered first.
    pub(super) async fn execute_split(&mut self, split: &Split) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let frames = self.run_parts(&serving, split).await?;
        self.step(Step::Local(frames, None))
    }

    /// Runs a COPY into a table whose rows are on several shards; what came before it is answered
    /// first.
    pub(super) async fn execute_copy_in(&mut self, prepared: &Prepared) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let mut since = None;
        loop {
            let serving = self.front.core.view.load();
            let statement = prepared.statement();
            let into = statement.and_then(|statement| self.copied_into(statement, &serving));
            let into = into.ok_or(Error::NoShard)?;
            let ran = self.copy_in(&serving, &into, prepared.sql()).await;
            if let Some(frames) = self.unless_held(ran, prepared, &mut since).await? {
                return self.step(Step::Local(frames, None));
            }
        }
    }

    /// Runs an INSERT of a query's rows for several shards; what came before it is answered first.
    pub(super) async fn execute_pull(
        &mut self,
        prepared: &Prepared,
        arguments: &Arguments,
    ) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let mut since = None;
        loop {
            let serving = self.front.core.view.load();
            let (into, refusal) = self.pull_of(prepared, arguments, &serving)?;
            let asked = Asked {
                into: &into,
                sql: text_of(prepared),
                arguments,
                refusal: &refusal,
            };
            let ran = self.pull(&serving, asked, false).await;
            if let Some(frames) = self.unless_held(ran, prepared, &mut since).await? {
                return self.step(Step::Local(frames, None));
            }
        }
    }

    /// What a statement gave; none once its keys no longer move. It was told so before it did
    /// anything, so that it may begin later.
    async fn unless_held(
        &mut self,
        ran: Result<Bytes, Stopped>,
        prepared: &Prepared,
        since: &mut Option<Instant>,
    ) -> Result<Option<Bytes>, Stopped> {
        match ran {
            Ok(frames) => Ok(Some(frames)),
            Err(held @ Stopped::Told(Error::Hold(_))) => {
                let bytes = prepared.sql().len();
                Box::pin(self.wait_out(held, bytes, since)).await?;
                Ok(None)
            }
            Err(stopped) => Err(stopped),
        }
    }

    /// Describes what such an INSERT hands out.
    pub(super) async fn describe_pull(
        &mut self,
        prepared: &Prepared,
        arguments: &Arguments,
    ) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let (into, refusal) = self.pull_of(prepared, arguments, &serving)?;
        let asked = Asked {
            into: &into,
            sql: text_of(prepared),
            arguments,
            refusal: &refusal,
        };
        let heading = self.describe_pulled(&serving, asked).await?;
        let heading = heading.unwrap_or_else(|| local::frames(encode::no_data));
        self.step(Step::Local(heading, None))
    }

    /// What a portal's INSERT goes into, by the present topology, and why it is not for one shard.
    fn pull_of(
        &self,
        prepared: &Prepared,
        arguments: &Arguments,
        serving: &Serving,
    ) -> Result<(PulledInto, Refusal), Stopped> {
        let (Some(planned), Some(statement)) = (&prepared.planned, prepared.statement()) else {
            return Err(Error::NoShard.into());
        };
        let plans = self.plans(planned, serving);
        let plan = plans.plans.first().ok_or(Error::NoShard)?;
        let placed = self.place(statement, plan, arguments, serving);
        let refusal = placed.err().unwrap_or_else(Refusal::of_several_shards);
        match self.pulled_into(statement, &refusal, serving) {
            Some(into) => Ok((into, refusal)),
            None => Err(refusal.into()),
        }
    }

    /// Runs an EXPLAIN of what several shards do; what came before it is answered first.
    pub(super) async fn explain_portal(
        &mut self,
        prepared: &Arc<Prepared>,
        arguments: &Arguments,
    ) -> Result<(), Stopped> {
        self.find_backend_for_descriptions().await?;
        self.flush_to_go_on().await?;
        let frames = self.execute_explain(prepared, arguments).await?;
        self.step(Step::Local(frames, None))
    }

    /// Opens a cursor over several shards; what came before it is answered first.
    pub(super) async fn execute_declare(
        &mut self,
        prepared: &Prepared,
        arguments: &Arguments,
    ) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let (Some(planned), Some(statement)) = (&prepared.planned, prepared.statement()) else {
            return Err(Error::NoShard.into());
        };
        let plans = self.plans(planned, &serving);
        let plan = plans.plans.first().ok_or(Error::NoShard)?;
        let refusal = refusal_of(plan);
        let asked = (statement, plan, prepared.sql());
        let declared = self
            .declare_scattered(asked, &refusal, arguments.clone())
            .await?;
        match declared {
            Some(frames) => self.step(Step::Local(frames, None)),
            None => Err(refusal.into()),
        }
    }

    /// Hands out rows of a cursor over several shards.
    pub(super) async fn execute_fetch(&mut self, fetching: &Fetching) -> Result<(), Stopped> {
        self.find_backend_for_descriptions().await?;
        self.flush_to_go_on().await?;
        let frames = self.fetch(fetching, false).await?;
        self.step(Step::Local(frames, None))
    }

    /// The description of a statement about a cursor that the router keeps; none for others.
    pub(super) async fn cursor_description(
        &mut self,
        prepared: &Prepared,
    ) -> Result<Option<Bytes>, Stopped> {
        let Some(statement) = prepared.statement() else {
            return Ok(None);
        };
        let fetching = self.fetching(&statement.class, prepared.sql(), None)?;
        let mut out = BytesMut::new();
        encode::parameter_description(&mut out, &[])?;
        match fetching {
            None => return Ok(None),
            Some(None) => encode::no_data(&mut out),
            Some(Some(fetching)) => {
                out.extend_from_slice(&self.fetch_heading(&fetching).await);
            }
        }
        Ok(Some(out.freeze()))
    }

    /// Runs a portal's schema change on every shard.
    pub(super) async fn execute_everywhere(&mut self, prepared: &Prepared) -> Result<(), Stopped> {
        let Some(statement) = prepared.statement() else {
            return Ok(());
        };
        if self.transaction == Transaction::Idle {
            // It is committed whatever becomes of the rest.
            self.client.keep_completions();
        }
        if self.transaction == Transaction::Idle && self.attachment.is_some() {
            if self
                .attachment
                .as_ref()
                .is_some_and(|attachment| attachment.movable.is_none())
            {
                return Err(executed_late().into());
            }
            self.move_away().await?;
        }
        // Answers so far come before those of the schema change, even if that is an error.
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let frames = self
            .run_everywhere(&serving, std::slice::from_ref(statement), prepared.sql())
            .await?;
        self.step(Step::Local(frames, None))
    }

    /// Describes what a portal's statement hands out.
    pub(super) async fn describe_split(&mut self, split: &Split) -> Result<(), Stopped> {
        self.flush_to_go_on().await?;
        let serving = self.front.core.view.load();
        let heading = self.describe_parts(&serving, split).await?;
        self.step(Step::Local(heading, None))
    }

    /// COMMIT or ROLLBACK within a batch, once all before it is answered; none for any other
    /// statement.
    pub(super) async fn finish_together(
        &mut self,
        class: &Class,
    ) -> Result<Option<Bytes>, Stopped> {
        // A Sync right before it ends nothing else.
        let seen = self.sync_silently().await?;
        self.apply_effects(&seen);
        self.flight.effects.clear();
        if seen.error {
            self.transaction = Transaction::Failed;
            return Err(Stopped::Answered);
        }
        self.run_together(class).await
    }

    /// Ends a batch outside of a transaction block that has gone on on several shards: all of it is
    /// committed, or nothing. Leaves the ReadyForQuery to the caller.
    pub(super) async fn sync_together(&mut self) -> Result<(), Ended> {
        let ended = self.end_batch_together().await;
        self.batch = Batch::default();
        self.portals.clear();
        self.transaction = Transaction::Idle;
        match ended {
            Ok(()) | Err(Stopped::Answered) => Ok(()),
            Err(Stopped::Told(error)) => {
                self.front.core.metrics.failed(&error);
                let frames = local::error(&error);
                self.client.outbound.extend_from_slice(&frames);
                Ok(())
            }
            Err(Stopped::Ended(ended)) => Err(ended),
        }
    }

    async fn end_batch_together(&mut self) -> Result<(), Stopped> {
        let seen = self.sync_silently().await?;
        self.apply_effects(&seen);
        if self.company.is_none() {
            return Ok(());
        }
        let failed = self.batch.failed || seen.error || self.transaction != Transaction::Open;
        let end = if failed { End::RollBack } else { End::Commit };
        let frames = self.end_together(end, false).await?;
        if end == End::Commit {
            self.client
                .outbound
                .extend_from_slice(&without_tag(&frames));
        }
        Ok(())
    }
}

/// The description of a portal of an EXPLAIN.
pub(super) fn heading_of(prepared: &Prepared, arguments: &Arguments) -> Result<Bytes, Stopped> {
    let format = arguments.results.first().copied().unwrap_or_default();
    explaining::heading(prepared.sql(), format)
}

/// The text of a statement, alone.
fn text_of(prepared: &Prepared) -> &str {
    let sql = prepared.sql();
    prepared.statement().map_or(sql, |it| it.text(sql))
}

/// Why a query is not for one shard.
pub(super) fn refusal_of(plan: &Plan) -> Refusal {
    match plan {
        Plan::NeedsHint { refusal, .. } => refusal.clone(),
        _ => Refusal::of_several_shards(),
    }
}
