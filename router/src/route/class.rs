//! What each class of statement asks for: a table's shard, any shard, every shard, or a refusal.
//!
//! Transaction control and settings are the session's to handle; here they may run anywhere.

use super::tables::Tables;
use super::{Plan, Refusal, copy, data, ddl, lock, temporary, views};
use crate::query::{Class, Hints, Reach, Statement, UnsafeCall};

/// Plans a statement.
pub(super) fn plan(statement: &Statement, tables: Tables<'_>) -> Result<Plan, Refusal> {
    if let Some(plan) = views::plan(statement, tables)? {
        return Ok(plan);
    }
    let plan = class(&statement.class, &statement.hints, tables)?;
    let plan = temporary::with_calls(&statement.functions, plan, tables)?;
    check_calls(statement, &plan)?;
    Ok(plan)
}

/// Whether what a statement calls means the same where its plan sends it.
///
/// # Errors
/// The [`Refusal`].
pub fn check_calls(statement: &Statement, plan: &Plan) -> Result<(), Refusal> {
    let mut calls = statement.functions.iter();
    calls.try_for_each(|call| check_call(call, plan))
}

fn class(class: &Class, hints: &Hints, tables: Tables<'_>) -> Result<Plan, Refusal> {
    let refusal = match class {
        Class::Select(data)
        | Class::Insert(data)
        | Class::Update(data)
        | Class::Delete(data)
        | Class::Merge(data) => return data::plan(data, tables),
        Class::Ddl(change) => return ddl::plan(change, hints, tables),
        Class::Copy(statement) => {
            copy::check(statement)?;
            return match &statement.query {
                Some(query) => inside("COPY", query, tables),
                None => copy::plan(statement, tables),
            };
        }
        Class::DeclareCursor { hold, query, .. } => {
            let plan = inside("DECLARE CURSOR", query, tables)?;
            return if *hold {
                temporary::held_cursor(plan, tables)
            } else {
                Ok(plan)
            };
        }
        Class::LockTable(locked) => return lock::plan(locked, tables),
        // It is asked where the statement itself would go.
        Class::ExplainRoute(inner) => return self::class(inner, hints, tables),
        Class::Explain { analyze, inner } => return explain(*analyze, inner, tables),
        Class::Begin { .. }
        | Class::Commit { .. }
        | Class::Rollback { .. }
        | Class::Savepoint(_)
        | Class::Release(_)
        | Class::RollbackTo(_)
        | Class::Show(_)
        | Class::Cursor(_) => return Ok(Plan::Any { writes: false }),
        Class::Set(_)
        | Class::SetConstraints
        | Class::Reset(_)
        | Class::Deallocate(_)
        | Class::DiscardAll
        | Class::DiscardOther(_)
        | Class::Unlisten(_) => return Ok(Plan::Any { writes: true }),
        Class::PrepareTransaction => Refusal::statement("PREPARE TRANSACTION"),
        Class::FinishPrepared => Refusal::statement("COMMIT PREPARED or ROLLBACK PREPARED"),
        Class::SqlPrepare(prepare) => match self::class(&prepare.inner, hints, tables) {
            Ok(plan @ Plan::NeedsColumns { .. }) => return Ok(plan),
            // Whether it can be run is asked with each EXECUTE.
            Ok(_) | Err(_) => because("PREPARE", BY_SQL).hint(ALONE),
        },
        Class::SqlExecute(_) => because("EXECUTE", BY_SQL).hint(ALONE),
        // Who listens and who notifies have to meet on one shard.
        Class::Listen(_) => return tables.common().map(Plan::Bound),
        Class::Notify(_) => return tables.common().map(Plan::Home),
        Class::Maintenance(word) => Refusal::statement(word).hint(DIRECT),
        Class::Sharding(_) => because(
            "a function of schema sharding",
            "it is answered by the router itself, over the Postgres front",
        )
        .hint("send SELECT with the call alone"),
        // What it reads and writes is on the shard that has all there is.
        Class::Call if tables.are_none_elsewhere(tables.common()?) => {
            return tables.common().map(Plan::Home);
        }
        Class::Call => Refusal::statement("CALL"),
        Class::Do => Refusal::statement("DO"),
        Class::Other(tag) => Refusal::statement(tag),
    };
    Err(refusal)
}

const BY_SQL: &str = "it comes as a prepared statement itself";

const ALONE: &str = "send it as a simple query, or use the prepared statements of the driver";

const DIRECT: &str = "connect to the shard itself";

fn because(word: &str, reason: &str) -> Refusal {
    Refusal::unsupported(format!("{word} is not supported by the router: {reason}"))
}

/// A statement that runs a query goes where the query goes.
fn inside(word: &str, query: &Class, tables: Tables<'_>) -> Result<Plan, Refusal> {
    match class(query, &Hints::default(), tables)? {
        Plan::Everywhere => Err(Refusal::unsupported(format!(
            "{word} of a schema change is not supported"
        ))),
        plan => Ok(plan),
    }
}

/// EXPLAIN goes where its statement would go; without ANALYZE it only reads.
fn explain(analyze: bool, inner: &Class, tables: Tables<'_>) -> Result<Plan, Refusal> {
    let plan = class(inner, &Hints::default(), tables)?;
    Ok(match plan {
        Plan::Key {
            key_type,
            sources,
            writes,
            inserts,
        } => Plan::Key {
            key_type,
            sources,
            writes: writes && analyze,
            inserts,
        },
        Plan::NeedsHint {
            key_type,
            sources,
            writes,
            refusal,
        } => Plan::NeedsHint {
            key_type,
            sources,
            writes: writes && analyze,
            refusal,
        },
        Plan::Any { writes } => Plan::Any {
            writes: writes && analyze,
        },
        Plan::Catalog => Plan::Catalog,
        // What EXPLAIN runs of it is rolled back, or was never done.
        Plan::Home(index) | Plan::Bound(index) => Plan::Home(index),
        Plan::Everywhere => {
            return Err(Refusal::unsupported(
                "EXPLAIN of a schema change is not supported",
            ));
        }
        plan @ (Plan::NeedsColumns { .. } | Plan::NeedsViews { .. }) => plan,
        Plan::Refused(refusal) => return Err(refusal),
    })
}

fn check_call(call: &UnsafeCall, plan: &Plan) -> Result<(), Refusal> {
    let safe = match (call.reach, plan) {
        (Reach::Home | Reach::HomeOrCommon | Reach::Common | Reach::OneShard, Plan::Home(_))
        | (
            Reach::Home | Reach::HomeOrCommon | Reach::Common | Reach::Session | Reach::OneShard,
            Plan::Bound(_),
        )
        | (Reach::OneShard, Plan::Key { .. } | Plan::NeedsHint { .. }) => true,
        (Reach::Strips, Plan::Any { .. } | Plan::Catalog | Plan::Home(_) | Plan::Bound(_)) => true,
        // The statement is looked at again when its columns are known, and its views.
        (_, Plan::NeedsColumns { .. } | Plan::NeedsViews { .. }) => true,
        (
            Reach::OneShard
            | Reach::Home
            | Reach::HomeOrCommon
            | Reach::Common
            | Reach::Session
            | Reach::Strips
            | Reach::Nowhere,
            _,
        ) => false,
    };
    if safe {
        return Ok(());
    }
    let UnsafeCall {
        name, reason, hint, ..
    } = call;
    Err(Refusal::unsupported(format!("{name} is not supported here: {reason}")).hint(*hint))
}
