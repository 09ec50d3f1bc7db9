//! Bodies of `/reshard`, as a client writes them: the fields of an operation, and beside them those
//! that every operation has.

use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use serde::de::{DeserializeOwned, Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::super::shards::NewShard;
use crate::error::Error;
use crate::reshard::plan::Kind;

/// The fields that every operation has.
#[derive(Debug, Default, Deserialize, Serialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Options {
    dry_run: bool,
    plan_id: String,
    max_pause_ms: Option<u32>,
    keep_reverse_seconds: Option<u64>,
    max_rows_per_second: Option<u64>,
    max_bytes_per_second: Option<u64>,
}

impl Options {
    const NAMES: [&str; 6] = [
        "dry_run",
        "plan_id",
        "max_pause_ms",
        "keep_reverse_seconds",
        "max_rows_per_second",
        "max_bytes_per_second",
    ];

    /// The gRPC form writes 0 for an absent number; here a 0 is a number, and a wrong one.
    fn message(self) -> Result<v1::ReshardOptions, &'static str> {
        let given = [
            ("max_pause_ms", self.max_pause_ms.map(u64::from)),
            ("max_rows_per_second", self.max_rows_per_second),
            ("max_bytes_per_second", self.max_bytes_per_second),
        ];
        if let Some((field, _)) = given.into_iter().find(|(_, number)| *number == Some(0)) {
            return Err(field);
        }
        Ok(v1::ReshardOptions {
            dry_run: self.dry_run,
            plan_id: self.plan_id,
            max_pause_ms: self.max_pause_ms.unwrap_or(0),
            keep_reverse_seconds: self.keep_reverse_seconds,
            max_rows_per_second: self.max_rows_per_second.unwrap_or(0),
            max_bytes_per_second: self.max_bytes_per_second.unwrap_or(0),
        })
    }
}

/// A body: what is to be done, and how.
#[derive(Debug)]
pub(crate) struct Body<F> {
    /// None when the body holds no field but those of every operation, and the id of a plan.
    pub(super) operation: Option<F>,
    pub(super) options: v1::ReshardOptions,
}

impl<'de, F: DeserializeOwned> Deserialize<'de> for Body<F> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = Map::deserialize(deserializer)?;
        split(fields).map_err(D::Error::custom)
    }
}

fn split<F: DeserializeOwned>(fields: Map<String, Value>) -> Result<Body<F>, String> {
    let is_option = |name: &String| Options::NAMES.contains(&name.as_str());
    let (options, fields): (Map<_, _>, Map<_, _>) =
        fields.into_iter().partition(|(name, _)| is_option(name));
    let options: Options = read(options)?;
    let names_a_plan = !options.plan_id.is_empty();
    let operation = if fields.is_empty() && names_a_plan {
        None
    } else {
        Some(read(fields)?)
    };
    let options = options.message();
    let options = options.map_err(|field| format!("{field}: must be at least 1"))?;
    Ok(Body { operation, options })
}

fn read<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, String> {
    serde_json::from_value(Value::Object(fields)).map_err(|error| error.to_string())
}

/// The fields of one kind of operation.
pub(crate) trait Fields: Sized {
    /// The kind.
    const KIND: Kind;

    /// The operation.
    ///
    /// # Errors
    /// For a field that the gRPC form cannot say.
    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error>;
}

/// No fields at all.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Nothing {}

/// `/reshard/split`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Split {
    source_shard_id: String,
    target_shards: Vec<Target>,
}

impl Fields for Split {
    const KIND: Kind = Kind::Split;

    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error> {
        let targets = self.target_shards.into_iter().map(Target::message);
        Ok(Operation::Split(v1::SplitRequest {
            source_shard_id: self.source_shard_id,
            target_shards: targets.collect::<Result<_, _>>()?,
            options: Some(options),
        }))
    }
}

/// `/reshard/merge`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Merge {
    source_shard_ids: Vec<String>,
    target_shard: Target,
}

impl Fields for Merge {
    const KIND: Kind = Kind::Merge;

    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error> {
        Ok(Operation::Merge(v1::MergeRequest {
            source_shard_ids: self.source_shard_ids,
            target_shard: Some(self.target_shard.message()?),
            options: Some(options),
        }))
    }
}

/// `/reshard/move`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Move {
    from: String,
    to: Target,
    #[serde(default)]
    vnodes: Vec<u32>,
    count: Option<u32>,
}

impl Fields for Move {
    const KIND: Kind = Kind::Move;

    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error> {
        if self.count == Some(0) {
            return Err(Error::invalid("count", "must be at least 1"));
        }
        Ok(Operation::Move(v1::MoveRequest {
            from: self.from,
            to: Some(self.to.message()?),
            vnodes: self.vnodes,
            count: self.count.unwrap_or(0),
            options: Some(options),
        }))
    }
}

/// `/reshard/add-shard`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AddShard {
    shard: Target,
}

impl Fields for AddShard {
    const KIND: Kind = Kind::AddShard;

    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error> {
        Ok(Operation::AddShard(v1::AddShardRequest {
            shard: Some(self.shard.message()?),
            options: Some(options),
        }))
    }
}

/// `/reshard/drain`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drain {
    shard_id: String,
}

impl Fields for Drain {
    const KIND: Kind = Kind::Drain;

    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error> {
        Ok(Operation::Drain(v1::DrainRequest {
            shard_id: self.shard_id,
            options: Some(options),
        }))
    }
}

/// `/reshard/rebalance`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rebalance {
    by: String,
}

impl Fields for Rebalance {
    const KIND: Kind = Kind::Rebalance;

    fn operation(self, options: v1::ReshardOptions) -> Result<Operation, Error> {
        Ok(Operation::Rebalance(v1::RebalanceRequest {
            by: self.by,
            options: Some(options),
        }))
    }
}

/// A shard that vnodes go to: its id, `{"id"}`, or a new shard with its name and endpoint.
#[derive(Debug)]
pub(crate) enum Target {
    Id(String),
    New(Box<NewShard>),
}

impl PartialSchema for Target {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new().schema_type(Type::String);
        let new = Ref::from_schema_name(NewShard::name());
        OneOfBuilder::new().item(id).item(new).into()
    }
}

impl ToSchema for Target {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NewShard::name().into_owned(), NewShard::schema()));
    }
}

impl<'de> Deserialize<'de> for Target {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Id {
            id: String,
        }
        match Value::deserialize(deserializer)? {
            Value::String(id) => Ok(Self::Id(id)),
            Value::Object(fields) if fields.contains_key("id") => {
                let Id { id } = read(fields).map_err(D::Error::custom)?;
                Ok(Self::Id(id))
            }
            Value::Object(fields) => {
                let new = read(fields).map_err(D::Error::custom)?;
                Ok(Self::New(Box::new(new)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                let text = "a shard is its id, {\"id\"}, or {\"name\", \"primary_endpoint\"}";
                Err(D::Error::custom(text))
            }
        }
    }
}

impl Target {
    fn message(self) -> Result<v1::ReshardTarget, Error> {
        let shard = match self {
            Self::Id(id) => v1::reshard_target::Shard::Id(id),
            Self::New(new) => v1::reshard_target::Shard::NewShard(new.message(String::new())?),
        };
        Ok(v1::ReshardTarget { shard: Some(shard) })
    }
}

/// `/reshard/plan`: any operation, with its kind in `type`.
#[derive(Debug)]
pub(crate) struct PlanBody(pub(super) Result<Operation, Error>);

impl<'de> Deserialize<'de> for PlanBody {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = Map::deserialize(deserializer)?;
        let kind = fields.remove("type");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        let kind = kind.replace('-', "_");
        let found = Kind::ALL.into_iter().find(|each| each.as_str() == kind);
        let Some(kind) = found else {
            let all = Kind::ALL.map(Kind::as_str).join(", ");
            return Err(D::Error::custom(format!("type: must be one of {all}")));
        };
        let operation = match kind {
            Kind::Split => operation::<Split>(fields),
            Kind::Merge => operation::<Merge>(fields),
            Kind::Move => operation::<Move>(fields),
            Kind::AddShard => operation::<AddShard>(fields),
            Kind::Drain => operation::<Drain>(fields),
            Kind::Rebalance => operation::<Rebalance>(fields),
        };
        operation.map(Self).map_err(D::Error::custom)
    }
}

fn operation<F: Fields + DeserializeOwned>(
    fields: Map<String, Value>,
) -> Result<Result<Operation, Error>, String> {
    let Body { operation, options } = split::<F>(fields)?;
    let fields = operation.ok_or("plan_id: is not for making a plan")?;
    Ok(fields.operation(options))
}
