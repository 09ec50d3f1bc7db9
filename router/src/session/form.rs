//! Routes a simple query by its form, so that texts which differ in their constants only are
//! analysed once.
//!
//! The form is routed as the extended protocol would route it, with the constants as parameters.
//! Whatever that leaves open, refuses, or answers with more than one backend is left to the
//! analysis of the text as it is, which also words the errors.

use std::cell::RefCell;

use crate::query::{Class, Constant, Form, Statement};
use crate::route::{Parameter, Parameters, Plan, Target};
use crate::view::Serving;

use super::state::Transaction;
use super::{Session, simple};

/// The object id of bigint, as which an integer constant is compared with a bigint.
const BIGINT: u32 = 20;

thread_local! {
    /// Buffers that are used again; nothing waits for the network while they are borrowed.
    static FORM: RefCell<Form> = RefCell::default();
}

/// Where a text goes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Located {
    pub(super) target: Target,
    pub(super) writes: bool,
}

/// The constants of a text, read as parameters.
struct Constants<'a> {
    sql: &'a str,
    constants: &'a [Constant],
}

impl Parameters for Constants<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let constant = self.constants.get(usize::from(index))?;
        Some(Parameter {
            value: Some(self.sql.get(constant.value.clone())?.as_bytes()),
            binary: false,
            type_oid: if constant.quoted { 0 } else { BIGINT },
        })
    }
}

impl Session {
    /// Where a text goes by its form; none when it has to be looked at as it is.
    pub(super) fn locate_by_form(&self, sql: &str, serving: &Serving) -> Option<Located> {
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
            if !has_simple_effects(statement) || !is_for_one_shard(plan) {
                return None;
            }
            let constants = Constants {
                sql,
                constants: &form.constants,
            };
            let target = self.place(statement, plan, &constants, serving).ok()?;
            Some(Located {
                target,
                writes: simple::writes(plan),
            })
        })
    }
}

/// Whether a statement does nothing to its session.
fn has_simple_effects(statement: &Statement) -> bool {
    let is_data = matches!(
        statement.class,
        Class::Select(_) | Class::Insert(_) | Class::Update(_) | Class::Delete(_) | Class::Merge(_)
    );
    is_data && statement.functions.is_empty()
}

fn is_for_one_shard(plan: &Plan) -> bool {
    match plan {
        Plan::Key { .. } | Plan::Any { .. } | Plan::Home(_) => true,
        Plan::Everywhere | Plan::NeedsHint { .. } | Plan::Refused(_) => false,
    }
}
