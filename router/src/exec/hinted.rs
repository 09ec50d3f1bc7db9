//! Pure: where one API request goes, by what stands beside its statement and in its comments.

use topology::{Key, Snapshot};

use super::locate;
use super::statement::Request;
use crate::error::Error;
use crate::query::{Class, Statement};
use crate::route::explain::{Explanation, Question, explain};
use crate::route::{self, Hint, Origin, Parameters, Plan, Refusal, Target};

/// Decides where a request goes. A comment goes before `shard_key`, and must not contradict it.
///
/// # Errors
/// The group is not known, a hint can't be followed, or the statement is refused.
pub(super) fn target(
    request: &Request,
    (statement, plan): (&Statement, &Plan),
    params: &dyn Parameters,
    snapshot: &Snapshot,
) -> Result<Target, Error> {
    let beside = key(request, plan, snapshot)?;
    if statement.hints.is_empty() {
        let target = route::resolve(plan, params, beside.as_ref(), snapshot)?;
        return Ok(target);
    }
    let mut hint = Hint::read(&statement.hints, Origin::Comment, plan, snapshot)?;
    match (&hint.key, beside) {
        (Some(one), Some(other)) if *one != other => return Err(contradicting().into()),
        (None, Some(other)) => hint.key = Some(other),
        (Some(_) | None, _) => {}
    }
    Ok(route::resolve_under(plan, params, &hint, snapshot)?)
}

/// The answer to EXPLAIN (ROUTE); none for any other statement.
pub(super) fn explanation(
    request: &Request,
    (statement, plan): (&Statement, &Plan),
    params: &dyn Parameters,
    snapshot: &Snapshot,
) -> Option<Explanation> {
    let Class::ExplainRoute(_) = statement.class else {
        return None;
    };
    let mut hints = statement.hints.clone();
    let mut origin = Origin::Comment;
    if hints.is_empty() {
        hints.shard_key.clone_from(&request.shard_key);
        origin = Origin::Request;
    }
    let question = Question {
        plan,
        // A request without values asks about the statement as it stands.
        params: (!request.params.is_empty()).then_some(params),
        hints: (!hints.is_empty()).then_some((&hints, origin)),
    };
    Some(explain(question, snapshot))
}

/// The request's key, read as the type that the statement's tables have, or the named group.
fn key<'a>(
    request: &'a Request,
    plan: &Plan,
    snapshot: &Snapshot,
) -> Result<Option<Key<'a>>, Error> {
    let Some(text) = &request.shard_key else {
        // A group that does not exist is a mistake even where nothing depends on it.
        if request.group.is_some() {
            locate::key_type_of(snapshot, request.group.as_deref())?;
        }
        return Ok(None);
    };
    let key_type = match plan {
        Plan::Key { key_type, .. } | Plan::NeedsHint { key_type, .. } => *key_type,
        Plan::Any { .. } | Plan::Catalog | Plan::Home(_) | Plan::Bound(_) | Plan::Everywhere => {
            let key_type = locate::key_type_of(snapshot, request.group.as_deref());
            if request.group.is_none() {
                // Nothing depends on the key, and it may be meant as one of any group.
                let key = key_type.map(|key_type| locate::read_key(key_type, text).ok());
                return Ok(key.ok().flatten());
            }
            key_type?
        }
        Plan::NeedsColumns { refusal, .. }
        | Plan::NeedsViews { refusal, .. }
        | Plan::Refused(refusal) => {
            return Err(refusal.clone().into());
        }
    };
    Ok(Some(locate::read_key(key_type, text)?))
}

fn contradicting() -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: "the hint in the statement names another shard key than shard_key".to_owned(),
        hint: Some("give the key once".to_owned()),
    }
}
