//! EXPLAIN of a query over several shards.

use wire::quote::ident;

use super::ask::{self, Question};
use super::leases::Leases;
use super::{Failure, Request};
use crate::scatter::plan::sql::Hole;
use crate::scatter::plan::{Bound, Finish, either};
use crate::view::Serving;

/// What EXPLAIN says: the router's part, and each shard's plan. `prefix` is what stands before the
/// query.
///
/// # Errors
/// [`Failure`].
pub async fn explain(
    serving: &Serving,
    leases: &mut Leases,
    request: Request<'_>,
    prefix: &str,
) -> Result<Vec<String>, Failure> {
    leases.until = request.until;
    let explained = explain_on(serving, leases, request, prefix).await;
    leases.wind_down().await;
    explained
}

async fn explain_on(
    serving: &Serving,
    leases: &mut Leases,
    request: Request<'_>,
    prefix: &str,
) -> Result<Vec<String>, Failure> {
    let snapshot = (&*serving.snapshot, request.search_path);
    let program = either(request.text, request.data, snapshot)?;
    let described = ask::describe(leases, &program.original, &[]).await?;
    let mut lines = vec![format!("Scatter over {} shards", leases.len())];
    lines.extend(program.describe().iter().map(|line| format!("  {line}")));
    let wanted = match &program.finish {
        Finish::Rows {
            limit: Bound::Number(limit),
            offset,
            ..
        } => match offset {
            Bound::Number(offset) => limit.checked_add(*offset),
            Bound::Open => Some(*limit),
            Bound::Parameter(_) => None,
        },
        Finish::Rows { .. } | Finish::Distinct { .. } | Finish::Last { .. } => None,
    };
    let text = program.shards.fill(|hole| match hole {
        Hole::Own(_) => "true".to_owned(),
        Hole::Limit => wanted.map_or_else(|| "ALL".to_owned(), |it| it.to_string()),
        Hole::Output(at) => {
            let column = described.columns.get(at.wrapping_sub(1));
            column.map_or_else(|| "NULL".to_owned(), |column| ident(&column.name))
        }
        Hole::Partial | Hole::Type(_) | Hole::Average(..) | Hole::Widen(_) => String::new(),
    });
    let question = Question::new(&format!("{prefix}{text}"), &[], &[], &[])?;
    leases.send_all(&question.bytes).await?;
    for at in 0..leases.len() {
        let shard = leases
            .shard(at)
            .and_then(|index| serving.snapshot.shard(index));
        let shard = shard.map_or("none", |shard| shard.id.as_str());
        lines.push(format!("  Shard {shard}:"));
        let plan = ask::lines(leases, at).await?;
        lines.extend(plan.iter().map(|line| format!("    {line}")));
    }
    Ok(lines)
}
