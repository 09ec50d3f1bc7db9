//! Functions that do not mean the same on one shard of several as on one server, and why.
//!
//! `functions/builtin.txt` lists the functions that PostgreSQL 15 comes with and that SQL can call.
//! Any other may read tables that the router does not see, so it needs a shard that a key or the
//! home of a table has chosen.

use std::collections::HashMap;
use std::sync::LazyLock;

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{FuncCall, Node};

use super::names;

mod aggregates;
mod groups;

pub use aggregates::is_aggregate;

/// Where a call still gives the answer that PostgreSQL would give.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nowhere: it belongs to one connection, or runs SQL that is not seen.
    Nowhere,
    /// On the home shard of unsharded tables, since there is only one of it.
    Home,
    /// As [`Self::Home`]; where the statement has no tables, on the one shard that is everybody's
    /// for such things.
    HomeOrCommon,
    /// On that one shard.
    Common,
    /// As [`Self::Common`], and the session keeps its connection from then on.
    Session,
    /// Anywhere; but it takes from a connection what the router itself has left with it.
    Strips,
    /// Wherever a key or the home shard decides, but not on just any shard.
    OneShard,
}

/// A call of such a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnsafeCall {
    /// The function's name.
    pub name: &'static str,
    /// Where it may run all the same.
    pub reach: Reach,
    /// Why not elsewhere.
    pub reason: &'static str,
    /// What to do instead.
    pub hint: &'static str,
}

const OF_THE_ROUTER: UnsafeCall = UnsafeCall {
    name: "a function of schema sharding",
    reach: Reach::Nowhere,
    reason: "the router answers it by itself, where the call is all that the statement is",
    hint: "send SELECT sharding.next_id() first, and give the value",
};

const BUILTIN: &str = include_str!("functions/builtin.txt");

/// How messages name a function that PostgreSQL does not come with.
pub const OWN_FUNCTION: &str = "a function that is not PostgreSQL's own";

const FOREIGN: UnsafeCall = UnsafeCall {
    name: OWN_FUNCTION,
    reach: Reach::OneShard,
    reason: "the router can't see which tables it reads",
    hint: "add a condition on a shard key, or a shard key hint",
};

/// What each known function is; none is fine everywhere.
static KNOWN: LazyLock<HashMap<&'static str, Option<UnsafeCall>>> = LazyLock::new(|| {
    let mut known: HashMap<_, _> = BUILTIN
        .lines()
        .map(|name| (name, groups::of_server_state(name)))
        .collect();
    for group in groups::GROUPS {
        for name in group.names {
            known.insert(*name, Some(group.call(name)));
        }
    }
    known
});

/// Whether a call is unsafe, and how.
pub(super) fn classify(call: &FuncCall) -> Option<UnsafeCall> {
    let parts = names::parts(&call.funcname).unwrap_or_default();
    let Some((name, schema)) = parts.split_last() else {
        return Some(FOREIGN);
    };
    match (KNOWN.get(name).copied(), schema) {
        (_, ["sharding"]) => Some(OF_THE_ROUTER),
        (Some(Some(_)), [] | ["pg_catalog"])
            if *name == "set_config" && is_local_custom_setting(&call.args) =>
        {
            None
        }
        (Some(Some(unsafe_call)), _) => Some(unsafe_call),
        (Some(None), [] | ["pg_catalog"]) | (None, ["information_schema"]) => None,
        (Some(None) | None, _) => Some(FOREIGN),
    }
}

/// Whether a call looks for an object, such as a table, by its name or its number.
pub(super) fn looks_up_objects(call: &FuncCall) -> bool {
    let parts = names::parts(&call.funcname).unwrap_or_default();
    parts.last().is_some_and(|name| {
        name.starts_with("to_reg")
            || (name.starts_with("has_") && name.ends_with("_privilege"))
            || name.starts_with("pg_get_")
            || (name.starts_with("pg_") && name.ends_with("_size"))
            || name.ends_with("_description")
    })
}

/// `set_config('name.with.dot', value, true)`: ends with the transaction, and the router follows no
/// setting of that form.
fn is_local_custom_setting(args: &[Node]) -> bool {
    let [name, _, local] = args else {
        return false;
    };
    let is_custom = matches!(constant(name), Some(Val::Sval(name)) if is_of_others(&name.sval));
    is_custom && matches!(constant(local), Some(Val::Boolval(local)) if local.boolval)
}

/// Whether a setting is neither PostgreSQL's nor the router's own, which only SET sets.
fn is_of_others(name: &str) -> bool {
    name.split_once('.')
        .is_some_and(|(prefix, _)| !prefix.eq_ignore_ascii_case("sharding"))
}

fn constant(node: &Node) -> Option<&Val> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => constant.val.as_ref(),
        _ => None,
    }
}
