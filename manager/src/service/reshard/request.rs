//! Fields of resharding requests, each checked by itself.

use proto::manager::v1;
use proto::manager::v1::plan_request::Operation;
use topology::ShardId;

use super::super::request as fields;
use crate::control::{MAX_SHARDS, NewShard};
use crate::error::Error;
use crate::reshard::plan::PlanId;
use crate::reshard::record::{Options, Throttle};

pub(super) fn options_of(operation: &Operation) -> Option<&v1::ReshardOptions> {
    match operation {
        Operation::Split(request) => request.options.as_ref(),
        Operation::Merge(request) => request.options.as_ref(),
        Operation::Move(request) => request.options.as_ref(),
        Operation::AddShard(request) => request.options.as_ref(),
        Operation::Drain(request) => request.options.as_ref(),
        Operation::Rebalance(request) => request.options.as_ref(),
    }
}

pub(super) fn options(given: Option<&v1::ReshardOptions>) -> Result<Options, Error> {
    let Some(given) = given else {
        return Ok(Options::default());
    };
    let (least, most) = (Options::LEAST_MAX_PAUSE_MS, Options::GREATEST_MAX_PAUSE_MS);
    let max_pause_ms = match given.max_pause_ms {
        0 => Options::DEFAULT_MAX_PAUSE_MS,
        pause if (least..=most).contains(&pause) => pause,
        _ => {
            let rule = format!("must be from {least} to {most}");
            return Err(Error::invalid("max_pause_ms", rule));
        }
    };
    let keep = given.keep_reverse_seconds;
    let keep_reverse_secs = keep.unwrap_or(Options::DEFAULT_KEEP_REVERSE_SECS);
    if keep_reverse_secs > Options::GREATEST_KEEP_REVERSE_SECS {
        let rule = format!("must be at most {}", Options::GREATEST_KEEP_REVERSE_SECS);
        return Err(Error::invalid("keep_reverse_seconds", rule));
    }
    let limit = |limit: u64| (limit > 0).then_some(limit);
    Ok(Options {
        max_pause_ms,
        keep_reverse_secs,
        throttle: Throttle {
            rows_per_second: limit(given.max_rows_per_second),
            bytes_per_second: limit(given.max_bytes_per_second),
        },
    })
}

pub(super) fn plan_id(given: Option<&v1::ReshardOptions>) -> Result<Option<PlanId>, Error> {
    let text = given.map(|options| options.plan_id.as_str());
    let text = text.filter(|text| !text.is_empty());
    text.map(required_plan_id).transpose()
}

pub(super) fn required_plan_id(text: &str) -> Result<PlanId, Error> {
    let rule = "must be the id of a plan: 16 hexadecimal digits";
    PlanId::parse(text).ok_or_else(|| Error::invalid("plan_id", rule))
}

pub(super) fn shard_id(field: &'static str, text: &str) -> Result<ShardId, Error> {
    fields::shard_id(field, text)
}

pub(super) fn shard_ids(field: &'static str, texts: &[String]) -> Result<Vec<ShardId>, Error> {
    if texts.len() > MAX_SHARDS {
        return Err(Error::invalid(
            field,
            format!("must be at most {MAX_SHARDS}"),
        ));
    }
    texts.iter().map(|text| shard_id(field, text)).collect()
}

pub(super) fn new_shard(
    request: &v1::CreateShardRequest,
    default_vnode_count: u32,
) -> Result<NewShard, Error> {
    fields::new_shard(request, default_vnode_count)
}
