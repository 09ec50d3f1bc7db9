//! The registration that the comment of a CREATE TABLE asks for: `/* shard_key = column */`,
//! `/* table_kind = reference */`, `/* table_kind = unsharded */`.

use topology::{ShardIndex, Snapshot};
use wire::quote;

use super::ddl::{apart, refuse_spread};
use super::tables::{Kind, Tables, shown};
use super::{Refusal, views};
use crate::query::{Change, Class, Ddl, NewTables, Placing, Registration, Statement};

/// Where the statement stands that creates a table.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The topology.
    pub snapshot: &'a Snapshot,
    /// The schemas in which names are looked for.
    pub search_path: &'a [&'a str],
    /// What becomes of a new table that is not said to be anything.
    pub new_tables: NewTables,
}

/// What a statement asks to be registered; none when it asks for nothing.
///
/// # Errors
/// The [`Refusal`] when its hints do not go together, or the table would not be where those are
/// that it needs.
pub fn registration(
    statement: &Statement,
    setting: &Setting<'_>,
) -> Result<Option<Registration>, Refusal> {
    let Class::Ddl(ddl) = &statement.class else {
        return Ok(None);
    };
    let created = ddl.changes.iter().find_map(|change| match change {
        Change::Create { table, .. } => Some(table),
        _ => None,
    });
    let Some(table) = created else {
        return Ok(None);
    };
    let tables = Tables::new(setting.snapshot, setting.search_path);
    let needs = Needs::of(ddl, tables)?;
    let hints = &statement.hints;
    let kind = hints.table_kind.as_deref();
    let placing = match (kind, &hints.shard_key) {
        (None | Some("sharded"), Some(column)) if hints.shard.is_none() => Placing::Sharded {
            column: column.clone(),
            group: hints.table_group.clone(),
        },
        (Some("reference"), None) if hints.shard.is_none() => Placing::Reference,
        (Some("unsharded"), None) => Placing::Unsharded {
            shard: hints.shard.clone(),
        },
        (None, None)
            if setting.new_tables == NewTables::Unsharded && needs.may_be_unsharded(ddl) =>
        {
            Placing::Unsharded { shard: None }
        }
        (None, None) => {
            needs.refuse_homes(ddl, &table.name)?;
            refuse_spread(ddl)?;
            return Ok(None);
        }
        (Some("sharded"), None) => return Err(contradicting("no shard_key")),
        (_, Some(_)) => return Err(contradicting("a shard_key")),
        (Some(_), None) => return Err(contradicting("another kind or a shard")),
    };
    let placing = needs.placed(placing, ddl, &table.name, setting.snapshot)?;
    if !matches!(placing, Placing::Unsharded { .. }) {
        refuse_spread(ddl)?;
    }
    if hints.table_group.is_some() && !matches!(placing, Placing::Sharded { .. }) {
        return Err(contradicting("a table_group"));
    }
    let table = match &table.schema {
        Some(schema) => quote::qualified(schema, &table.name),
        None => quote::ident(&table.name),
    };
    Ok(Some(Registration { table, placing }))
}

/// The tables that a new one names: in foreign keys, as its parents, in its query.
struct Needs {
    /// An unsharded one, and where it is.
    home: Option<(String, ShardIndex)>,
    /// Whether one has rows on several shards.
    is_spread: bool,
}

impl Needs {
    fn of(ddl: &Ddl, tables: Tables<'_>) -> Result<Self, Refusal> {
        let mut needs = Self {
            home: None,
            is_spread: false,
        };
        for change in &ddl.changes {
            match (change, tables.kind(change.table())) {
                (Change::Create { .. }, _) | (_, Kind::System | Kind::Unregistered) => {}
                (_, Kind::View(name, definition)) => match views::home(definition, tables) {
                    Some(index) => needs.stay(ddl, shown(name).to_string(), index)?,
                    None => needs.is_spread = true,
                },
                (_, Kind::Sharded(_)) => needs.is_spread = true,
                // It is on every shard, that of the new table included.
                (_, Kind::Reference(_)) => {}
                (_, Kind::Home(name, index)) => needs.stay(ddl, shown(name).to_string(), index)?,
            }
        }
        Ok(needs)
    }

    /// Notes what is on one shard alone.
    fn stay(&mut self, ddl: &Ddl, name: String, index: ShardIndex) -> Result<(), Refusal> {
        match &self.home {
            Some((other, home)) if *home != index => Err(apart(ddl, other, &name)),
            Some(_) => Ok(()),
            None => {
                self.home = Some((name, index));
                Ok(())
            }
        }
    }

    /// Whether a table that is not said to be anything may be unsharded.
    fn may_be_unsharded(&self, ddl: &Ddl) -> bool {
        ddl.makes_table() && !self.is_spread
    }

    /// A table that is on all shards cannot do with one that is on one.
    fn refuse_homes(&self, ddl: &Ddl, table: &str) -> Result<(), Refusal> {
        match &self.home {
            None => Ok(()),
            Some((name, _)) => Err(apart(ddl, name, table)),
        }
    }

    /// The home of what it needs is that of an unsharded table.
    fn placed(
        &self,
        placing: Placing,
        ddl: &Ddl,
        table: &str,
        snapshot: &Snapshot,
    ) -> Result<Placing, Refusal> {
        let Placing::Unsharded { shard } = placing else {
            self.refuse_homes(ddl, table)?;
            return Ok(placing);
        };
        let home = self.home.as_ref().and_then(|(name, index)| {
            let shard = snapshot.shards().get(usize::try_from(index.0).ok()?)?;
            Some((name, shard.id.to_string()))
        });
        match (home, shard) {
            (Some((name, home)), Some(shard)) if home != shard => Err(apart(ddl, name, table)),
            (Some((_, home)), _) => Ok(Placing::Unsharded { shard: Some(home) }),
            (None, shard) => Ok(Placing::Unsharded { shard }),
        }
    }
}

fn contradicting(with: &str) -> Refusal {
    Refusal {
        sqlstate: "42601",
        message: format!(
            "the comment of CREATE TABLE has {with}, which does not fit its other hints"
        ),
        hint: Some(
            "write shard_key = column, table_kind = reference, or table_kind = unsharded with an \
             optional shard = 'id'"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::analyze;

    fn of(sql: &str) -> Result<Option<Registration>, Refusal> {
        under(sql, NewTables::Unregistered)
    }

    fn under(sql: &str, new_tables: NewTables) -> Result<Option<Registration>, Refusal> {
        let snapshot = crate::route::tests::cluster::snapshot();
        let setting = Setting {
            snapshot: &snapshot,
            search_path: &["public"],
            new_tables,
        };
        registration(&analyze(sql).unwrap().statements[0], &setting)
    }

    #[test]
    fn the_comment_of_a_new_table_says_where_its_rows_are_to_be() {
        let sharded = |group: Option<&str>| Placing::Sharded {
            column: "k".to_owned(),
            group: group.map(str::to_owned),
        };
        for (sql, table, placing) in [
            (
                "/* shard_key = k */ create table t (k int)",
                "\"t\"",
                sharded(None),
            ),
            (
                "create table s.\"T\" (k int) /* shard_key = 'k', table_group = g */",
                "\"s\".\"T\"",
                sharded(Some("g")),
            ),
            (
                "/* table_kind = reference */ create table t (k int)",
                "\"t\"",
                Placing::Reference,
            ),
            (
                "/* table_kind = unsharded, shard = 'shard-2' */ create table t (k int)",
                "\"t\"",
                Placing::Unsharded {
                    shard: Some("shard-2".to_owned()),
                },
            ),
        ] {
            let registration = Registration {
                table: table.to_owned(),
                placing,
            };
            assert_eq!(of(sql), Ok(Some(registration)), "{sql}");
        }
        for sql in [
            "create table t as select 1 k",
            "/* shard_key = k */ create table t as select 1 k",
            "/* table_kind = reference */ select 1 k into t",
        ] {
            let refusal = of(sql).unwrap_err();
            assert!(refusal.message.contains("rows of a query"), "{sql}");
        }
        for sql in [
            "create table t (k int)",
            "/* shard_key = k */ drop table t",
            "/* shard_key = 5 */ select 1",
        ] {
            assert_eq!(of(sql), Ok(None), "{sql}");
        }
    }

    #[test]
    fn a_new_table_is_unsharded_where_that_is_asked_for_and_can_be() {
        let unsharded = |sql: &str| match under(sql, NewTables::Unsharded) {
            Ok(Some(registration)) => match registration.placing {
                Placing::Unsharded { shard } => Ok(shard),
                other => panic!("{sql}: {other:?}"),
            },
            Ok(None) => Err(String::new()),
            Err(refusal) => Err(refusal.message),
        };
        for (sql, shard) in [
            ("create table t (k int)", None),
            ("create table if not exists t (k serial)", None),
            (
                "/* table_kind = unsharded, shard = c */ create table t (k int)",
                Some("c"),
            ),
            ("create table t (k int references countries)", None),
            ("create table t (k int references settings)", Some("b")),
            ("create table t as select * from jobs", Some("c")),
            (
                "create table t as select g from generate_series(1, 9) g",
                None,
            ),
            ("select * into t from settings, countries", Some("b")),
        ] {
            assert_eq!(unsharded(sql), Ok(shard.map(str::to_owned)), "{sql}");
        }
        for sql in [
            "create table t (k int references customers)",
            "create table t partition of orders default",
            "create view v as select 1",
            "create index on t (k)",
        ] {
            assert_eq!(unsharded(sql), Err(String::new()), "{sql}");
        }
        for sql in [
            "create table t (k int references settings, j int references jobs)",
            "/* table_kind = unsharded, shard = c */ create table t (k int references settings)",
            "/* shard_key = k */ create table t (k int references settings)",
        ] {
            let refused = unsharded(sql).unwrap_err();
            assert!(
                refused.contains("not on the same shards"),
                "{sql}: {refused}"
            );
        }
        let elsewhere = of("create table t (k int references settings)").unwrap_err();
        assert!(elsewhere.message.contains("not on the same shards"));
    }

    #[test]
    fn hints_that_do_not_go_together_are_refused() {
        for sql in [
            "/* shard_key = k, table_kind = reference */ create table t (k int)",
            "/* shard_key = k, shard = 'a' */ create table t (k int)",
            "/* table_kind = sharded */ create table t (k int)",
            "/* table_kind = reference, table_group = g */ create table t (k int)",
        ] {
            assert!(of(sql).is_err(), "{sql}");
        }
    }
}
