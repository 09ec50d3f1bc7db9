//! Where a statement goes is where the rows are that it depends on, or nowhere. Which rows these
//! are is known from how it was made.

use std::sync::LazyLock;
use std::time::SystemTime;

use router::query::{self, Form};
use router::route::{self, Constants, Parameter, Parameters, Plan, Target, UnnamedInsert};
use tests::random::Random;
use tests::statements::{KeyKind, Maker, Reach, Statement, TABLES};
use topology::records::ShardVnodes;
use topology::{
    Endpoint, Epoch, Group, GroupName, Key, KeyType, Parts, Placement, Shard, ShardId, ShardIndex,
    ShardState, Snapshot, Table, TableName, ring,
};

use crate::{Outcome, ensure};

/// Three shards and the tables of the statements.
static CLUSTER: LazyLock<Snapshot> =
    LazyLock::new(|| build().expect("the topology is valid as it is written here"));

pub(crate) fn cluster() -> &'static Snapshot {
    &CLUSTER
}

fn build() -> Option<Snapshot> {
    let mut parts = Parts::default();
    for id in ["a", "b", "c"] {
        let id = ShardId::try_new(id).ok()?;
        let tokens = ring::tokens_for(&id, 64, |_| false);
        parts.put_vnodes(ShardVnodes {
            shard: id.clone(),
            tokens,
        });
        parts.put_shard(Shard {
            name: id.to_string(),
            id,
            primary_endpoint: Endpoint::try_new("postgres://127.0.0.1:5432/app").ok()?,
            replicas: Vec::new(),
            state: ShardState::Active,
            weight: 1,
            vnode_count: 64,
            version: 1,
            created_at: SystemTime::UNIX_EPOCH,
            updated_at: SystemTime::UNIX_EPOCH,
            lineage: None,
            promotion: None,
        });
    }
    for table in TABLES {
        let (group, key_type) = match table.kind {
            KeyKind::Bigint => ("default", KeyType::Bigint),
            KeyKind::Text => ("texts", KeyType::Text),
        };
        let name = GroupName::try_new(group).ok()?;
        parts.put_group(Group {
            name: name.clone(),
            key_type,
        });
        parts.put_table(Table {
            name: TableName::try_from_parts("public", table.name).ok()?,
            placement: Placement::Sharded {
                group: name,
                shard_key: table.key.to_owned(),
            },
        });
    }
    Snapshot::try_new(Epoch(1), parts).ok()
}

/// The columns of an INSERT's table.
pub(crate) fn columns_of(insert: &UnnamedInsert) -> Vec<String> {
    let mut tables = TABLES.iter();
    let table = tables.find(|table| table.name == insert.table.name());
    let columns = table.map_or(&[][..], |table| table.columns);
    columns.iter().map(|&name| name.to_owned()).collect()
}

/// Parameters as text, of types that the client leaves open.
struct Texts<'a>(&'a [String]);

impl Parameters for Texts<'_> {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let value = self.0.get(usize::from(index))?;
        Some(Parameter {
            value: Some(value.as_bytes()),
            binary: false,
            type_oid: 0,
        })
    }
}

pub(crate) fn case(random: &mut Random) -> Outcome {
    let statement = Maker::new(random.number(), random.chance(50)).statement();
    let params = Texts(&statement.params);
    let sql = &statement.sql;
    let (plan, text) = planned(sql).map_err(|error| format!("{error}: {sql}"))?;
    let decided = route::resolve(&plan, &params, None, cluster()).map_err(|it| it.message);
    check(&statement, &decided).map_err(|reason| format!("{reason}: {statement:?}"))?;
    if statement.params.is_empty() {
        by_form(&statement, &text).map_err(|reason| format!("by form: {reason}: {text}"))?;
    }
    Ok(())
}

/// The plan of a text, and the text that it is the plan of.
fn planned(sql: &str) -> Result<(Plan, String), String> {
    let plan_of = |sql: &str| {
        let analysis = query::analyze(sql).map_err(|error| error.to_string())?;
        let [statement] = analysis.statements.as_slice() else {
            return Err("not one statement".to_owned());
        };
        Ok(route::plan(statement, cluster(), &["public"]))
    };
    let plan = plan_of(sql)?;
    let plans = [plan];
    let inserts: Vec<_> = route::unnamed_inserts(&plans).collect();
    let known: Vec<_> = inserts.iter().map(|it| (*it, columns_of(it))).collect();
    let known: Vec<_> = known.iter().map(|(it, names)| (*it, &**names)).collect();
    if known.is_empty() {
        let [plan] = plans;
        return Ok((plan, sql.to_owned()));
    }
    let named = route::name_columns(sql, &known).ok_or("no names")?;
    Ok((plan_of(&named)?, named))
}

/// The only shard of some keys.
fn owner(kind: KeyKind, reach: &Reach) -> Owner {
    let Reach::Keys(keys) = reach else {
        return Owner::Several;
    };
    let mut only = Owner::Nobody;
    for text in keys {
        let key_type = match kind {
            KeyKind::Bigint => KeyType::Bigint,
            KeyKind::Text => KeyType::Text,
        };
        let key = Key::from_text(key_type, text.as_bytes());
        let index = key.ok().and_then(|key| cluster().owner_of(&key));
        let Some(index) = index.map(|vnode| vnode.owner) else {
            return Owner::Several;
        };
        match only {
            Owner::One(other) if other != index => return Owner::Several,
            Owner::One(_) | Owner::Nobody | Owner::Several => only = Owner::One(index),
        }
    }
    only
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Nobody,
    One(ShardIndex),
    Several,
}

fn check(statement: &Statement, decided: &Result<Target, String>) -> Outcome {
    let owner = owner(statement.kind, &statement.reach);
    match (decided, owner) {
        (Ok(Target::Shard { index, .. }), Owner::One(right)) => {
            ensure!(*index == right, "shard {index:?} instead of {right:?}");
        }
        (Ok(Target::Shard { .. } | Target::Any), Owner::Nobody) => {}
        (Ok(target), Owner::One(_) | Owner::Several | Owner::Nobody) => {
            return Err(format!("{target:?}, and the rows are with {owner:?}"));
        }
        (Err(reason), Owner::One(_)) => ensure!(!statement.plain, "refused: {reason}"),
        (Err(_), Owner::Nobody | Owner::Several) => {}
    }
    Ok(())
}

/// What a text's form says is true of the text, too. It may see less of it or more: in the form of
/// `IN (-1, 2)` stands an expression.
fn by_form(statement: &Statement, sql: &str) -> Outcome {
    let mut form = Form::default();
    if !form.read(sql) {
        return Ok(());
    }
    let Ok(analysis) = query::analyze(&form.text) else {
        return Ok(());
    };
    let [analysed] = analysis.statements.as_slice() else {
        return Ok(());
    };
    let plan = route::plan(analysed, cluster(), &["public"]);
    if !route::holds_for_texts(analysed, &plan) {
        return Ok(());
    }
    let constants = Constants::new(sql, &form);
    match route::resolve(&plan, &constants, None, cluster()) {
        Ok(target) => check(statement, &Ok(target)),
        // The text is looked at as it is.
        Err(_) => Ok(()),
    }
}
