//! `schema`: what the shards' schemas differ in, and what is done about it.

use proto::manager::v1 as pb;

use super::{Outcome, Session};
use crate::args::Schema;
use crate::client::Ask;
use crate::error::Error;
use crate::report;
use crate::report::schema::{Diff, Repair};

impl Session {
    pub(super) async fn schema(&self, command: Schema) -> Result<Outcome, Error> {
        match command {
            Schema::Diff => self.diff().await,
            Schema::Repair { from, to, dry_run } => {
                let request = pb::RepairRequest { from, to, dry_run };
                self.repair(request).await
            }
        }
    }

    async fn diff(&self) -> Result<Outcome, Error> {
        let ask = Ask::read("compare the schemas", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.schema.diff(pb::DiffRequest {}).await
        });
        let diff = Diff::from(answer.await?);
        let count = diff.differences();
        Ok(Outcome {
            text: report::render(&diff, self.output),
            failure: (count > 0).then_some(Error::SchemasDiffer { count }),
        })
    }

    async fn repair(&self, request: pb::RepairRequest) -> Result<Outcome, Error> {
        let action = format!("repair the schema of shard {:?}", request.to);
        let ask = if request.dry_run {
            Ask::read(action, "schema diff")
        } else {
            Ask::change(action, "schema diff")
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.schema.repair(request).await }
        });
        let repair = Repair::from(answer.await?);
        let count = repair.left();
        Ok(Outcome {
            text: report::render(&repair, self.output),
            failure: (count > 0).then_some(Error::NotRepaired { count }),
        })
    }
}
