//! Statements about a session: its settings, prepared statements, cursors, channels and locks, and
//! the upkeep of a database.

use pg_query::NodeEnum;
use pg_query::protobuf::a_const::Val;
use pg_query::protobuf::{
    DefElem, DiscardMode, FetchStmt, LockStmt, Node, VariableSetKind, VariableSetStmt,
};

use super::{Class, CursorUse, Setting, names};

/// The class of a statement about a session; none when it is about something else.
pub(super) fn session(node: &NodeEnum) -> Option<Class> {
    Some(match node {
        NodeEnum::VariableSetStmt(it) => set(it),
        NodeEnum::ConstraintsSetStmt(_) => Class::SetConstraints,
        NodeEnum::VariableShowStmt(it) => Class::Show(it.name.to_lowercase()),
        NodeEnum::DeallocateStmt(it) => {
            Class::Deallocate((!it.isall && !it.name.is_empty()).then(|| it.name.clone()))
        }
        NodeEnum::DiscardStmt(it) => match it.target() {
            DiscardMode::DiscardAll => Class::DiscardAll,
            DiscardMode::DiscardPlans => Class::DiscardOther("DISCARD PLANS"),
            DiscardMode::DiscardSequences => Class::DiscardOther("DISCARD SEQUENCES"),
            DiscardMode::DiscardTemp => Class::DiscardOther("DISCARD TEMP"),
            DiscardMode::Undefined => Class::Other("DISCARD"),
        },
        NodeEnum::ListenStmt(it) => Class::Listen(it.conditionname.clone()),
        NodeEnum::UnlistenStmt(it) => {
            Class::Unlisten((!it.conditionname.is_empty()).then(|| it.conditionname.clone()))
        }
        NodeEnum::NotifyStmt(it) => Class::Notify(it.conditionname.clone()),
        NodeEnum::FetchStmt(it) => Class::Cursor(CursorUse {
            word: fetch_word(it),
            cursor: Some(it.portalname.clone()),
        }),
        NodeEnum::ClosePortalStmt(it) => Class::Cursor(CursorUse {
            word: "CLOSE",
            cursor: (!it.portalname.is_empty()).then(|| it.portalname.clone()),
        }),
        NodeEnum::LockStmt(it) => lock(it),
        NodeEnum::CheckPointStmt(_) => Class::Maintenance("CHECKPOINT"),
        _ => return None,
    })
}

fn fetch_word(fetch: &FetchStmt) -> &'static str {
    if fetch.ismove { "MOVE" } else { "FETCH" }
}

fn lock(lock: &LockStmt) -> Class {
    let tables = lock.relations.iter().filter_map(|node| match &node.node {
        Some(NodeEnum::RangeVar(range)) => Some(names::table(range)),
        _ => None,
    });
    Class::LockTable(tables.collect())
}

fn set(set: &VariableSetStmt) -> Class {
    let values = match set.kind() {
        VariableSetKind::VarReset => return Class::Reset(Some(set.name.to_lowercase())),
        VariableSetKind::VarResetAll => return Class::Reset(None),
        VariableSetKind::VarSetMulti => return set_transaction(set),
        VariableSetKind::VarSetDefault => None,
        VariableSetKind::VarSetCurrent => Some(Vec::new()),
        VariableSetKind::VarSetValue => match set.args.iter().map(value).collect() {
            Some(values) => Some(values),
            None => return Class::Other("SET"),
        },
        VariableSetKind::Undefined => return Class::Other("SET"),
    };
    Class::Set(Setting {
        name: set.name.to_lowercase(),
        local: set.is_local,
        values,
        parameter: None,
    })
}

/// SET TRANSACTION and SET SESSION CHARACTERISTICS: the values of the latter are each setting's
/// name and value in turn.
fn set_transaction(set: &VariableSetStmt) -> Class {
    let name = set.name.to_lowercase();
    if name != "session characteristics" {
        return Class::Set(Setting {
            name: "transaction".to_owned(),
            local: true,
            values: Some(Vec::new()),
            parameter: None,
        });
    }
    let mut values = Vec::new();
    for node in &set.args {
        let Some(NodeEnum::DefElem(option)) = &node.node else {
            return Class::Other("SET");
        };
        let Some(text) = option.arg.as_deref().and_then(value) else {
            return Class::Other("SET");
        };
        values.push(option.defname.clone());
        values.push(text);
    }
    Class::Set(Setting {
        name,
        local: false,
        values: Some(values),
        parameter: None,
    })
}

/// A setting's value as the text that sets it; none when it is not understood.
fn value(node: &Node) -> Option<String> {
    match &node.node {
        Some(NodeEnum::AConst(constant)) => Some(match constant.val.as_ref()? {
            Val::Sval(string) => string.sval.clone(),
            Val::Ival(integer) => integer.ival.to_string(),
            Val::Fval(float) => float.fval.clone(),
            Val::Boolval(boolean) => if boolean.boolval { "on" } else { "off" }.to_owned(),
            Val::Bsval(_) => return None,
        }),
        // Only SET TIME ZONE has one; the setting takes it in this very form, and a bare offset
        // would have the opposite sign.
        Some(NodeEnum::TypeCast(cast)) => {
            let text = value(cast.arg.as_deref()?)?;
            let type_name = cast.type_name.as_ref()?;
            matches!(
                names::parts(&type_name.names)?.as_slice(),
                ["pg_catalog", "interval"]
            )
            .then(|| format!("INTERVAL '{}'", text.replace('\'', "''")))
        }
        _ => None,
    }
}

/// Whether an option is switched on, as PostgreSQL reads booleans of options.
pub(super) fn is_on(option: &DefElem) -> bool {
    let Some(arg) = option.arg.as_deref() else {
        return true;
    };
    let text = match &arg.node {
        Some(NodeEnum::String(string)) => string.sval.clone(),
        Some(NodeEnum::Integer(integer)) => integer.ival.to_string(),
        Some(NodeEnum::Boolean(boolean)) => boolean.boolval.to_string(),
        _ => match value(arg) {
            Some(text) => text,
            None => return true,
        },
    };
    !matches!(text.to_lowercase().as_str(), "0" | "off" | "false")
}
