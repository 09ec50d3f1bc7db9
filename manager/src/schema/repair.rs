//! Creates on one shard what it lacks of another one's schema. What is there and differs, or is
//! there and should not be, is named with the statement that would settle it, and left alone.

use topology::{Shard, Term, strides};

use super::{Id, Objects};
use crate::reshard::guard::{self, term};
use crate::reshard::session::{self, Session, Sessions, Work};

/// In this order most objects find what they stand on; what does not is tried again later.
const ORDER: [&str; 20] = [
    "schema",
    "extension",
    "type",
    "attribute",
    "enum value",
    "domain",
    "sequence",
    "function",
    "procedure",
    "table",
    "column",
    "default",
    "sequence owner",
    "constraint",
    "index",
    "view",
    "statistics",
    "trigger",
    "policy",
    "rule",
];

/// What is to be done about one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The object.
    pub id: Id,
    /// The statement; none when there is none by itself.
    pub statement: Option<String>,
    /// What comes of it.
    pub outcome: Outcome,
}

/// What comes of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It is to be run, or would be.
    Planned,
    /// It was run.
    Done,
    /// It is left to a person, for this reason.
    Manual(String),
    /// It was run and refused.
    Failed(String),
}

/// What would bring `to` to the schema of `from`.
#[must_use]
pub fn steps(from: &Objects, to: &Objects) -> Vec<Action> {
    let mut actions = Vec::new();
    for (id, object) in from {
        let outcome = match to.get(id) {
            None if is_made_with_parent(id, from, to) => continue,
            None if object.creation.is_none() => {
                Outcome::Manual("there is no statement for it: create it by hand".to_owned())
            }
            None => Outcome::Planned,
            Some(there) if there.definition == object.definition => continue,
            Some(there) if is_invalid(there.definition.as_str()) => {
                // Nothing is lost with an index that PostgreSQL itself does not use.
                let drop = format!("DROP INDEX {}", id.name);
                let creation = object.creation.clone().unwrap_or_default();
                actions.push(Action {
                    id: id.clone(),
                    statement: Some(format!("{drop}; {creation}")),
                    outcome: Outcome::Planned,
                });
                continue;
            }
            Some(there) => Outcome::Manual(format!(
                "it differs and is not changed: it is {:?} and should be {:?}",
                shortened(&there.definition),
                shortened(&object.definition)
            )),
        };
        actions.push(Action {
            id: id.clone(),
            statement: match outcome {
                Outcome::Planned => object.creation.clone(),
                _ => by_hand(id, &object.definition, object.creation.as_deref()),
            },
            outcome,
        });
    }
    for (id, object) in to {
        if !from.contains_key(id) && !is_made_with_parent_of(object.parent.as_ref(), from) {
            actions.push(Action {
                id: id.clone(),
                statement: drop_of(id),
                outcome: Outcome::Manual("it is on this shard only, and is not dropped".to_owned()),
            });
        }
    }
    actions.sort_by_key(|action| (rank(&action.id.kind), action.id.clone()));
    actions
}

fn rank(kind: &str) -> usize {
    let found = ORDER.iter().position(|each| *each == kind);
    found.unwrap_or(ORDER.len())
}

/// Whether the statement for its parent creates an object that is missing as well.
fn is_made_with_parent(id: &Id, from: &Objects, to: &Objects) -> bool {
    if !["column", "attribute", "enum value"].contains(&id.kind.as_str()) {
        // The default of a column that is missing is a part of the column's definition.
        let is_of_new_column = |parent: &String| {
            let column = to.keys().any(|id| id.to_string() == *parent);
            let table = from.iter().find(|(id, _)| id.to_string() == *parent);
            let table = table.and_then(|(_, object)| object.parent.as_ref());
            let has_table = |table: &String| to.keys().any(|id| id.to_string() == *table);
            !column && table.is_some_and(has_table)
        };
        let parent = from.get(id).and_then(|object| object.parent.as_ref());
        return id.kind == "default" && parent.is_some_and(is_of_new_column);
    }
    let parent = from.get(id).and_then(|object| object.parent.as_ref());
    parent.is_some_and(|parent| !to.keys().any(|id| id.to_string() == *parent))
}

/// Whether an object that only one shard has is a part of one that only this shard has.
fn is_made_with_parent_of(parent: Option<&String>, from: &Objects) -> bool {
    parent.is_some_and(|parent| !from.keys().any(|id| id.to_string() == *parent))
}

fn is_invalid(definition: &str) -> bool {
    definition.ends_with(" INVALID")
}

fn shortened(text: &str) -> String {
    let one_line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    one_line.chars().take(200).collect()
}

/// What a person may run to bring an object that differs to what it should be.
fn by_hand(id: &Id, definition: &str, creation: Option<&str>) -> Option<String> {
    match id.kind.as_str() {
        "function" | "procedure" if definition.starts_with("CREATE OR REPLACE") => {
            Some(definition.to_owned())
        }
        "default" => creation.map(str::to_owned),
        "comment" | "grant" => creation.map(str::to_owned),
        "view" => creation.map(|it| it.replacen("CREATE VIEW", "CREATE OR REPLACE VIEW", 1)),
        "constraint" | "trigger" | "policy" | "rule" | "index" | "statistics" => {
            Some(format!("{}; {}", drop_of(id)?, creation?))
        }
        "extension" => Some(format!("ALTER EXTENSION {} UPDATE", id.name)),
        _ => None,
    }
}

/// What a person may run to be rid of an object.
fn drop_of(id: &Id) -> Option<String> {
    let name = &id.name;
    let on = || name.split_once(" on ");
    Some(match id.kind.as_str() {
        "column" => {
            let (table, column) = name.rsplit_once('.')?;
            format!("ALTER TABLE {table} DROP COLUMN {column}")
        }
        "default" => {
            let (table, column) = name.rsplit_once('.')?;
            format!("ALTER TABLE {table} ALTER COLUMN {column} DROP DEFAULT")
        }
        "constraint" => {
            let (constraint, table) = on()?;
            format!("ALTER TABLE {table} DROP CONSTRAINT {constraint}")
        }
        "trigger" | "policy" | "rule" => {
            let kind = id.kind.to_uppercase();
            format!(
                "DROP {kind} {name}",
                name = name.replacen(" on ", " ON ", 1)
            )
        }
        "schema" | "extension" | "type" | "domain" | "sequence" | "function" | "procedure"
        | "table" | "index" | "view" | "statistics" => {
            format!("DROP {} {name}", id.kind.to_uppercase())
        }
        _ => return None,
    })
}

/// Runs what is planned on a shard, in the name of a term and all in one transaction, each
/// statement as soon as what it stands on is there. What is refused does not keep the rest from
/// being done.
///
/// `numbers` are those of the shard that it is to be like, and of this one.
///
/// # Errors
/// When the shard cannot be reached, another leader was there, or it does not commit: nothing is
/// changed then, unless only the answer to the commit is lost.
pub async fn repair(
    sessions: &Sessions,
    shard: &Shard,
    term: Term,
    (actions, numbers): (&mut [Action], (u16, u16)),
) -> Result<(), guard::Error> {
    let mut session = sessions.open_for(shard, "schema").await?;
    term::raise(&mut session, term).await?;
    run(&mut session, term, actions, numbers).await?;
    Ok(())
}

async fn run(
    session: &mut Session,
    term: Term,
    actions: &mut [Action],
    (from, to): (u16, u16),
) -> Result<(), session::Error> {
    let what = "repair the schema";
    let work = session.begin(term).await?;
    let prepare = "SET LOCAL search_path = ''; SET LOCAL check_function_bodies = off; \
                   SET LOCAL lock_timeout = '10s'";
    work.run(what, prepare).await?;
    loop {
        let mut is_moving = false;
        for action in actions.iter_mut() {
            let is_open = matches!(action.outcome, Outcome::Planned | Outcome::Failed(_));
            let Some(statement) = action.statement.as_ref().filter(|_| is_open) else {
                continue;
            };
            action.outcome = attempt(&work, statement).await?;
            is_moving |= action.outcome == Outcome::Done;
        }
        // Another round only while one more thing may stand on what was just made.
        let is_left = |action: &Action| matches!(action.outcome, Outcome::Failed(_));
        if !is_moving || !actions.iter().any(is_left) {
            break;
        }
    }
    // The definitions are those of the other shard, and so are the values of sequences.
    work.run(what, &strides::shift(from, to)).await?;
    work.commit(what).await
}

async fn attempt(work: &Work<'_>, statement: &str) -> Result<Outcome, session::Error> {
    let what = "repair the schema";
    work.run(what, "SAVEPOINT step").await?;
    match work.batch_execute(statement).await {
        Ok(()) => {
            work.run(what, "RELEASE step").await?;
            Ok(Outcome::Done)
        }
        Err(error) => {
            let Some(refused) = error.as_db_error().cloned() else {
                return Err(work.error(what, error));
            };
            work.run(what, "ROLLBACK TO step").await?;
            Ok(Outcome::Failed(refused.message().to_owned()))
        }
    }
}

#[cfg(test)]
mod tests;
