//! Pure: the answer to EXPLAIN (ROUTE): where a statement would go, and why.

use std::fmt;

use topology::{Key, KeyType, Snapshot, hash};

use super::{
    Hint, KeySource, NoParameters, Origin, Parameters, Plan, Refusal, Target, Unnested, parameter,
};
use crate::query::Hints;

/// The name of the answer's only column, as EXPLAIN's.
pub const COLUMN: &str = "QUERY PLAN";

/// Most keys that are shown one by one.
const MAX_KEYS: usize = 32;

/// What is asked.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// The statement's plan.
    pub plan: &'a Plan,
    /// The parameters; none when they are not known yet.
    pub params: Option<&'a dyn Parameters>,
    /// The hints that apply, and whose they are.
    pub hints: Option<(&'a Hints, Origin)>,
}

impl fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Parameters are never printed.
        f.debug_struct("Question")
            .field("plan", self.plan)
            .field("hints", &self.hints)
            .finish_non_exhaustive()
    }
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// The lines to show.
    pub lines: Vec<String>,
    /// Where the statement would go, when that is known.
    pub target: Option<Target>,
}

/// Answers.
#[must_use]
pub fn explain(question: Question<'_>, snapshot: &Snapshot) -> Explanation {
    let decided = decide(question, snapshot);
    let mut lines = vec![headline(&decided, question.plan, snapshot)];
    match &decided {
        Ok(decision) => lines.push(format!("  Reason: {}", reason(question, *decision))),
        Err(refusal) => {
            lines.push(format!("  SQLSTATE: {}", refusal.sqlstate));
            lines.extend(refusal.hint.iter().map(|hint| format!("  Advice: {hint}")));
        }
    }
    keys(question, snapshot, &mut lines);
    if let Some((hints, origin)) = question.hints {
        let named = [("shard_key", &hints.shard_key), ("shard", &hints.shard)];
        for (name, value) in named {
            let line = |value| format!("  Hint: {name} = '{value}' ({origin})");
            lines.extend(value.as_ref().map(line));
        }
    }
    lines.push(format!("  Epoch: {}", snapshot.epoch()));
    let target = match decided {
        Ok(Decision::Sure(target)) => Some(target),
        Ok(Decision::If(_) | Decision::Open) | Err(_) => None,
    };
    Explanation { lines, target }
}

/// How sure a decision is.
#[derive(Debug, Clone, Copy)]
enum Decision {
    /// It goes there.
    Sure(Target),
    /// It goes there if the parameters agree, and is refused otherwise.
    If(Target),
    /// Parameters decide.
    Open,
}

fn decide(question: Question<'_>, snapshot: &Snapshot) -> Result<Decision, Refusal> {
    let Question {
        plan,
        params,
        hints,
    } = question;
    let hint = match hints {
        Some((hints, origin)) => Hint::read(hints, origin, plan, snapshot)?,
        None => Hint::default(),
    };
    if let Some(params) = params {
        return super::resolve_under(plan, params, &hint, snapshot).map(Decision::Sure);
    }
    let known = without_parameters(plan);
    let target = super::resolve_under(&known, &NoParameters, &hint, snapshot)?;
    Ok(if known == *plan {
        Decision::Sure(target)
    } else if matches!(target, Target::Any | Target::Catalog) {
        Decision::Open
    } else {
        Decision::If(target)
    })
}

/// The plan with the keys that stand in the text only.
fn without_parameters(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    if let Plan::Key { sources, .. } | Plan::NeedsHint { sources, .. } = &mut plan {
        sources.retain(|source| matches!(source, KeySource::Literal(_)));
    }
    plan
}

fn headline(decided: &Result<Decision, Refusal>, plan: &Plan, snapshot: &Snapshot) -> String {
    let to = |target: &Target| match target {
        Target::Shard { index, .. } => {
            let id = snapshot.shard(*index).map_or("none", |it| it.id.as_str());
            format!("Route to shard {id}")
        }
        Target::Any => "Route to any shard".to_owned(),
        Target::Catalog => "Route to the first shard that answers".to_owned(),
        Target::Everywhere => "Route to every shard".to_owned(),
    };
    match decided {
        Ok(Decision::Sure(target)) => to(target),
        Ok(Decision::If(target)) => {
            format!("{}, if it owns the key {}", to(target), unknown(plan))
        }
        Ok(Decision::Open) => format!("Route {}", unknown(plan)),
        Err(refusal) => format!("Refused: {refusal}"),
    }
}

/// `by parameter $1, $2`.
fn unknown(plan: &Plan) -> String {
    let numbers: Vec<String> = sources(plan)
        .iter()
        .filter_map(KeySource::parameter)
        .map(|number| format!("${}", u32::from(number) + 1))
        .take(MAX_KEYS)
        .collect();
    format!("by parameter {}", numbers.join(", "))
}

fn reason(question: Question<'_>, decision: Decision) -> &'static str {
    let hinted_shard = question
        .hints
        .is_some_and(|(hints, _)| hints.shard.is_some());
    match (question.plan, decision) {
        (Plan::Key { .. }, Decision::Sure(Target::Any)) => "it compares the shard key with NULL",
        (Plan::Key { .. }, _) => "the statement shows its shard key",
        (Plan::NeedsHint { sources, .. }, _) if hinted_shard && sources.is_empty() => {
            "the hint names the shard; only that shard's rows are read"
        }
        (Plan::NeedsHint { .. }, _) => "the hint decides",
        (Plan::Any { .. } | Plan::Catalog, Decision::Sure(Target::Shard { .. })) => {
            "any shard answers alike, and the hint names one"
        }
        (Plan::Any { .. }, _) => "any shard answers alike",
        (Plan::Catalog, _) => "each shard has its own catalogs, the first those of tables apart",
        (Plan::Home(_), _) => "what it needs is there, and on no other shard",
        (Plan::Bound(_), _) => "it leaves something with one connection, which the session keeps",
        (Plan::Everywhere, _) => "a schema change runs on all shards or on none",
        (Plan::NeedsColumns { .. } | Plan::NeedsViews { .. } | Plan::Refused(_), _) => {
            "it is refused"
        }
    }
}

fn sources(plan: &Plan) -> &[KeySource] {
    match plan {
        Plan::Key { sources, .. } | Plan::NeedsHint { sources, .. } => sources,
        Plan::Any { .. }
        | Plan::Catalog
        | Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsColumns { .. }
        | Plan::NeedsViews { .. }
        | Plan::Refused(_) => &[],
    }
}

/// A line for each key, with its place on the ring.
fn keys(question: Question<'_>, snapshot: &Snapshot, lines: &mut Vec<String>) {
    let Question {
        plan,
        params,
        hints,
    } = question;
    let (Plan::Key { key_type, .. } | Plan::NeedsHint { key_type, .. }) = plan else {
        return;
    };
    let first = lines.len();
    let mut left_out = 0_usize;
    let mut show = |line: String| {
        if lines.len() < first + MAX_KEYS {
            lines.push(line);
        } else {
            left_out += 1;
        }
    };
    if let Some((hints, _)) = hints
        && let Some(text) = &hints.shard_key
        && let Ok(key) = Key::from_text(*key_type, text.as_bytes())
    {
        show(placed(&key, "hint", snapshot));
    }
    for source in sources(plan) {
        let from = match source.parameter() {
            None => "literal".to_owned(),
            Some(number) => format!("parameter ${}", u32::from(number) + 1),
        };
        let mut each = |key: &Key<'_>| show(placed(key, &from, snapshot));
        if each_value(source, *key_type, params, &mut each).is_none() {
            show(format!("  Key: by {from}"));
        }
    }
    if left_out > 0 {
        lines.push(format!("  Key: {left_out} more"));
    }
}

/// The keys in a parameter; none when it can't be read, which the decision has said already.
fn each_value(
    source: &KeySource,
    key_type: KeyType,
    params: Option<&dyn Parameters>,
    each: &mut dyn FnMut(&Key<'_>),
) -> Option<()> {
    match source {
        KeySource::Literal(key) => each(key),
        KeySource::Parameter(number) => {
            let value = params?.get(*number)?;
            if let Some(key) = parameter::key(*number, &value, key_type).ok()? {
                each(&key);
            }
        }
        KeySource::ArrayParameter(number)
        | KeySource::Unnested(Unnested {
            parameter: number, ..
        }) => {
            let value = params?.get(*number)?;
            let mut take = |key: &Key<'_>| {
                each(key);
                Ok(())
            };
            parameter::each_key(*number, &value, key_type, &mut take).ok()?;
        }
    }
    Some(())
}

fn placed(key: &Key<'_>, from: &str, snapshot: &Snapshot) -> String {
    let shown = match key {
        Key::Bigint(value) => value.to_string(),
        Key::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Key::Uuid(bytes) => format!("{:032x}", u128::from_be_bytes(*bytes)),
    };
    let token = hash::token_of(key);
    let (vnode, shard) = match snapshot.ring().lookup(token) {
        Some(vnode) => {
            let shard = snapshot.shard(vnode.owner);
            let shard = shard.map_or("none", |shard| shard.id.as_str());
            (vnode.token.to_string(), shard)
        }
        None => ("none".to_owned(), "none"),
    };
    format!("  Key: {shown} ({from})  Token: {token}  Vnode: {vnode}  Shard: {shard}")
}
