//! Views: their queries are written into the statements that read them, so that what is routed is what
//! runs, whatever becomes of a view meanwhile.

use std::borrow::Cow;

use topology::ShardIndex;

use super::tables::{Kind, Tables, shown};
use super::{Plan, Refusal, ViewInPlace};
use crate::query::{self, Read, Statement, TableRef};

/// How deep views may be made of views.
const MAX_DEPTH: usize = 16;

/// Longest query that views may come to in all.
const MAX_BYTES: usize = 256 << 10;

/// Plans a statement that reads views; none when it reads none.
pub(super) fn plan(statement: &Statement, tables: Tables<'_>) -> Result<Option<Plan>, Refusal> {
    let mut views = Vec::new();
    let mut expansion = Expansion {
        tables,
        left: MAX_BYTES,
    };
    for read in statement.class.reads() {
        if let Kind::View(name, definition) = tables.kind(&read.table) {
            let name = shown(name).to_string();
            let place = read.place.clone().ok_or_else(|| elsewhere(&name))?;
            let query = expansion.of(&name, definition, 0)?;
            let query = in_place(&query, read);
            views.push(ViewInPlace { place, query, name });
        }
    }
    let Some(first) = views.first() else {
        return Ok(None);
    };
    if tables.hides_system() {
        return Err(hidden(&first.name));
    }
    let refusal = late(&first.name);
    Ok(Some(Plan::NeedsViews { views, refusal }))
}

/// The home of the tables that a view reads; none when they are not on one shard alone.
pub(super) fn home(definition: &str, tables: Tables<'_>) -> Option<ShardIndex> {
    home_within(definition, tables, 0)
}

fn home_within(definition: &str, tables: Tables<'_>, depth: usize) -> Option<ShardIndex> {
    if depth > MAX_DEPTH {
        return None;
    }
    let analysis = query::analyze(definition).ok()?;
    let reads = analysis.statements.iter().flat_map(|it| it.class.reads());
    let mut homes = reads.filter_map(|read| match tables.kind(&read.table) {
        Kind::Home(_, index) => Some(index),
        Kind::View(_, inner) => home_within(inner, tables, depth + 1),
        Kind::Sharded(_) | Kind::Reference(_) | Kind::System | Kind::Unregistered => None,
    });
    homes.next()
}

/// The views of a text.
pub fn views_in_place(plans: &[Plan]) -> impl Iterator<Item = &ViewInPlace> {
    plans.iter().flat_map(|plan| match plan {
        Plan::NeedsViews { views, .. } => views.as_slice(),
        Plan::Key { .. }
        | Plan::Any { .. }
        | Plan::Catalog
        | Plan::Home(_)
        | Plan::Bound(_)
        | Plan::Everywhere
        | Plan::NeedsHint { .. }
        | Plan::NeedsColumns { .. }
        | Plan::Refused(_) => &[],
    })
}

/// The text with the queries of its views in their places; none when it has none.
#[must_use]
pub fn with_views(sql: &str, plans: &[Plan]) -> Option<String> {
    let mut views: Vec<&ViewInPlace> = views_in_place(plans).collect();
    views.first()?;
    views.sort_by_key(|view| view.place.start);
    let parts = views.iter().map(|view| (view.place.clone(), &*view.query));
    spliced(sql, parts)
}

/// A refusal of a text with views in their places, which names them.
#[must_use]
pub fn reading(refusal: Refusal, plans: &[Plan]) -> Refusal {
    let mut names: Vec<&str> = Vec::new();
    for view in views_in_place(plans) {
        if !names.contains(&&*view.name) {
            names.push(&view.name);
        }
    }
    if refusal.sqlstate != "0A000" || names.is_empty() {
        return refusal;
    }
    let several = if names.len() > 1 { "views" } else { "view" };
    let names = names.join("\", \"");
    Refusal {
        message: format!("{}, reading {several} \"{names}\"", refusal.message),
        ..refusal
    }
}

fn spliced<'p>(
    sql: &str,
    parts: impl Iterator<Item = (std::ops::Range<usize>, &'p str)>,
) -> Option<String> {
    let mut text = String::with_capacity(sql.len() + 256);
    let mut copied = 0;
    for (place, part) in parts {
        text.push_str(sql.get(copied..place.start)?);
        text.push_str(part);
        copied = place.end;
    }
    text.push_str(sql.get(copied..)?);
    Some(text)
}

fn in_place(query: &str, read: &Read) -> String {
    if read.aliased {
        // The next word may follow without a space.
        format!("({query}) ")
    } else {
        format!("({query}) AS {} ", wire::quote::ident(&read.table.name))
    }
}

/// Views in the place of views.
struct Expansion<'a> {
    tables: Tables<'a>,
    /// How many bytes may still be written.
    left: usize,
}

impl<'a> Expansion<'a> {
    /// A view's query with those of the views that it reads in their places.
    fn of<'d>(
        &mut self,
        name: &str,
        query: &'d str,
        depth: usize,
    ) -> Result<Cow<'d, str>, Refusal> {
        self.left = self
            .left
            .checked_sub(query.len())
            .ok_or_else(|| too_long(name))?;
        if depth > MAX_DEPTH {
            return Err(too_deep(name));
        }
        let analysis = query::analyze(query).map_err(|_| not_understood(name))?;
        let [statement] = analysis.statements.as_slice() else {
            return Err(not_understood(name));
        };
        let mut parts = Vec::new();
        for read in statement.class.reads() {
            must_be_clear(name, &read.table)?;
            if let Kind::View(inner, definition) = self.tables.kind(&read.table) {
                let inner = shown(inner).to_string();
                let place = read.place.clone().ok_or_else(|| elsewhere(&inner))?;
                let query = self.of(&inner, definition, depth + 1)?;
                parts.push((place, in_place(&query, read)));
            }
        }
        if parts.is_empty() {
            return Ok(Cow::Borrowed(query));
        }
        parts.sort_by_key(|(place, _)| place.start);
        let parts = parts.iter().map(|(place, query)| (place.clone(), &**query));
        let text = spliced(query, parts).ok_or_else(|| not_understood(name))?;
        Ok(Cow::Owned(text))
    }
}

/// The tables of a view are the same ones under every search path.
fn must_be_clear(name: &str, table: &TableRef) -> Result<(), Refusal> {
    if table.schema.is_some() || table.name.starts_with("pg_") {
        Ok(())
    } else {
        Err(not_understood(name))
    }
}

fn not_understood(name: &str) -> Refusal {
    Refusal::unsupported(format!("the query of view \"{name}\" is not understood"))
        .hint("send its query instead of the view")
}

fn too_deep(name: &str) -> Refusal {
    Refusal::unsupported(format!(
        "view \"{name}\" is more than {MAX_DEPTH} views deep"
    ))
    .hint("send its query instead of the view")
}

fn too_long(name: &str) -> Refusal {
    Refusal {
        sqlstate: "54000",
        message: format!(
            "the queries of the views come to more than {MAX_BYTES} bytes, view \"{name}\" among them"
        ),
        hint: Some("read fewer views in one statement".to_owned()),
    }
}

fn elsewhere(name: &str) -> Refusal {
    Refusal::unsupported(format!(
        "view \"{name}\" stands where its query can't stand in its place"
    ))
    .hint("read it by its plain name in FROM, without TABLE, ONLY or TABLESAMPLE")
}

fn hidden(name: &str) -> Refusal {
    Refusal::unsupported(format!(
        "view \"{name}\" can't be read under a search_path that has pg_catalog behind other schemas"
    ))
    .hint("leave pg_catalog out of search_path, or put it first")
}

fn late(name: &str) -> Refusal {
    Refusal::unsupported(format!(
        "view \"{name}\" was registered after the statement had been prepared"
    ))
    .hint("prepare the statement anew")
}
