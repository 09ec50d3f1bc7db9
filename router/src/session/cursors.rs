//! SQL cursors over the rows of several shards. The router keeps them: each is a portal under the
//! cursor's name, and goes forward only.

use std::sync::Arc;

use bytes::Bytes;
use wire::Format;
use wire::backend::encode;

use super::attach::Stopped;
use super::extended::Portal;
use super::scatter::Scattered;
use super::state::Transaction;
use super::{Session, local};
use crate::query::{self, Class, CursorUse, Fetched, Skip, Statement};
use crate::route::{Plan, Refusal};
use crate::scatter;
use crate::scatter::exec::Arguments;

/// A FETCH or MOVE of such a cursor.
#[derive(Debug)]
pub(super) struct Fetching {
    cursor: Arc<Scattered>,
    fetched: Fetched,
}

impl Session {
    /// Opens a cursor, if the query that was refused for one shard can be asked of all.
    pub(super) async fn declare_scattered(
        &mut self,
        (statement, plan, sql): (&Statement, &Plan, &str),
        refusal: &Refusal,
        mut arguments: Arguments,
    ) -> Result<Option<Bytes>, Stopped> {
        let Class::DeclareCursor { name, .. } = &statement.class else {
            return Ok(None);
        };
        if !self.could_declare(statement, plan, refusal) {
            return Ok(None);
        }
        let text = statement.text(sql);
        let declared = query::declared(text).ok_or_else(|| refusal.clone())?;
        if self.transaction == Transaction::Idle {
            return Err(Refusal {
                sqlstate: "25P01",
                message: "DECLARE CURSOR can only be used in transaction blocks".to_owned(),
                hint: None,
            }
            .into());
        }
        if declared.scrolls {
            let message = "a cursor over several shards goes forward only";
            return Err(Refusal::unsupported(message)
                .hint("leave SCROLL out")
                .into());
        }
        Box::pin(self.must_be_no_cursor(name)).await?;
        arguments.results = match declared.binary {
            true => vec![Format::Binary],
            false => Vec::new(),
        };
        let cursor = Arc::new(Scattered::cursor(declared.query, arguments));
        Box::pin(self.open_cursor(&cursor)).await?;
        let name = Bytes::copy_from_slice(name.as_bytes());
        self.portals.insert(name, Portal::Scattered(cursor));
        Ok(Some(local::complete("DECLARE CURSOR")))
    }

    /// Whether a cursor is for a query that was refused for one shard and can be asked of all.
    pub(super) fn could_declare(
        &self,
        statement: &Statement,
        plan: &Plan,
        refusal: &Refusal,
    ) -> bool {
        let Class::DeclareCursor { query, .. } = &statement.class else {
            return false;
        };
        let inner = Statement {
            class: (**query).clone(),
            ..statement.clone()
        };
        let hinted = self.is_hinted(statement);
        scatter::candidate((&inner, hinted), plan, refusal).is_some()
    }

    /// The cursor that the router keeps under a name.
    fn kept_cursor<'s>(&'s self, class: &'s Class) -> Option<(&'s CursorUse, &'s Arc<Scattered>)> {
        let Class::Cursor(using) = class else {
            return None;
        };
        match self.portals.get(using.cursor.as_ref()?.as_bytes()) {
            Some(Portal::Scattered(cursor)) => Some((using, cursor)),
            _ => None,
        }
    }

    /// Answers a simple FETCH, MOVE or CLOSE of a cursor that the router keeps, up to its
    /// ReadyForQuery; none for others.
    pub(super) async fn use_cursor(
        &mut self,
        class: &Class,
        sql: &str,
    ) -> Result<Option<Bytes>, Stopped> {
        let Some(fetching) = self.fetching(class, sql, None)? else {
            return Ok(None);
        };
        match fetching {
            None => Ok(Some(self.close_cursor(class))),
            Some(fetching) => self.fetch(&fetching, true).await.map(Some),
        }
    }

    /// What is done with a cursor that the router keeps: none for other statements, none within for
    /// CLOSE. `format` is that in which rows are wanted.
    pub(super) fn fetching(
        &mut self,
        class: &Class,
        sql: &str,
        format: Option<Format>,
    ) -> Result<Option<Option<Fetching>>, Stopped> {
        let Some((using, cursor)) = self.kept_cursor(class) else {
            return Ok(None);
        };
        let (word, cursor) = (using.word, Arc::clone(cursor));
        self.must_not_have_failed()?;
        if word.starts_with("CLOSE") {
            return Ok(Some(None));
        }
        let fetched = query::fetched(sql).ok_or_else(forward_only)?;
        if format.is_some_and(|format| format != cursor.format()) {
            let message =
                "rows of a cursor over several shards come in the format that it was declared with";
            return Err(Refusal::unsupported(message)
                .hint("declare it as a BINARY CURSOR for binary rows")
                .into());
        }
        Ok(Some(Some(Fetching { cursor, fetched })))
    }

    /// Hands out what a FETCH is for; gives the end of its answer.
    pub(super) async fn fetch(
        &mut self,
        fetching: &Fetching,
        headed: bool,
    ) -> Result<Bytes, Stopped> {
        let Fetched { skip, rows, moves } = fetching.fetched;
        let before = Box::pin(self.rows_before(&fetching.cursor, skip)).await?;
        if before > 0 {
            let passed = (before, false, false);
            Box::pin(self.fetch_rows(&fetching.cursor, passed)).await?;
        }
        let wanted = (rows.unwrap_or(0), !moves, headed && !moves);
        let count = Box::pin(self.fetch_rows(&fetching.cursor, wanted)).await?;
        let word = if moves { "MOVE" } else { "FETCH" };
        Ok(local::complete(&format!("{word} {count}")))
    }

    /// How many rows are passed over before the first that is wanted.
    async fn rows_before(&self, cursor: &Scattered, skip: Skip) -> Result<u64, Refusal> {
        match skip {
            Skip::Rows(rows) => Ok(rows),
            Skip::Before(row) => {
                let position = self.cursor_position(cursor).await;
                let before = row.saturating_sub(1);
                before.checked_sub(position).ok_or_else(forward_only)
            }
        }
    }

    /// The heading of a FETCH.
    pub(super) async fn fetch_heading(&self, fetching: &Fetching) -> Bytes {
        if fetching.fetched.moves {
            return local::frames(encode::no_data);
        }
        self.cursor_heading(&fetching.cursor).await
    }

    /// Closes a cursor that the router keeps.
    pub(super) fn close_cursor(&mut self, class: &Class) -> Bytes {
        if let Class::Cursor(CursorUse {
            cursor: Some(name), ..
        }) = class
        {
            self.portals.remove(name.as_bytes());
        }
        local::complete("CLOSE CURSOR")
    }

    /// Whether a statement is about a cursor that the router keeps.
    pub(super) fn is_of_kept_cursor(&self, class: &Class) -> bool {
        self.kept_cursor(class).is_some()
    }

    /// Going back to a savepoint, or CLOSE ALL, ends the cursors that the router keeps.
    pub(super) fn drop_cursors(&mut self, class: &Class) {
        let ends = match class {
            Class::RollbackTo(_) => true,
            Class::Cursor(using) => using.cursor.is_none(),
            _ => false,
        };
        if ends {
            let is_kept = |portal: &Portal| matches!(portal, Portal::Scattered(_));
            self.portals.retain(|_, portal| !is_kept(portal));
        }
    }
}

fn forward_only() -> Refusal {
    Refusal::unsupported("a cursor over several shards goes forward only, and over each row once")
        .hint("use FETCH NEXT, FORWARD, ALL, RELATIVE or ABSOLUTE, ahead of where the cursor is")
}

pub(super) fn already_exists(name: &str) -> Refusal {
    Refusal {
        sqlstate: "42P03",
        message: format!("cursor \"{name}\" already exists"),
        hint: None,
    }
}
