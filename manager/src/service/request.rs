//! Requests of the API read into commands: every field checked by itself, none against the
//! topology.

use proto::manager::v1;
use topology::{Endpoint, GroupName, KeyType, ShardId, TableName};

use crate::commit;
use crate::control::{
    Command, DEFAULT_GROUP, MAX_REPLICAS, MAX_VNODE_COUNT, NewPlacement, NewShard,
};
use crate::error::Error;
use crate::identifier;

/// Most characters of a shard's name.
const MAX_NAME_CHARS: usize = 128;
/// Longest definition of a view.
const MAX_DEFINITION_BYTES: usize = 64 << 10;
/// Greatest weight of a shard.
const MAX_WEIGHT: u32 = 1_000;

pub(super) fn new_shard(
    request: &v1::CreateShardRequest,
    default_vnode_count: u32,
) -> Result<NewShard, Error> {
    let name = request.name.trim();
    if name.is_empty() {
        return Err(Error::invalid("name", "must not be empty"));
    }
    if name.chars().count() > MAX_NAME_CHARS || name.contains(char::is_control) {
        let rule = format!("must be at most {MAX_NAME_CHARS} characters, none a control character");
        return Err(Error::invalid("name", rule));
    }
    if request.replicas.len() > MAX_REPLICAS {
        let rule = format!("must be at most {MAX_REPLICAS} endpoints");
        return Err(Error::invalid("replicas", rule));
    }
    let replicas = request
        .replicas
        .iter()
        .map(|text| endpoint("replicas", text))
        .collect::<Result<_, _>>()?;
    Ok(NewShard {
        name: name.to_owned(),
        primary_endpoint: endpoint("primary_endpoint", &request.primary_endpoint)?,
        replicas,
        vnode_count: within(
            "vnode_count",
            request.vnode_count,
            default_vnode_count,
            MAX_VNODE_COUNT,
        )?,
        weight: within("weight", request.weight, 1, MAX_WEIGHT)?,
    })
}

pub(super) fn idempotency_key(text: &str) -> Result<Option<commit::Key>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let rule = || {
        let max = commit::Key::MAX_CHARS;
        format!("must be at most {max} visible ASCII characters")
    };
    let key = commit::Key::try_new(text);
    key.map(Some)
        .ok_or_else(|| Error::invalid("idempotency_key", rule()))
}

pub(super) fn shard_id(field: &'static str, text: &str) -> Result<ShardId, Error> {
    ShardId::try_new(text).map_err(|invalid| Error::invalid(field, invalid.to_string()))
}

pub(super) fn new_group(request: &v1::CreateGroupRequest) -> Result<Command, Error> {
    let key_type = key_type(&request.key_type)?;
    Ok(Command::CreateGroup {
        name: group("name", &request.name)?,
        key_type: key_type.ok_or_else(|| Error::invalid("key_type", "must not be empty"))?,
    })
}

/// A group's name; the default one for an empty text.
pub(super) fn group_or_default(text: &str) -> Result<GroupName, Error> {
    let text = if text.is_empty() { DEFAULT_GROUP } else { text };
    group("group", text)
}

pub(super) fn new_table(request: &v1::CreateTableRequest) -> Result<Command, Error> {
    let name = table("name", &request.name)?;
    let only_for = |kind: &str, given: &[(&'static str, &str)]| {
        let given = given.iter().find(|(_, value)| !value.is_empty());
        given.map_or(Ok(()), |(field, _)| {
            Err(Error::invalid(field, format!("is not for a {kind} table")))
        })
    };
    let sharded_only = [
        ("shard_key", request.shard_key.as_str()),
        ("key_type", &request.key_type),
        ("group", &request.group),
    ];
    let home = [("shard_id", request.shard_id.as_str())];
    if request.kind != "view" && !request.definition.is_empty() {
        return Err(Error::invalid("definition", "is for a view"));
    }
    let placement = match request.kind.as_str() {
        "" | "sharded" => {
            only_for("sharded", &home)?;
            NewPlacement::Sharded {
                group: group_or_default(&request.group)?,
                shard_key: identifier::column(&request.shard_key)
                    .map_err(|invalid| Error::invalid("shard_key", invalid.to_string()))?,
                key_type: key_type(&request.key_type)?,
            }
        }
        "reference" => {
            only_for("reference", &sharded_only)?;
            only_for("reference", &home)?;
            NewPlacement::Reference
        }
        "unsharded" => {
            only_for("unsharded", &sharded_only)?;
            let shard_id = shard_id("shard_id", &request.shard_id)?;
            NewPlacement::Unsharded { shard_id }
        }
        "view" => {
            only_for("view", &sharded_only)?;
            only_for("view", &home)?;
            NewPlacement::View {
                definition: definition(&request.definition)?,
            }
        }
        _ => {
            let rule = "must be sharded, reference, unsharded or view";
            return Err(Error::invalid("kind", rule));
        }
    };
    Ok(Command::CreateTable { name, placement })
}

/// The query of a view.
fn definition(text: &str) -> Result<String, Error> {
    match text.len() {
        0 => Err(Error::invalid("definition", "must be the query of a view")),
        1..=MAX_DEFINITION_BYTES => Ok(text.to_owned()),
        _ => {
            let rule = format!("must not be longer than {MAX_DEFINITION_BYTES} bytes");
            Err(Error::invalid("definition", rule))
        }
    }
}

pub(super) fn table(field: &'static str, text: &str) -> Result<TableName, Error> {
    identifier::table(text).map_err(|invalid| Error::invalid(field, invalid.to_string()))
}

fn group(field: &'static str, text: &str) -> Result<GroupName, Error> {
    GroupName::try_new(text).map_err(|invalid| Error::invalid(field, invalid.to_string()))
}

fn key_type(text: &str) -> Result<Option<KeyType>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let found = KeyType::parse(text);
    found
        .map(Some)
        .map_err(|invalid| Error::invalid("key_type", invalid.to_string()))
}

/// The endpoint without user and password; the error does not show the text, which may hold one.
fn endpoint(field: &'static str, text: &str) -> Result<Endpoint, Error> {
    Endpoint::try_new(text).map_err(|invalid| Error::invalid(field, invalid.to_string()))
}

/// A number whose absence the API writes as 0.
fn within(field: &'static str, value: u32, default: u32, max: u32) -> Result<u32, Error> {
    match value {
        0 => Ok(default),
        value if value <= max => Ok(value),
        _ => Err(Error::invalid(field, format!("must be from 1 to {max}"))),
    }
}
