//! A name that does not exist is likely a slip: what there is says which one was meant.

use proto::manager::v1 as pb;
use tonic::Code;

use super::Session;
use crate::client::Ask;
use crate::error::Error;
use crate::names::{Names, meant};

impl Session {
    /// The error, with the name that was meant where one of `names` is nearly it. Nothing is asked
    /// unless the request was refused for what it says.
    pub(super) async fn suggest(&self, error: Error, names: &Names) -> Error {
        let Error::Refused {
            action,
            message,
            code: code @ (Code::NotFound | Code::InvalidArgument | Code::FailedPrecondition),
            see,
            meant: None,
        } = error
        else {
            return error;
        };
        Error::Refused {
            action,
            message,
            code,
            see,
            meant: self.meant(names).await,
        }
    }

    async fn meant(&self, names: &Names) -> Option<String> {
        if !names.shards.is_empty() {
            return meant(&names.shards, &self.shard_ids().await?);
        }
        if !names.tables.is_empty() {
            let tables = self.registered_tables().await.ok()?;
            let tables: Vec<String> = tables.into_iter().map(|table| table.name).collect();
            return meant(&names.tables, &tables);
        }
        if !names.jobs.is_empty() {
            let jobs = self.all_jobs().await.ok()?;
            let jobs: Vec<String> = jobs.into_iter().map(|job| job.id).collect();
            return meant(&names.jobs, &jobs);
        }
        None
    }

    async fn shard_ids(&self) -> Option<Vec<String>> {
        let ask = Ask::read("list the shards", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.shards.list_shards(pb::ListShardsRequest {}).await
        });
        let shards = answer.await.ok()?.shards;
        Some(shards.into_iter().map(|shard| shard.id).collect())
    }
}
