//! Registers tables in the transactions that create them, or look at them: after every shard has
//! the table and before any has committed it.
//!
//! What dies in between leaves a table that is registered and on no shard, which is harmless: the
//! same CREATE TABLE does the rest. A table that is there and not registered is never read or
//! written by the router.

use std::time::Duration;

use futures_util::future::join_all;
use proto::manager::v1::CreateTableRequest;
use tokio::time::Instant;
use topology::{Epoch, GroupName, KeyType, Placement, ShardId, Snapshot, TableName};
use wire::quote::{ident, literal, qualified};

use super::Failure;
use super::participant::{Participant, Row};
use crate::core::Core;
use crate::error::Error;
use crate::query::{Placing, Registration};
use crate::route::Refusal;

/// How long this router may take to follow a topology that is written.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The group that a key of its type goes to unless another is named.
const DEFAULT_GROUP: &str = "default";

/// What one shard has of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    name: TableName,
    is_table: bool,
    /// The key column's type as a key; none when it is none.
    key_type: Option<KeyType>,
    /// The column's type in PostgreSQL's words; none without such a column.
    column_type: Option<String>,
    /// A unique index or exclusion constraint without the key column.
    unique_without_key: Option<String>,
    /// A column whose default comes from a sequence.
    drawn: Option<String>,
}

/// A table that fits what it is to be registered as.
pub(super) struct Fitting {
    found: Found,
    placement: Placement,
    is_registered: bool,
}

impl Fitting {
    /// What it is called, and where its rows are to be.
    pub(super) fn place(&self) -> (TableName, Placement) {
        (self.found.name.clone(), self.placement.clone())
    }
}

/// Looks at a table that each of `members` has, within its open transaction.
pub(super) async fn look(
    members: &mut [Participant],
    wanted: &Registration,
    snapshot: &Snapshot,
) -> Result<Fitting, Failure> {
    let found = inspect(members, wanted).await?;
    let placement = placement_of(&found, wanted, snapshot)?;
    let known = snapshot.table(&found.name);
    if known.is_some_and(|table| table.placement != placement) {
        return Err(registered_otherwise(&found.name).into());
    }
    let is_registered = known.is_some();
    if !is_registered {
        check_rows(members, &found.name, &placement).await?;
    }
    Ok(Fitting {
        found,
        placement,
        is_registered,
    })
}

/// Registers a table and gives the epoch from which on it is; none when it was already.
pub(super) async fn register(core: &Core, table: Fitting) -> Result<Option<Epoch>, Failure> {
    if table.is_registered {
        return Ok(None);
    }
    let request = request_of(&table.found, table.placement);
    match core.managers.create_table(request).await {
        Ok(epoch) => Ok(Some(epoch)),
        Err(error) => Err(Error::Managers(error).into()),
    }
}

/// Waits until this router routes by the topology of an epoch.
///
/// # Errors
/// [`Error::Timeout`]: the topology has changed, and this router does not see it yet.
pub async fn caught_up(core: &Core, epoch: Epoch) -> Result<(), Error> {
    let deadline = Instant::now() + CATCH_UP;
    while core.view.load().snapshot.epoch() < epoch {
        if Instant::now() > deadline {
            return Err(Error::Timeout(CATCH_UP));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// The home of an unsharded table: the one that is named, or the first shard that takes part.
pub(super) fn home_of(
    registration: &Registration,
    mut active: impl Iterator<Item = ShardId>,
) -> Result<Option<ShardId>, Refusal> {
    let Placing::Unsharded { shard } = &registration.placing else {
        return Ok(None);
    };
    let found = match shard {
        Some(wanted) => active.find(|id| id.as_str() == wanted),
        None => active.next(),
    };
    let unknown = || Refusal {
        sqlstate: "22023",
        message: format!(
            "shard \"{}\" does not exist or owns no part of the ring",
            shard.as_deref().unwrap_or_default()
        ),
        hint: Some("see \"shardctl shards list\"".to_owned()),
    };
    found.ok_or_else(unknown).map(Some)
}

async fn inspect(members: &mut [Participant], wanted: &Registration) -> Result<Found, Failure> {
    let column = match &wanted.placing {
        Placing::Sharded { column, .. } => column.as_str(),
        Placing::Reference | Placing::Unsharded { .. } => "",
    };
    let kinds = match &wanted.placing {
        // A materialized view is a table of its home.
        Placing::Unsharded { .. } => "'r', 'p', 'm'",
        Placing::Sharded { .. } | Placing::Reference => "'r', 'p'",
    };
    let question = question(&wanted.table, column, kinds);
    let asked = join_all(members.iter_mut().map(|one| one.rows(&question))).await;
    let mut all: Option<Found> = None;
    for (member, rows) in members.iter().zip(asked) {
        let row = rows?.into_iter().next();
        let row = row.ok_or_else(|| no_table(&wanted.table, &member.shard))?;
        let found = read(&row).ok_or_else(|| no_table(&wanted.table, &member.shard))?;
        match &all {
            Some(first) if *first != found => {
                return Err(differs(&wanted.table, &member.shard).into());
            }
            Some(_) => {}
            None => all = Some(found),
        }
    }
    all.ok_or_else(|| Error::NoShard.into())
}

fn question(table: &str, column: &str, kinds: &str) -> String {
    format!(
        "SELECT n.nspname, c.relname, c.relkind IN ({kinds}), \
           CASE WHEN NOT coalesce(co.collisdeterministic, true) THEN NULL \
             WHEN a.atttypid IN (20, 21, 23) THEN 'bigint' \
             WHEN a.atttypid = 25 OR a.atttypid = 1043 AND a.atttypmod = -1 THEN 'text' \
             WHEN a.atttypid = 2950 THEN 'uuid' END, \
           pg_catalog.format_type(a.atttypid, a.atttypmod), \
           (SELECT pg_catalog.min(i.indexrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_index i \
             WHERE i.indrelid = c.oid AND ((i.indisunique AND NOT coalesce(a.attnum = ANY \
               ((i.indkey::pg_catalog.int2[])[0:i.indnkeyatts - 1]), false)) \
             OR (i.indisexclusion AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k, \
               pg_catalog.generate_subscripts(k.conkey, 1) at, pg_catalog.pg_operator o \
               WHERE k.conindid = i.indexrelid AND k.conkey[at] = a.attnum \
               AND o.oid = k.conexclop[at] AND o.oprname = '=')))), \
           (SELECT pg_catalog.min(d.attname::text) FROM pg_catalog.pg_attribute d WHERE d.attrelid = c.oid \
             AND d.attnum > 0 AND NOT d.attisdropped AND (d.attidentity <> '' OR EXISTS ( \
               SELECT FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_depend p \
                 ON p.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND p.objid = f.oid \
                 AND p.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass \
               JOIN pg_catalog.pg_class s ON s.oid = p.refobjid AND s.relkind = 'S' \
               WHERE f.adrelid = c.oid AND f.adnum = d.attnum))) \
         FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = {column} \
           AND a.attnum > 0 AND NOT a.attisdropped \
         LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation \
         WHERE c.oid = pg_catalog.to_regclass({table})",
        table = literal(table),
        column = literal(column),
    )
}

fn read(row: &Row) -> Option<Found> {
    let text = |at: usize| row.get(at).cloned().flatten();
    Some(Found {
        name: TableName::try_from_parts(&text(0)?, &text(1)?).ok()?,
        is_table: text(2)? == "t",
        key_type: text(3).and_then(|word| KeyType::parse(&word).ok()),
        column_type: text(4).filter(|_| row.get(4).is_some()),
        unique_without_key: text(5),
        drawn: text(6),
    })
}

/// Where the table's rows are to be, if it fits.
fn placement_of(
    found: &Found,
    wanted: &Registration,
    snapshot: &Snapshot,
) -> Result<Placement, Refusal> {
    let name = &found.name;
    if !found.is_table {
        let message = format!("\"{name}\" is not a table: nothing else is registered");
        return Err(Refusal::unsupported(message));
    }
    match &wanted.placing {
        Placing::Sharded { column, group } => {
            let key_type = key_type_of(found, column)?;
            if let Some(index) = &found.unique_without_key {
                let message = format!(
                    "unique index {index} of table \"{name}\" does not hold the shard key \
                     \"{column}\", and can't be kept across shards"
                );
                let hint = format!("add \"{column}\" to its columns");
                return Err(Refusal::unsupported(message).hint(hint));
            }
            let group = match group {
                Some(group) => GroupName::try_new(group).map_err(|invalid| Refusal {
                    sqlstate: "22023",
                    message: invalid.to_string(),
                    hint: None,
                })?,
                None => group_of(key_type, snapshot)?,
            };
            let shard_key = column.clone();
            Ok(Placement::Sharded { group, shard_key })
        }
        Placing::Reference => match &found.drawn {
            None => Ok(Placement::Reference),
            Some(column) => Err(Refusal::unsupported(format!(
                "column \"{column}\" of reference table \"{name}\" gets its values from a sequence, \
                 of which each shard has its own"
            ))
            .hint("take the default away and give the value, such as one of sharding.next_id()")),
        },
        Placing::Unsharded { shard } => {
            let shard = shard.as_deref().unwrap_or_default();
            let id = ShardId::try_new(shard).map_err(|_| Refusal::no_such_shard(shard))?;
            Ok(Placement::Unsharded { shard_id: id })
        }
    }
}

fn key_type_of(found: &Found, column: &str) -> Result<KeyType, Refusal> {
    let name = &found.name;
    match (&found.column_type, found.key_type) {
        (Some(_), Some(key_type)) => Ok(key_type),
        (None, _) => Err(Refusal {
            sqlstate: "42703",
            message: format!("column \"{column}\" of table \"{name}\" does not exist"),
            hint: None,
        }),
        (Some(found), None) => Err(Refusal {
            sqlstate: "42P16",
            message: format!(
                "column \"{column}\" of table \"{name}\" is of type {found}, which can't be a shard \
                 key"
            ),
            hint: Some(
                "a shard key is a smallint, integer, bigint, uuid, text or varchar without a \
                 length, under a deterministic collation"
                    .to_owned(),
            ),
        }),
    }
}

/// The default group where it takes keys of this type, else one that is named after the type.
fn group_of(key_type: KeyType, snapshot: &Snapshot) -> Result<GroupName, Refusal> {
    let default = GroupName::try_new(DEFAULT_GROUP).ok();
    let default = default.filter(|name| {
        let known = snapshot.group(name);
        known.is_none_or(|group| group.key_type == key_type)
    });
    match default {
        Some(name) => Ok(name),
        None => GroupName::try_new(key_type.as_str()).map_err(|invalid| Refusal {
            sqlstate: "22023",
            message: invalid.to_string(),
            hint: None,
        }),
    }
}

/// Refuses a table whose rows are not where they would be looked for.
async fn check_rows(
    members: &mut [Participant],
    name: &TableName,
    placement: &Placement,
) -> Result<(), Failure> {
    let table = qualified(name.schema(), name.name());
    match placement {
        Placement::Reference => {
            let question = format!(
                "SELECT pg_catalog.count(*), \
                 pg_catalog.sum(pg_catalog.hashtextextended(t::text, 0)) FROM {table} t"
            );
            let asked = join_all(members.iter_mut().map(|one| one.rows(&question))).await;
            let rows = asked.into_iter().collect::<Result<Vec<_>, _>>()?;
            if rows.windows(2).any(|pair| pair.first() != pair.last()) {
                let hint = "bring all shards to the same rows first";
                return Err(misplaced(name, "which are not the same on all shards", hint).into());
            }
            Ok(())
        }
        Placement::View { .. } => Ok(()),
        Placement::Sharded { .. } | Placement::Unsharded { .. } => {
            let is_alone = members.len() == 1;
            let question = format!("SELECT EXISTS (SELECT FROM {table})");
            let asked = join_all(members.iter_mut().map(|one| one.rows(&question))).await;
            for (member, rows) in members.iter().zip(asked) {
                let row = rows?.into_iter().next().unwrap_or_default();
                let has_rows = row.first().is_some_and(|it| it.as_deref() == Some("t"));
                let at_home = match placement {
                    Placement::Unsharded { shard_id } => *shard_id == member.shard,
                    Placement::Sharded { .. } | Placement::Reference | Placement::View { .. } => {
                        is_alone
                    }
                };
                if has_rows && !at_home {
                    let what = format!("on shard {}", member.shard);
                    let hint = "copy them out, empty the table on the shards, register it and load \
                                them through the router";
                    return Err(misplaced(name, &what, hint).into());
                }
            }
            Ok(())
        }
    }
}

fn request_of(found: &Found, placement: Placement) -> CreateTableRequest {
    let name = qualified(found.name.schema(), found.name.name());
    match placement {
        Placement::Sharded { group, shard_key } => CreateTableRequest {
            name,
            kind: "sharded".to_owned(),
            // The manager reads it as SQL would, and folds what is not quoted.
            shard_key: ident(&shard_key),
            key_type: found.key_type.map(|it| it.to_string()).unwrap_or_default(),
            group: group.to_string(),
            ..CreateTableRequest::default()
        },
        Placement::Reference => CreateTableRequest {
            name,
            kind: "reference".to_owned(),
            ..CreateTableRequest::default()
        },
        Placement::Unsharded { shard_id } => CreateTableRequest {
            name,
            kind: "unsharded".to_owned(),
            shard_id: shard_id.to_string(),
            ..CreateTableRequest::default()
        },
        Placement::View { definition } => CreateTableRequest {
            name,
            kind: "view".to_owned(),
            definition,
            ..CreateTableRequest::default()
        },
    }
}

fn no_table(table: &str, shard: &ShardId) -> Refusal {
    Refusal {
        sqlstate: "42P01",
        message: format!("relation {table} does not exist on shard {shard}"),
        hint: Some("create it through the router first".to_owned()),
    }
}

fn differs(table: &str, shard: &ShardId) -> Refusal {
    Refusal {
        sqlstate: "55000",
        message: format!("table {table} is not the same on shard {shard} as on the others"),
        hint: Some("see \"shardctl schema diff\"".to_owned()),
    }
}

fn registered_otherwise(name: &TableName) -> Refusal {
    Refusal {
        sqlstate: "42710",
        message: format!("table \"{name}\" is registered otherwise"),
        hint: Some(format!(
            "drop it and forget it first: SELECT sharding.forget_table('{name}')"
        )),
    }
}

fn misplaced(name: &TableName, where_: &str, hint: &str) -> Refusal {
    Refusal {
        sqlstate: "55000",
        message: format!("table \"{name}\" has rows {where_}: they would not be found there"),
        hint: Some(hint.to_owned()),
    }
}
