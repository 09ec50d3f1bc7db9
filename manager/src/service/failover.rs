//! Promotions and what probes have found, in the messages of the API.

use proto::manager::v1;
use proto::manager::v1::shard_service_client::ShardServiceClient;
use topology::Endpoint;

use super::{Duty, Service, request};
use crate::caller::Caller;
use crate::error::Error;
use crate::failover::{Outlook, Promoted, Wish};
use crate::forward::Answer;
use crate::shards::health::{Observation, Server};
use crate::shards::metrics::lag_bytes;

impl Service {
    /// Makes a replica a shard's primary, or says what that would do.
    ///
    /// # Errors
    /// When nothing can be promoted, the old primary may still take writes, commits may be lost and
    /// that was not accepted, or nobody can do it.
    pub async fn promote_shard(
        &self,
        caller: &Caller,
        request: v1::PromoteShardRequest,
    ) -> Result<Answer<v1::PromoteShardResponse>, Error> {
        let term = match self.duty(caller)? {
            Duty::Ours(term) => term,
            Duty::Theirs(leader) => {
                let call = async |channel, request| {
                    ShardServiceClient::new(channel)
                        .promote_shard(request)
                        .await
                };
                let sent = self.0.forwarder.send(&leader, caller, request, call);
                return self.forwarded(sent.await).await;
            }
        };
        let wish = Wish {
            shard: request::shard_id("id", &request.id)?,
            to: replica(&request.to)?,
            accepts_loss: request.accept_loss,
            is_down: request.old_primary_is_down,
            author: caller.author.clone(),
        };
        let promoter = &self.0.promoter;
        if request.dry_run {
            let promotion = Some(outlook(&promoter.outlook(&wish).await?));
            return Ok(Answer {
                message: v1::PromoteShardResponse { promotion },
                epoch: self.snapshot()?.epoch(),
            });
        }
        let promoted = promoter.promote(term, wish).await?;
        self.catch_up(promoted.epoch).await;
        let promotion = Some(done(&promoted));
        Ok(Answer {
            message: v1::PromoteShardResponse { promotion },
            epoch: promoted.epoch,
        })
    }
}

fn replica(text: &str) -> Result<Option<Endpoint>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let endpoint = Endpoint::try_new(text);
    endpoint
        .map(Some)
        .map_err(|invalid| Error::invalid("to", invalid.to_string()))
}

fn outlook(outlook: &Outlook) -> v1::Promotion {
    let choice = &outlook.choice;
    let before = outlook.before.as_ref();
    v1::Promotion {
        shard_id: outlook.shard.to_string(),
        done: false,
        from: outlook.from.to_string(),
        to: choice.to.to_string(),
        old_primary_error: outlook.silence.clone().unwrap_or_default(),
        received_lsn: choice.seen.position.to_string(),
        behind_bytes: choice.behind,
        may_be_lost: choice.loss.clone().unwrap_or_default(),
        system_identifier: choice.seen.lineage.system.clone(),
        old_timeline: before.map_or(0, |lineage| lineage.timeline),
        new_timeline: 0,
        jobs: outlook.jobs.clone(),
        notes: Vec::new(),
        epoch: 0,
        took_ms: 0,
    }
}

fn done(promoted: &Promoted) -> v1::Promotion {
    v1::Promotion {
        done: true,
        new_timeline: promoted.after.timeline,
        notes: promoted.notes.clone(),
        epoch: promoted.epoch.0,
        took_ms: u64::try_from(promoted.took.as_millis()).unwrap_or(u64::MAX),
        ..outlook(&promoted.outlook)
    }
}

/// The servers of a shard.
pub(super) fn servers(observed: &Observation) -> Vec<v1::ShardServer> {
    let server = |it: &Server| server(observed, it);
    observed.servers.iter().map(server).collect()
}

fn server(observed: &Observation, server: &Server) -> v1::ShardServer {
    let base = v1::ShardServer {
        endpoint: server.endpoint.to_string(),
        role: "unknown".to_owned(),
        error: server.seen.as_ref().err().cloned().unwrap_or_default(),
        seen_at: humantime::format_rfc3339_millis(server.at).to_string(),
        ..v1::ShardServer::default()
    };
    let Ok(seen) = &server.seen else {
        return base;
    };
    let role = if seen.is_primary {
        "primary"
    } else {
        "replica"
    };
    v1::ShardServer {
        role: role.to_owned(),
        reachable: true,
        system_identifier: seen.lineage.system.clone(),
        timeline: seen.lineage.timeline,
        received_lsn: seen.position.to_string(),
        replayed_lsn: seen.replayed.map(|lsn| lsn.to_string()).unwrap_or_default(),
        lag_bytes: lag_bytes(observed, server),
        lag_seconds: seen.lag.map(|lag| lag.as_secs_f64()),
        synchronous: seen.is_primary && seen.is_synchronous,
        ..base
    }
}
