//! `/shards/{id}/promote`, and the servers of a shard.

use axum::body::Bytes;
use axum::extract::State;
use platform::http_error::{Json, Path};
use proto::manager::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::caller::Caller;
use crate::error::Error;
use crate::service::Service;

/// What is asked for, as a client writes it.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Promote {
    to: Option<String>,
    dry_run: bool,
    accept_loss: bool,
    old_primary_is_down: bool,
}

/// What a promotion would do or has done.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Promotion {
    shard_id: String,
    done: bool,
    from: String,
    to: String,
    old_primary_error: Option<String>,
    received_lsn: String,
    behind_bytes: Option<u64>,
    may_be_lost: Option<String>,
    system_identifier: String,
    old_timeline: Option<u32>,
    new_timeline: Option<u32>,
    jobs: Vec<String>,
    notes: Vec<String>,
    epoch: Option<u64>,
    took_ms: Option<u64>,
}

/// A server of a shard.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Server {
    endpoint: String,
    role: String,
    reachable: bool,
    error: Option<String>,
    system_identifier: Option<String>,
    timeline: Option<u32>,
    received_lsn: Option<String>,
    replayed_lsn: Option<String>,
    lag_bytes: Option<u64>,
    lag_seconds: Option<f64>,
    synchronous: bool,
    seen_at: String,
}

fn text(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

fn number(number: u32) -> Option<u32> {
    Some(number).filter(|number| *number > 0)
}

impl From<v1::Promotion> for Promotion {
    fn from(it: v1::Promotion) -> Self {
        Self {
            shard_id: it.shard_id,
            done: it.done,
            from: it.from,
            to: it.to,
            old_primary_error: text(it.old_primary_error),
            received_lsn: it.received_lsn,
            behind_bytes: it.behind_bytes,
            may_be_lost: text(it.may_be_lost),
            system_identifier: it.system_identifier,
            old_timeline: number(it.old_timeline),
            new_timeline: number(it.new_timeline),
            jobs: it.jobs,
            notes: it.notes,
            epoch: it.done.then_some(it.epoch),
            took_ms: it.done.then_some(it.took_ms),
        }
    }
}

impl From<v1::ShardServer> for Server {
    fn from(it: v1::ShardServer) -> Self {
        Self {
            endpoint: it.endpoint,
            role: it.role,
            reachable: it.reachable,
            error: text(it.error),
            system_identifier: text(it.system_identifier),
            timeline: number(it.timeline),
            received_lsn: text(it.received_lsn),
            replayed_lsn: text(it.replayed_lsn),
            lag_bytes: it.lag_bytes,
            lag_seconds: it.lag_seconds,
            synchronous: it.synchronous,
            seen_at: it.seen_at,
        }
    }
}

pub(super) async fn promote(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Promotion>, Error> {
    // Nothing at all asks for the usual.
    let wish = match body.as_ref() {
        [] => Promote::default(),
        body => serde_json::from_slice(body)
            .map_err(|error| Error::invalid("body", error.to_string()))?,
    };
    let request = v1::PromoteShardRequest {
        id,
        to: wish.to.unwrap_or_default(),
        dry_run: wish.dry_run,
        accept_loss: wish.accept_loss,
        old_primary_is_down: wish.old_primary_is_down,
    };
    let answer = service.promote_shard(&caller, request).await?;
    let promotion = answer.message.promotion;
    let promotion = promotion.ok_or(Error::Internal("an answer about a promotion has none"))?;
    Ok(Json(promotion.into()))
}

#[cfg(test)]
pub(super) mod tests {
    //! What the tests of the other resources need of promotions.

    use std::sync::Arc;
    use std::time::Duration;

    use platform::TaskGroup;
    use topology::store::Store;

    use crate::commit::Writer;
    use crate::failover::{Context, Promoter, Settings};
    use crate::leader;
    use crate::reshard::fake::Fake;
    use crate::reshard::session::Sessions;
    use crate::shards::health::Health;
    use crate::shards::{Config, Shards, tls::Tls};

    /// A promoter that reaches no shard.
    pub(in crate::rest) fn idle(
        store: &Arc<dyn Store>,
        writer: &Arc<Writer>,
        (topology, leader): (&topology::watch::View, &leader::View),
        tasks: &TaskGroup,
    ) -> Promoter {
        let shards = Config {
            tls: Tls::default(),
            user: "postgres".to_owned(),
            password: None,
            connect_timeout: Duration::from_secs(1),
            statement_timeout: Duration::from_secs(1),
        };
        Promoter::new(Context {
            store: Arc::clone(store),
            writer: Arc::clone(writer),
            topology: topology.clone(),
            leader: leader.clone(),
            shards: Shards::new(shards.clone(), tasks.clone()),
            sessions: Sessions::new(shards, tasks.clone()),
            health: Health::default(),
            jobs: Arc::new(Fake::default()),
            tasks: tasks.clone(),
            settings: Settings {
                fence_command: Vec::new(),
                fence_timeout: Duration::from_secs(1),
                catch_up: Duration::from_secs(1),
                automatic: None,
            },
        })
    }
}
