//! `audit`: what was done and refused, and whether the log of it is whole.

use proto::manager::v1 as pb;

use super::{Outcome, Session};
use crate::args::audit::{Audit, List};
use crate::client::Ask;
use crate::error::Error;
use crate::report;
use crate::report::audit::{Entries, Findings};

impl Session {
    pub(super) async fn audit(&self, command: Audit) -> Result<Outcome, Error> {
        match command {
            Audit::List(wanted) => self.entries(*wanted).await,
            Audit::Verify => self.verify().await,
        }
    }

    async fn entries(&self, wanted: List) -> Result<Outcome, Error> {
        let ask = Ask::read("list the audit log", "status");
        let request = pb::ListEntriesRequest {
            limit: wanted.limit,
            before: wanted.before,
            actor: wanted.actor,
            action: wanted.action,
            target: wanted.target,
            from: wanted.from,
            request_id: wanted.request_id,
            result: wanted.result,
            since: wanted.since,
            until: wanted.until,
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.audit.list_entries(request).await }
        });
        Ok(self.done(&Entries::from(answer.await?)))
    }

    async fn verify(&self) -> Result<Outcome, Error> {
        let ask = Ask::read("verify the audit log", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.audit.verify(pb::VerifyRequest {}).await
        });
        let findings = Findings::from(answer.await?);
        let count = findings.faults();
        Ok(Outcome {
            text: report::render(&findings, self.output),
            failure: (count > 0).then_some(Error::AuditBroken { count }),
        })
    }
}
