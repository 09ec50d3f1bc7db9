//! Routing by a text's form: the constants are read as the extended protocol would read them as
//! parameters, and only decisions that cannot differ from the text's own are taken from it.

use super::{Parameter, Parameters, Plan};
use crate::query::{Class, Constant, Form, Statement};

/// The object id of bigint, as which an integer constant is compared with a bigint.
const BIGINT: u32 = 20;

/// The constants of a text.
#[derive(Debug)]
pub struct Constants<'a> {
    sql: &'a str,
    constants: &'a [Constant],
}

impl<'a> Constants<'a> {
    /// Those that `form` was left without when it was read from `sql`.
    #[must_use]
    pub fn new(sql: &'a str, form: &'a Form) -> Self {
        Self {
            sql,
            constants: &form.constants,
        }
    }
}

impl Parameters for Constants<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let constant = self.constants.get(usize::from(index))?;
        Some(Parameter {
            value: Some(self.sql.get(constant.value.clone())?.as_bytes()),
            binary: false,
            // A string takes the type of what it is compared with.
            type_oid: if constant.quoted { 0 } else { BIGINT },
        })
    }
}

/// Whether the plan of a form is the plan of every text of that form: for statements that do
/// nothing to their session, call nothing that has to be looked at, and go to one shard.
#[must_use]
pub fn holds_for_texts(statement: &Statement, plan: &Plan) -> bool {
    let is_data = matches!(
        statement.class,
        Class::Select(_) | Class::Insert(_) | Class::Update(_) | Class::Delete(_) | Class::Merge(_)
    );
    let is_for_one_shard = match plan {
        Plan::Key { .. } | Plan::Any { .. } | Plan::Catalog | Plan::Home(_) => true,
        Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsHint { .. }
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => false,
    };
    is_data && is_for_one_shard && statement.functions.is_empty()
}
