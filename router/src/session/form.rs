//! Routes a simple query by its form, so that texts which differ in their constants only are
//! analysed once.
//!
//! Whatever the form leaves open or refuses is left to the analysis of the text as it is, which
//! also words the errors.

use std::cell::RefCell;
use std::sync::Arc;

use crate::cache::{Planned, Plans};
use crate::query::Form;
use crate::replica::Permit;
use crate::route::{self, Constants, Plan, Target};
use crate::view::Serving;

use super::state::Transaction;
use super::{Session, simple};

thread_local! {
    /// Buffers that are used again; nothing waits for the network while they are borrowed.
    static FORM: RefCell<Form> = RefCell::default();
}

/// What a form says of its texts.
#[derive(Debug)]
pub(super) enum ByForm {
    /// Where this one goes.
    Located(Located),
    /// They leave out the columns of an INSERT, which go to the same place in all of them.
    Unnamed(Arc<Plans>),
    /// They read views, which stand at the same places in all of them.
    Viewed(Arc<Plans>),
}

/// Where a text goes.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) target: Target,
    pub(super) writes: bool,
    /// Set where a replica may answer.
    pub(super) permit: Option<Permit>,
    pub(super) planned: Arc<Planned>,
}

impl Session {
    /// What is known of a text by its form; none when it has to be looked at as it is.
    pub(super) fn locate_by_form(&self, sql: &str, serving: &Serving) -> Option<ByForm> {
        match self.transaction {
            Transaction::Idle | Transaction::Pending(_) | Transaction::Open => {}
            Transaction::Failed | Transaction::FailedPending(_) => return None,
        }
        FORM.with_borrow_mut(|form| {
            if !form.read(sql) {
                return None;
            }
            let cache = &self.front.core.cache;
            let planned = cache.plan_form(&form.text, &serving.snapshot)?;
            let [statement] = planned.analysis.statements.as_slice() else {
                return None;
            };
            let plans = self.plans(&planned, serving);
            let plan = plans.plans.first()?;
            if let Plan::NeedsViews { views, .. } = plan {
                let same = form.constants.first()?.value.start;
                let are_known = views.iter().all(|view| view.place.end <= same);
                return are_known.then_some(ByForm::Viewed(plans));
            }
            if let Plan::NeedsColumns { inserts, .. } = plan {
                // Up to the first constant the text and its form are the same.
                let same = form.constants.first()?.value.start;
                let are_known = inserts.iter().all(|insert| insert.unnamed.at < same);
                return are_known.then_some(ByForm::Unnamed(plans));
            }
            if !route::holds_for_texts(statement, plan) {
                return None;
            }
            let constants = Constants::new(sql, form);
            let target = self.place(statement, plan, &constants, serving).ok()?;
            let (writes, permit) = (
                simple::may_write(plan, statement),
                self.permit(statement, Some(plan)),
            );
            Some(ByForm::Located(Located {
                target,
                writes,
                permit,
                planned,
            }))
        })
    }
}
