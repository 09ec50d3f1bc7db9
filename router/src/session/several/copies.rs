//! A write to a reference table runs on every shard, in one transaction, and does the same on each.
//!
//! On each shard the table is locked against other writers first, so that all shards see the same
//! writes in the same order. What would give another value on each is refused before. A shard that
//! is being made ready to own rows has a copy already, or gets one once this is over: which of both
//! is seen in its copy, under the lock.

use topology::{ShardIndex, ShardState, TableName};
use wire::quote::{literal, qualified};

use super::split::{Piece, Split, merge_copies};
use crate::error::Error;
use crate::exec::collect::Collected;
use crate::query;
use crate::route::{Copies, Given, Refusal, Target};
use crate::session::Session;
use crate::session::attach::Stopped;
use crate::view::Serving;

impl Session {
    /// Runs the statement on all copies; the answer is the first one's.
    pub(super) async fn run_copies(
        &mut self,
        serving: &Serving,
        split: &Split,
        copies: &Copies,
    ) -> Result<bytes::Bytes, Stopped> {
        let mut answers: Vec<Collected> = Vec::new();
        let mut was_empty = false;
        for piece in &split.parts {
            self.look(serving, split, piece.target, &lock(&copies.table))
                .await?;
            if answers.is_empty() {
                was_empty = self
                    .check_copies(serving, split, copies, piece.target)
                    .await?;
            }
            answers.push(self.run_piece(serving, split, piece).await?);
        }
        let members: Vec<_> = serving.active().map(|(index, _)| index).collect();
        for (index, shard) in (0..).map(ShardIndex).zip(serving.snapshot.shards()) {
            if members.contains(&index) || shard.state != ShardState::Active {
                continue;
            }
            let target = Target::Shard { index, token: None };
            if self
                .has_copy(serving, split, copies, target, was_empty)
                .await?
            {
                let piece = Piece::whole(target, split);
                answers.push(self.run_piece(serving, split, &piece).await?);
            }
        }
        let first = answers.first().map(|answer| answer.tag.clone());
        if answers
            .iter()
            .any(|answer| Some(&answer.tag) != first.as_ref())
        {
            return Err(differ(&copies.table).into());
        }
        merge_copies(split, answers)
    }

    /// Locks all copies for a write that runs on them side by side; gives the shards that have one.
    pub(in crate::session) async fn ready_copies(
        &mut self,
        serving: &Serving,
        split: &Split,
        copies: &Copies,
    ) -> Result<Vec<ShardIndex>, Stopped> {
        self.begin_implicitly().await?;
        let members: Vec<ShardIndex> = serving.active().map(|(index, _)| index).collect();
        let (mut shards, mut was_empty) = (Vec::new(), false);
        for index in &members {
            let target = Target::Shard {
                index: *index,
                token: None,
            };
            self.look(serving, split, target, &lock(&copies.table))
                .await?;
            if shards.is_empty() {
                was_empty = self.check_copies(serving, split, copies, target).await?;
            }
            shards.push(*index);
        }
        for (index, shard) in (0..).map(ShardIndex).zip(serving.snapshot.shards()) {
            if members.contains(&index) || shard.state != ShardState::Active {
                continue;
            }
            let target = Target::Shard { index, token: None };
            if self
                .has_copy(serving, split, copies, target, was_empty)
                .await?
            {
                shards.push(index);
            }
        }
        Ok(shards)
    }

    /// Refuses what would be another row on each shard; whether the table has no rows now.
    async fn check_copies(
        &mut self,
        serving: &Serving,
        split: &Split,
        copies: &Copies,
        target: Target,
    ) -> Result<bool, Stopped> {
        let answer = self.look(serving, split, target, &question(copies)).await?;
        let values = answer.values();
        let value = |at: usize| values.get(at).cloned().flatten();
        if let Some(trigger) = value(0) {
            return Err(varies(&copies.table, &format!("trigger \"{trigger}\"")).into());
        }
        if let Some(column) = value(1) {
            let what = format!("the default of column \"{column}\"");
            return Err(varies(&copies.table, &what).into());
        }
        Ok(value(2).as_deref() == Some("f"))
    }

    /// Whether a shard that owns no rows yet has got its copy.
    async fn has_copy(
        &mut self,
        serving: &Serving,
        split: &Split,
        copies: &Copies,
        target: Target,
        was_empty: bool,
    ) -> Result<bool, Stopped> {
        let name = literal(&quoted(&copies.table));
        let exists = format!("SELECT pg_catalog.to_regclass({name}) IS NOT NULL");
        let answer = self.look(serving, split, target, &exists).await?;
        if answer.values() != [Some("t".to_owned())] {
            return Ok(false);
        }
        self.look(serving, split, target, &lock(&copies.table))
            .await?;
        let filled = format!("SELECT EXISTS (SELECT FROM {})", quoted(&copies.table));
        let answer = self.look(serving, split, target, &filled).await?;
        Ok(was_empty || answer.values() == [Some("t".to_owned())])
    }
}

/// The statement may not be one that gives other values on each server.
pub(in crate::session) fn check_text(sql: &str, table: &TableName) -> Result<(), Refusal> {
    match query::varying(sql) {
        Some(word) => Err(varies(table, &word)),
        None => Ok(()),
    }
}

fn lock(table: &TableName) -> String {
    format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", quoted(table))
}

/// A trigger of the application's, a column that is not given and whose default may differ, and
/// whether there are rows.
fn question(copies: &Copies) -> String {
    let name = quoted(&copies.table);
    let text = literal(&name);
    let missing = match &copies.given {
        None => "false".to_owned(),
        Some(Given::First(count)) => format!(
            "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute b \
             WHERE b.attrelid = a.attrelid AND b.attnum > 0 AND NOT b.attisdropped \
             AND b.attnum <= a.attnum) > {count}"
        ),
        Some(Given::Named(columns)) => {
            let names: Vec<String> = columns.iter().map(|name| literal(name)).collect();
            format!(
                "a.attname <> ALL (ARRAY[{}]::pg_catalog.name[])",
                names.join(",")
            )
        }
    };
    format!(
        "SELECT (SELECT pg_catalog.min(t.tgname::text) FROM pg_catalog.pg_trigger t \
           WHERE t.tgrelid = {text}::pg_catalog.regclass AND NOT t.tgisinternal \
           AND NOT pg_catalog.starts_with(t.tgname::text, '~vg_')), \
         (SELECT pg_catalog.min(a.attname::text) FROM pg_catalog.pg_attribute a \
           LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
           WHERE a.attrelid = {text}::pg_catalog.regclass AND a.attnum > 0 \
           AND NOT a.attisdropped AND a.attgenerated = '' AND {missing} \
           AND (a.attidentity <> '' OR pg_catalog.pg_get_expr(d.adbin, d.adrelid) \
             ~* '[a-z0-9_\"][[:space:]]*\\(|current_|localtime|session_user|''(now|today|tomorrow|yesterday)')), \
         EXISTS (SELECT FROM {name})"
    )
}

fn quoted(table: &TableName) -> String {
    qualified(table.schema(), table.name())
}

fn varies(table: &TableName, what: &str) -> Refusal {
    Refusal {
        sqlstate: "0A000",
        message: format!(
            "the write to reference table \"{table}\" may do something else on each shard: {what}"
        ),
        hint: Some("give the value as a constant or as a parameter".to_owned()),
    }
}

fn differ(table: &TableName) -> Error {
    Error::Refused(Refusal {
        sqlstate: "XX001",
        message: format!(
            "the shards' copies of reference table \"{table}\" differ: nothing was written"
        ),
        hint: Some("compare the table on the shards".to_owned()),
    })
}
