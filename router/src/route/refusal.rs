//! The wording of refusals. What is refused is decided elsewhere.

use topology::key::InvalidKey;
use topology::{KeyType, ShardIndex, Snapshot, TableName};

use super::tables::shown;
use super::{KeyColumn, Refusal};
use crate::query::TableRef;

/// `feature_not_supported`.
const UNSUPPORTED: &str = "0A000";

/// Why a sharded table is not copied out by one shard.
const SHARDED_COPY: &str = ": its rows are on several shards";

impl Refusal {
    /// Something that the router does not do.
    pub(crate) fn unsupported(message: impl Into<String>) -> Self {
        Self {
            sqlstate: UNSUPPORTED,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds what to do instead.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A shard that is named and not there.
    pub(crate) fn no_such_shard(name: &str) -> Self {
        Self {
            sqlstate: "22023",
            message: format!("shard \"{name}\" does not exist"),
            hint: None,
        }
    }

    /// A kind of statement that the router does not run.
    pub(super) fn statement(word: &str) -> Self {
        Self::unsupported(format!("{word} is not supported by the router"))
    }

    /// A literal of the statement that is not a key; the text may hold it, as PostgreSQL's does.
    pub(super) fn literal(error: &InvalidKey) -> Self {
        Self {
            sqlstate: sqlstate_of(error),
            message: error.to_string(),
            hint: None,
        }
    }

    /// A parameter that is not a key. Its value stays out of the text.
    pub(super) fn parameter(number: u16, error: &InvalidKey) -> Self {
        let index = ordinal(number);
        let message = match error {
            InvalidKey::UnknownType { .. } => {
                format!("the type of parameter ${index} is not known")
            }
            InvalidKey::Syntax { key_type, .. } => {
                format!("invalid input syntax for type {key_type} in parameter ${index}")
            }
            InvalidKey::OutOfRange { .. } => {
                format!("parameter ${index} is out of range for type bigint")
            }
            InvalidKey::TooLong { .. } | InvalidKey::NotUtf8 => {
                format!("{error} in parameter ${index}")
            }
            InvalidKey::BinaryLength { key_type, .. } => {
                format!("incorrect binary data format for type {key_type} in parameter ${index}")
            }
        };
        Self {
            sqlstate: sqlstate_of(error),
            message,
            hint: None,
        }
    }

    /// A parameter that the client did not send.
    pub(super) fn no_parameter(number: u16) -> Self {
        let message = format!("there is no parameter ${}", ordinal(number));
        Self {
            sqlstate: "42P02",
            message,
            hint: None,
        }
    }

    /// A parameter of a type whose values are not compared or stored as they are.
    pub(super) fn parameter_type(number: u16, oid: u32, wanted: KeyType) -> Self {
        let index = ordinal(number);
        let message = format!(
            "parameter ${index} of type oid {oid} can't be read as a shard key of type {wanted}"
        );
        Self::unsupported(message).hint(format!(
            "declare the parameter as {wanted}, or leave its type open"
        ))
    }

    /// An array parameter whose bytes are no array.
    pub(super) fn malformed_array(number: u16) -> Self {
        let message = format!("malformed array in parameter ${}", ordinal(number));
        Self {
            sqlstate: "22P02",
            message,
            hint: None,
        }
    }

    /// An array with bounds or more than one dimension.
    pub(super) fn array_shape() -> Self {
        Self::unsupported(
            "an array of shard keys with bounds or several dimensions is not supported",
        )
        .hint("give the keys as an array of one dimension")
    }

    /// NULL as the shard key of a new row.
    pub(super) fn null_key(column: &KeyColumn) -> Self {
        let KeyColumn { table, column } = column;
        let message = format!(
            "null value in column \"{column}\" of table \"{table}\" is not allowed: it is the shard key"
        );
        Self {
            sqlstate: "23502",
            message,
            hint: None,
        }
    }

    /// A write to one copy of rows that every shard has.
    pub(super) fn reference_write(table: &TableName) -> Self {
        Self::unsupported(format!(
            "writes to reference table \"{}\" are not supported",
            shown(table)
        ))
    }

    /// A write to a table of PostgreSQL's own.
    pub(super) fn system_write(table: &TableRef) -> Self {
        Self::unsupported(format!(
            "writes to system table \"{}\" are not supported",
            table.name
        ))
    }

    /// Keys of one statement that lie on several shards.
    pub(super) fn several_shards() -> Self {
        Self::unsupported("statement needs rows of more than one shard")
            .hint("send one statement for each shard key")
    }

    /// COPY TO of a table whose rows are on several shards.
    pub(super) fn sharded_copy(table: &KeyColumn) -> Self {
        let KeyColumn { table, column } = table;
        Self::unsupported(format!(
            "COPY of sharded table \"{table}\" is not supported{SHARDED_COPY}"
        ))
        .hint(format!(
            "use COPY (SELECT ... WHERE {column} = <value>) TO STDOUT"
        ))
    }

    /// Whether it is [`Self::sharded_copy`].
    #[must_use]
    pub fn is_of_a_sharded_copy(&self) -> bool {
        self.sqlstate == UNSUPPORTED && self.message.ends_with(SHARDED_COPY)
    }

    /// Keys of one statement that lie on several shards.
    #[must_use]
    pub fn of_several_shards() -> Self {
        Self::several_shards()
    }

    /// Whether it is that the keys lie on several shards.
    #[must_use]
    pub fn is_of_several_shards(&self) -> bool {
        *self == Self::several_shards()
    }

    /// A hint beside another key.
    pub(super) fn hint_differs() -> Self {
        Self::unsupported("hint names another shard key than the statement")
            .hint("leave the hint out, or give it the statement's key")
    }

    /// A hint of another type than the key.
    pub(super) fn hint_type(found: KeyType, wanted: KeyType) -> Self {
        Self::unsupported(format!(
            "hint is a key of type {found}, the shard key is of type {wanted}"
        ))
    }

    /// A shard hint beside something that another shard has.
    pub(super) fn shard_differs(hinted: ShardIndex, found: ShardIndex, at: &Snapshot) -> Self {
        let id = |index| at.shard(index).map_or("none", |shard| shard.id.as_str());
        Self::unsupported(format!(
            "hint names shard {}, and the statement is for shard {}",
            id(hinted),
            id(found)
        ))
        .hint("leave the hint out, or give it the statement's shard")
    }

    /// A write under a shard hint, of rows whose keys are not shown.
    pub(super) fn write_without_key() -> Self {
        Self::unsupported(
            "a statement that writes or locks rows under a shard hint must show its shard key",
        )
        .hint("add the shard key to the statement, or hint at it with /* shard_key = <value> */")
    }

    /// A schema change under a shard hint.
    pub(super) fn change_under_shard_hint() -> Self {
        Self::unsupported("a schema change goes to every shard and takes no shard hint")
            .hint("leave the hint out, or RESET sharding.shard")
    }

    /// A hint whose key is none.
    pub(super) fn hint_key(named: &str, error: &InvalidKey) -> Self {
        Self {
            sqlstate: sqlstate_of(error),
            message: format!("{named}: {error}"),
            hint: None,
        }
    }

    /// A hint at a shard that there is not.
    pub(super) fn hint_shard(named: &str, id: &str) -> Self {
        let id: String = id.chars().take(64).collect();
        Self {
            sqlstate: "22023",
            message: format!("{named}: shard \"{id}\" does not exist"),
            hint: Some("\"shardctl shards list\" names the shards".to_owned()),
        }
    }

    /// Nowhere to go.
    pub(super) fn no_shard() -> Self {
        Self {
            sqlstate: "57P03",
            message: "no shard is registered".to_owned(),
            hint: Some(
                "register a shard with POST /api/v1/shards or \"shardctl shards add\"".to_owned(),
            ),
        }
    }
}

/// Parameters are counted from 1 in SQL.
fn ordinal(number: u16) -> u32 {
    u32::from(number) + 1
}

fn sqlstate_of(error: &InvalidKey) -> &'static str {
    match error {
        InvalidKey::UnknownType { .. } => "42704",
        InvalidKey::Syntax { .. } => "22P02",
        InvalidKey::OutOfRange { .. } => "22003",
        InvalidKey::TooLong { .. } => "54000",
        InvalidKey::NotUtf8 => "22021",
        InvalidKey::BinaryLength { .. } => "22P03",
    }
}
