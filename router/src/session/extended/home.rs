//! Where a statement is prepared and described: its tables may be on one shard alone.

use super::Portal;
use super::steps::Step;
use crate::query::Class;
use crate::route::{self, Plan, Refusal, Target};
use crate::session::attach::Stopped;
use crate::session::effects::Effect;
use crate::session::prepared::Prepared;
use crate::session::state::Transaction;
use crate::session::{Session, answers};
use crate::view::Serving;

impl Session {
    /// Whether no shard is needed to prepare and describe a statement.
    pub(super) fn is_local(&self, prepared: &Prepared, serving: &Serving) -> bool {
        let Some(planned) = &prepared.planned else {
            return false;
        };
        match prepared.statement() {
            None => true,
            Some(statement) if answers::is_own(&statement.class) => true,
            Some(statement) if self.is_of_kept_cursor(&statement.class) => true,
            Some(statement) => {
                matches!(statement.class, Class::Ddl(_))
                    && self.plans(planned, serving).plans.first() == Some(&Plan::Everywhere)
            }
        }
    }

    /// The one shard that knows the statement's tables, whatever its parameters are; none where
    /// every shard does.
    pub(in crate::session) fn home_of(
        &self,
        prepared: &Prepared,
        serving: &Serving,
    ) -> Option<Target> {
        let planned = prepared.planned.as_ref()?;
        let plans = self.plans(planned, serving);
        match plans.plans.first()? {
            Plan::Home(index) | Plan::Bound(index) => Some(Target::Shard {
                index: *index,
                token: None,
            }),
            Plan::Key { .. }
            | Plan::Any { .. }
            | Plan::Catalog
            | Plan::Everywhere
            | Plan::NeedsHint { .. }
            | Plan::NeedsColumns { .. }
            | Plan::NeedsViews { .. }
            | Plan::Refused(_) => None,
        }
    }

    /// The shard whose catalogs the transaction reads, for a statement that does so: it is prepared
    /// where it will be bound.
    fn catalogs_elsewhere(&self, prepared: &Prepared, serving: &Serving) -> Option<Target> {
        let index = self.parked_catalogs(serving)?;
        let planned = prepared.planned.as_ref()?;
        let reads = self.plans(planned, serving).plans.first() == Some(&Plan::Catalog);
        reads.then_some(Target::Shard { index, token: None })
    }

    /// That shard, where the session is attached to another one.
    pub(super) fn home_elsewhere(&self, prepared: &Prepared, serving: &Serving) -> Option<Target> {
        let attachment = self.attachment.as_ref()?;
        let home = match self.home_of(prepared, serving) {
            Some(home) => home,
            None => self.catalogs_elsewhere(prepared, serving)?,
        };
        let Target::Shard { index, .. } = home else {
            return None;
        };
        let shard = serving.snapshot.shard(index);
        shard
            .is_none_or(|shard| shard.id != attachment.shard)
            .then_some(home)
    }

    /// Whether something was put off, other than `bound`, that only another shard can do.
    pub(super) fn has_other_homes(&self, bound: Option<&Prepared>, serving: &Serving) -> bool {
        let mut waiting = self.batch.deferred.iter().filter_map(Step::prepared);
        waiting.any(|prepared| {
            bound.is_none_or(|bound| bound.id != prepared.id)
                && self.home_elsewhere(prepared, serving).is_some()
        })
    }

    /// Has the session on a backend that knows a statement's tables, if it is on any.
    pub(super) async fn go_home(
        &mut self,
        prepared: &Prepared,
        serving: &Serving,
    ) -> Result<(), Stopped> {
        if let Some(target) = self.home_elsewhere(prepared, serving) {
            Box::pin(self.attach_to(serving, target)).await?;
        }
        Ok(())
    }

    /// Has the common shard prepare a statement that was refused, so that it may say what is wrong
    /// with it; where it finds nothing, the client reads the router's own refusal.
    pub(super) async fn let_shard_tell(
        &mut self,
        serving: &Serving,
        asked: (&Prepared, bool),
        own: Refusal,
    ) -> Result<(), Stopped> {
        if matches!(self.transaction, Transaction::FailedPending(_)) {
            return Err(own.into());
        }
        match self.prepare_on_common(serving, asked).await {
            Ok(()) | Err(Stopped::Told(_)) => Err(own.into()),
            Err(stopped) => Err(stopped),
        }
    }

    async fn prepare_on_common(
        &mut self,
        serving: &Serving,
        (prepared, named): (&Prepared, bool),
    ) -> Result<(), Stopped> {
        let index = route::common_shard(&serving.snapshot)?;
        let there = Target::Shard { index, token: None };
        self.attach(serving, there).await?;
        if self.has_other_homes(Some(prepared), serving) {
            Box::pin(self.run_deferred_at_homes(serving)).await?;
            self.attach_to(serving, there).await?;
        }
        self.run_deferred()?;
        self.prepare(prepared, named)?;
        self.mark_unsynced();
        self.flush_to_go_on().await
    }

    /// A portal that may be a cursor WITH HOLD, on the connection that the session keeps; none where
    /// the session works with another one.
    pub(super) async fn kept_portal(&mut self) -> Result<Option<Portal>, Stopped> {
        self.must_not_have_failed()?;
        if self.attachment.is_none() {
            let serving = self.front.core.view.load();
            self.attach(&serving, Target::Any).await?;
        }
        let here = self.attachment.as_ref().map(|it| &it.shard);
        let is_kept = here.is_some() && here == self.kept_shard();
        Ok(is_kept.then_some(Portal::Remote(Effect::None)))
    }

    /// Where a backend is found for what was put off.
    pub(super) fn target_of_deferred(&self, serving: &Serving) -> Target {
        let mut waiting = self.batch.deferred.iter().filter_map(Step::prepared);
        let home = waiting.find_map(|prepared| self.home_of(prepared, serving));
        // What a driver asks next may be about the types in the answer, whose numbers are each
        // shard's own.
        home.unwrap_or(Target::Catalog)
    }
}
