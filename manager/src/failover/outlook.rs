//! What a promotion would do: asks all servers of a shard at once, and changes nothing.

use futures_util::future::join_all;
use topology::{Endpoint, Shard};

use super::choice::{Candidate, Known, choose};
use super::{Error, Outlook, Promoter, Wish};
use crate::shards::server::Seen;

/// The old primary and the replicas, as they answer now.
#[derive(Debug)]
pub(super) struct Servers {
    pub(super) primary: Result<Seen, String>,
    pub(super) replicas: Vec<Candidate>,
}

impl Promoter {
    /// What a promotion would do, and what may be lost by it.
    ///
    /// # Errors
    /// [`Error`] when there is nothing that could be promoted.
    pub async fn outlook(&self, wish: &Wish) -> Result<Outlook, Error> {
        let shard = self.stored(&wish.shard).await?;
        if shard.primary_endpoint.is_list() {
            return Err(Error::FollowsByItself(shard.id));
        }
        if shard.promotion.is_some() {
            return Err(Error::Underway(shard.id));
        }
        let servers = self.look(&shard).await;
        self.outlook_of(&shard, &servers, wish.to.as_ref()).await
    }

    pub(super) async fn outlook_of(
        &self,
        shard: &Shard,
        servers: &Servers,
        wanted: Option<&Endpoint>,
    ) -> Result<Outlook, Error> {
        let known = self.known(shard, servers);
        let choice = choose(&known, &servers.replicas, wanted);
        let choice = choice.map_err(|reason| Error::NoChoice {
            shard: shard.id.clone(),
            reason,
        })?;
        let jobs = self.context.jobs.list().await.unwrap_or_default();
        let jobs = jobs.iter().filter(|job| job.occupies(&shard.id));
        Ok(Outlook {
            shard: shard.id.clone(),
            from: shard.primary_endpoint.clone(),
            silence: servers.primary.as_ref().err().cloned(),
            before: known.lineage,
            choice,
            jobs: jobs.map(|job| job.id.to_string()).collect(),
        })
    }

    /// Asks the primary and the replicas.
    pub(super) async fn look(&self, shard: &Shard) -> Servers {
        let shards = &self.context.shards;
        let primary = shards.look(&shard.id, &shard.primary_endpoint);
        let (primary, replicas) = tokio::join!(primary, self.replicas(shard));
        let primary = match primary {
            Ok(seen) if seen.is_primary => Ok(seen),
            Ok(_) => Err(format!("{} is a replica", shard.primary_endpoint)),
            Err(error) => Err(error.full_text()),
        };
        Servers { primary, replicas }
    }

    /// Asks the replicas alone: one that does not answer takes its time to be seen not to.
    pub(super) async fn look_at_replicas(&self, shard: &Shard) -> Servers {
        Servers {
            primary: Err("it was not asked".to_owned()),
            replicas: self.replicas(shard).await,
        }
    }

    async fn replicas(&self, shard: &Shard) -> Vec<Candidate> {
        let shards = &self.context.shards;
        let replicas = shard.replicas.iter().map(|replica| async {
            let seen = shards.look(&shard.id, replica).await;
            Candidate {
                endpoint: replica.clone(),
                seen: seen.map_err(|error| error.full_text()),
            }
        });
        join_all(replicas).await
    }

    /// What is known of the old primary: from itself, or from when it last answered.
    pub(super) fn known(&self, shard: &Shard, servers: &Servers) -> Known {
        if let Ok(seen) = &servers.primary {
            return Known {
                lineage: Some(seen.lineage.clone()),
                position: Some(seen.position),
                is_synchronous: Some(seen.is_synchronous),
                answers: true,
            };
        }
        let heard = self.context.health.of(&shard.id);
        let heard = heard.and_then(|observed| observed.primary);
        let heard = heard.map(|(seen, _)| seen);
        Known {
            lineage: heard
                .as_ref()
                .map(|seen| seen.lineage.clone())
                .or_else(|| shard.lineage.clone()),
            position: heard.as_ref().map(|seen| seen.position),
            is_synchronous: heard.as_ref().map(|seen| seen.is_synchronous),
            answers: false,
        }
    }
}
