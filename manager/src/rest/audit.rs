//! `/audit`.

use axum::extract::State;
use platform::http_error::{Json, Query};
use serde::{Deserialize, Serialize};
use topology::records::Digest;

use crate::audit::{Filter, Page, Verdict, chain};
use crate::error::Error;
use crate::service::Service;

/// Entries of a listing that names no limit.
const DEFAULT_LIMIT: usize = 100;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AuditQuery {
    limit: Option<usize>,
    before: Option<u64>,
    actor: Option<String>,
    action: Option<String>,
    target: Option<String>,
    from: Option<String>,
    request_id: Option<String>,
    result: Option<Verdict>,
    since: Option<String>,
    until: Option<String>,
}

/// What came of checking the log.
#[derive(Debug, Serialize)]
pub(super) struct Findings {
    is_intact: bool,
    entries: u64,
    chained: u64,
    head: Head,
    cut_through: Option<u64>,
    faults: Vec<Fault>,
}

#[derive(Debug, Serialize)]
struct Head {
    sequence: u64,
    hash: Option<Digest>,
}

#[derive(Debug, Serialize)]
struct Fault {
    sequence: u64,
    kind: &'static str,
    message: String,
}

pub(super) async fn list(
    State(service): State<Service>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page>, Error> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    let filter = Filter {
        actor: query.actor,
        action: query.action,
        target: query.target,
        from: query.from,
        request_id: query.request_id,
        result: query.result,
        since: Filter::time("since", query.since.as_deref())?,
        until: Filter::time("until", query.until.as_deref())?,
        before: query.before,
    };
    Ok(Json(service.audit(&filter, limit).await?))
}

pub(super) async fn verify(State(service): State<Service>) -> Result<Json<Findings>, Error> {
    let found = service.verify_audit().await?;
    let fault = |fault: &chain::Fault| Fault {
        sequence: fault.sequence(),
        kind: fault.kind(),
        message: fault.to_string(),
    };
    Ok(Json(Findings {
        is_intact: found.faults.is_empty(),
        entries: found.entries,
        chained: found.chained,
        head: Head {
            sequence: found.head.sequence,
            hash: found.head.hash,
        },
        cut_through: found.anchor.map(|anchor| anchor.sequence),
        faults: found.faults.iter().map(fault).collect(),
    }))
}
