//! `SELECT set_config(..)`: how some drivers and frameworks write SET. Only where the call is all
//! that the statement is for, so that it is known to be run, and once.

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{FuncCall, Node, SelectStmt};

use super::{Setting, names};

/// The setting that a SELECT of one set_config, and of nothing else but settings that are read,
/// sets. None for other statements, and where the name is not plain to see.
pub(super) fn of(node: &NodeEnum) -> Option<Setting> {
    let NodeEnum::SelectStmt(select) = node else {
        return None;
    };
    let mut found = None;
    for call in calls(select)? {
        match name_of(call)? {
            "current_setting" => {}
            "set_config" if found.is_none() => found = Some(setting(call)?),
            _ => return None,
        }
    }
    found
}

/// What a SELECT without tables and clauses calls; none when it does anything else.
fn calls(select: &SelectStmt) -> Option<Vec<&FuncCall>> {
    if !select.from_clause.is_empty() || select.target_list.is_empty() {
        return None;
    }
    let plain = SelectStmt {
        target_list: select.target_list.clone(),
        limit_option: select.limit_option,
        op: select.op,
        ..SelectStmt::default()
    };
    if plain != *select {
        return None;
    }
    select.target_list.iter().map(called).collect()
}

fn called(node: &Node) -> Option<&FuncCall> {
    let Some(NodeEnum::ResTarget(target)) = &node.node else {
        return None;
    };
    match &target.val.as_deref()?.node {
        Some(NodeEnum::FuncCall(call)) => Some(call),
        _ => None,
    }
}

/// The name of one of PostgreSQL's own functions that is called with values alone.
fn name_of(call: &FuncCall) -> Option<&str> {
    let is_value = |node: &Node| constant(node).is_some() || parameter(node).is_some();
    if !call.args.iter().all(is_value) {
        return None;
    }
    match names::parts(&call.funcname)?.as_slice() {
        [name] | ["pg_catalog", name] => Some(name),
        _ => None,
    }
}

fn setting(call: &FuncCall) -> Option<Setting> {
    let [name, value, local] = call.args.as_slice() else {
        return None;
    };
    let Some(Val::Sval(name)) = constant(name) else {
        return None;
    };
    // The router's own settings are no shard's, so that there would be no row to answer with.
    let name_of_ours = name.sval.to_lowercase();
    if name_of_ours.starts_with("sharding.") || name_of_ours == "client_encoding" {
        return None;
    }
    let Some(Val::Boolval(local)) = constant(local) else {
        return None;
    };
    let (values, parameter) = match constant(value) {
        Some(Val::Sval(text)) => (Some(vec![text.sval.clone()]), None),
        Some(_) => return None,
        None => (Some(Vec::new()), Some(parameter(value)?)),
    };
    let setting = Setting {
        name: name.sval.to_lowercase(),
        local: local.boolval,
        values: None,
        parameter,
    };
    Some(match values.as_deref() {
        Some([text]) => setting.of_value(text),
        _ => setting,
    })
}

impl Setting {
    /// With a value as set_config takes it: a list is one string.
    #[must_use]
    pub fn of_value(self, value: &str) -> Self {
        let values = if self.name == "search_path" {
            let schema = |name: &str| name.trim().trim_matches('"').to_owned();
            value.split(',').map(schema).collect()
        } else {
            vec![value.to_owned()]
        };
        Self {
            values: Some(values),
            parameter: None,
            ..self
        }
    }
}

fn constant(node: &Node) -> Option<&Val> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => constant.val.as_ref(),
        _ => None,
    }
}

/// The place of a parameter, from 0.
fn parameter(node: &Node) -> Option<u16> {
    match &node.node {
        Some(NodeEnum::ParamRef(param)) => u16::try_from(param.number).ok()?.checked_sub(1),
        Some(NodeEnum::TypeCast(cast)) => {
            let type_name = cast.type_name.as_ref()?;
            match names::parts(&type_name.names)?.as_slice() {
                ["text"] | ["pg_catalog", "text"] => parameter(cast.arg.as_deref()?),
                _ => None,
            }
        }
        _ => None,
    }
}
