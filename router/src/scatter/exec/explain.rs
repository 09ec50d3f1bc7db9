//! EXPLAIN of a query over several shards.

use wire::quote::ident;

use super::ask::{self, Question};
use super::leases::Leases;
use super::{Failure, Request};
use crate::scatter::explained::{Explained, OfShard};
use crate::scatter::plan::sql::Hole;
use crate::scatter::plan::{Finish, either};
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
) -> Result<Explained, Failure> {
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
) -> Result<Explained, Failure> {
    let snapshot = (&*serving.snapshot, request.search_path);
    let program = either(request.text, request.data, snapshot)?;
    let arguments = request.arguments;
    let mut described = ask::describe(leases, &program.original, &arguments.types).await?;
    let asked = program.asked();
    if asked.original != program.original {
        let parameters = described.parameters;
        described = ask::describe(leases, &asked.original, &parameters).await?;
        described.parameters = parameters;
    }
    let wanted = match &asked.finish {
        Finish::Rows { limit, offset, .. } => match (limit.sql(), offset.sql()) {
            (Some(limit), Some(offset)) => Some(format!("({limit}) + ({offset})")),
            (limit, _) => limit,
        },
        Finish::Distinct { .. } | Finish::Last { .. } | Finish::Around { .. } => None,
    };
    let text = asked.shards.fill(|hole| match hole {
        Hole::Own(_) => "true".to_owned(),
        Hole::Limit => wanted.clone().unwrap_or_else(|| "ALL".to_owned()),
        Hole::Output(at) => {
            let column = described.columns.get(at.wrapping_sub(1));
            column.map_or_else(|| "NULL".to_owned(), |column| ident(&column.name))
        }
        Hole::Partial | Hole::Type(_) | Hole::Average(..) | Hole::Widen(_) => String::new(),
    });
    let text = format!("{prefix}{text}");
    let question = Question::new(&text, &described.parameters, &arguments.values, &[])?;
    leases.send_all(&question.bytes).await?;
    let mut shards = Vec::with_capacity(leases.len());
    for at in 0..leases.len() {
        let shard = leases
            .shard(at)
            .and_then(|index| serving.snapshot.shard(index));
        let shard = shard.map_or("none", |shard| shard.id.as_str()).to_owned();
        let rows = ask::lines(leases, at).await?;
        shards.push(OfShard { shard, rows });
    }
    Ok(Explained {
        node: "Scatter",
        headline: format!("Scatter over {} shards", shards.len()),
        facts: program.facts(),
        shards,
    })
}
