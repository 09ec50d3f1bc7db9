//! `SELECT sharding.shard_table('t', 'column')` and the like: calls of functions that no shard has
//! and the router answers itself. Only where the call is all that the statement is for.

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{FuncCall, Node, SelectStmt};

use super::names;

/// The schema of these functions.
const SCHEMA: &str = "sharding";

/// Most ids that are asked for at once.
pub const MAX_IDS: u32 = 10_000;

/// Where the rows of a table are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placing {
    /// Each on the shard of its key.
    Sharded {
        /// The key column, as PostgreSQL stores its name.
        column: String,
        /// The table group; none is one that fits the column's type.
        group: Option<String>,
    },
    /// All on every shard.
    Reference,
    /// All on one shard.
    Unsharded {
        /// Its id; none leaves it to the router.
        shard: Option<String>,
    },
}

/// What becomes of a new table whose CREATE TABLE does not say what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NewTables {
    /// It is on every shard, and is neither read nor written before somebody registers it.
    #[default]
    Unregistered,
    /// It is an unsharded table.
    Unsharded,
}

impl NewTables {
    /// The words of settings.
    pub const WORDS: [(&'static str, Self); 2] = [
        ("unregistered", Self::Unregistered),
        ("unsharded", Self::Unsharded),
    ];

    /// What a word means.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        let found = Self::WORDS.iter().find(|(known, _)| *known == word);
        found.map(|(_, value)| *value)
    }

    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unregistered => "unregistered",
            Self::Unsharded => "unsharded",
        }
    }
}

/// A table that is to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its name, as `to_regclass` reads it.
    pub table: String,
    /// Where its rows are to be.
    pub placing: Placing,
}

/// A call that the router answers itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ShardingCall {
    /// Registers a table that exists.
    Register {
        /// The function's name.
        function: &'static str,
        /// What it asks for.
        registration: Registration,
    },
    /// Registers a view that exists, as it is now.
    View(String),
    /// Forgets a table that was dropped.
    Forget(String),
    /// One new id.
    NextId,
    /// So many new ids, a row each.
    NextIds(u32),
    /// A call that is not one of these; what is wrong with it.
    Wrong(&'static str),
}

impl ShardingCall {
    /// The name of the function, which the answer's column is called by.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Register { function, .. } => function,
            Self::View(_) => "view",
            Self::Forget(_) => "forget_table",
            Self::NextId => "next_id",
            Self::NextIds(_) => "next_ids",
            Self::Wrong(_) => SCHEMA,
        }
    }
}

/// The call that a SELECT is made of; none for other statements.
pub(super) fn of(node: &NodeEnum) -> Option<ShardingCall> {
    let NodeEnum::SelectStmt(select) = node else {
        return None;
    };
    let call = only_call(select)?;
    let parts = names::parts(&call.funcname)?;
    let [SCHEMA, name] = parts.as_slice() else {
        return None;
    };
    let plain = FuncCall {
        funcname: call.funcname.clone(),
        args: call.args.clone(),
        funcformat: call.funcformat,
        location: call.location,
        ..FuncCall::default()
    };
    if plain != *call {
        return Some(ShardingCall::Wrong(
            "functions of schema sharding take values alone",
        ));
    }
    let arguments: Option<Vec<Argument<'_>>> = call.args.iter().map(argument).collect();
    let Some(arguments) = arguments else {
        return Some(ShardingCall::Wrong(
            "functions of schema sharding take constants, not parameters or expressions",
        ));
    };
    Some(called(name, &arguments))
}

fn called(name: &str, arguments: &[Argument<'_>]) -> ShardingCall {
    use Argument::{Number, Text};
    let register = |function, table: &str, placing| ShardingCall::Register {
        function,
        registration: Registration {
            table: table.to_owned(),
            placing,
        },
    };
    let sharded = |column: &str, group: Option<&str>| Placing::Sharded {
        column: column.to_owned(),
        group: group.map(str::to_owned),
    };
    let unsharded = |shard: Option<&str>| Placing::Unsharded {
        shard: shard.map(str::to_owned),
    };
    match (name, arguments) {
        ("next_id", []) => ShardingCall::NextId,
        ("next_ids", [Number(count)]) => match u32::try_from(*count) {
            Ok(count) if (1..=MAX_IDS).contains(&count) => ShardingCall::NextIds(count),
            Ok(_) | Err(_) => ShardingCall::Wrong("next_ids gives 1 to 10000 ids"),
        },
        ("shard_table", [Text(table), Text(column)]) => {
            register("shard_table", table, sharded(column, None))
        }
        ("shard_table", [Text(table), Text(column), Text(group)]) => {
            register("shard_table", table, sharded(column, Some(group)))
        }
        ("reference_table", [Text(table)]) => {
            register("reference_table", table, Placing::Reference)
        }
        ("unsharded_table", [Text(table)]) => register("unsharded_table", table, unsharded(None)),
        ("unsharded_table", [Text(table), Text(shard)]) => {
            register("unsharded_table", table, unsharded(Some(shard)))
        }
        ("view", [Text(view)]) => ShardingCall::View((*view).to_owned()),
        ("forget_table", [Text(table)]) => ShardingCall::Forget((*table).to_owned()),
        _ => ShardingCall::Wrong(
            "schema sharding has next_id(), next_ids(count), shard_table(table, column), \
             reference_table(table), unsharded_table(table, shard), view(view) and \
             forget_table(table)",
        ),
    }
}

enum Argument<'a> {
    Text(&'a str),
    Number(i32),
}

fn argument(node: &Node) -> Option<Argument<'_>> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => match constant.val.as_ref()? {
            Val::Sval(text) => Some(Argument::Text(&text.sval)),
            Val::Ival(number) => Some(Argument::Number(number.ival)),
            _ => None,
        },
        Some(NodeEnum::TypeCast(cast)) => argument(cast.arg.as_deref()?),
        _ => None,
    }
}

/// The only call of a SELECT that has nothing else; also of `SELECT * FROM f()`.
fn only_call(select: &SelectStmt) -> Option<&FuncCall> {
    let plain = SelectStmt {
        target_list: select.target_list.clone(),
        from_clause: select.from_clause.clone(),
        limit_option: select.limit_option,
        op: select.op,
        ..SelectStmt::default()
    };
    let [
        Node {
            node: Some(NodeEnum::ResTarget(target)),
        },
    ] = select.target_list.as_slice()
    else {
        return None;
    };
    if plain != *select {
        return None;
    }
    match (&target.val.as_deref()?.node, select.from_clause.as_slice()) {
        (Some(NodeEnum::FuncCall(call)), []) => Some(call),
        (Some(NodeEnum::ColumnRef(_)), [from]) if names::is_star(target.val.as_deref()?) => {
            only_function(from)
        }
        _ => None,
    }
}

fn only_function(from: &Node) -> Option<&FuncCall> {
    let Some(NodeEnum::RangeFunction(function)) = &from.node else {
        return None;
    };
    if function.lateral || function.ordinality || function.is_rowsfrom {
        return None;
    }
    let [
        Node {
            node: Some(NodeEnum::List(list)),
        },
    ] = function.functions.as_slice()
    else {
        return None;
    };
    match &list.items.first()?.node {
        Some(NodeEnum::FuncCall(call)) => Some(call),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::{Class, analyze};

    fn call(sql: &str) -> Option<ShardingCall> {
        match analyze(sql).unwrap().statements.swap_remove(0).class {
            Class::Sharding(call) => Some(call),
            _ => None,
        }
    }

    #[test]
    fn a_call_that_is_the_whole_statement_is_the_routers() {
        let sharded = |group: Option<&str>| ShardingCall::Register {
            function: "shard_table",
            registration: Registration {
                table: "s.t".to_owned(),
                placing: Placing::Sharded {
                    column: "k".to_owned(),
                    group: group.map(str::to_owned),
                },
            },
        };
        assert_eq!(
            call("select sharding.shard_table('s.t', 'k')"),
            Some(sharded(None))
        );
        assert_eq!(
            call("SELECT Sharding.Shard_Table('s.t'::regclass, 'k'::name, 'g')"),
            Some(sharded(Some("g")))
        );
        assert_eq!(
            call("select sharding.next_id()"),
            Some(ShardingCall::NextId)
        );
        assert_eq!(
            call("select sharding.next_id() as id"),
            Some(ShardingCall::NextId)
        );
        assert_eq!(
            call("select * from sharding.next_ids(5)"),
            Some(ShardingCall::NextIds(5))
        );
        assert_eq!(
            call("select sharding.forget_table('t')"),
            Some(ShardingCall::Forget("t".to_owned()))
        );
    }

    #[test]
    fn a_call_that_is_wrong_is_said_to_be() {
        for sql in [
            "select sharding.next_ids(0)",
            "select sharding.next_ids(10001)",
            "select sharding.next_ids($1)",
            "select sharding.shard_table('t')",
            "select sharding.reference_table(distinct 't')",
            "select sharding.other()",
        ] {
            assert!(matches!(call(sql), Some(ShardingCall::Wrong(_))), "{sql}");
        }
    }

    #[test]
    fn a_call_beside_something_else_is_not_the_routers() {
        for sql in [
            "select sharding.next_id(), 1",
            "select sharding.next_id() from t",
            "select sharding.next_id() where false",
            "select next_id()",
            "select other.next_id()",
            "insert into t values (sharding.next_id())",
        ] {
            assert_eq!(call(sql), None, "{sql}");
        }
    }
}
