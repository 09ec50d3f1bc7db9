//! `/reshard`: plans, and the jobs that run them.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt as _};
use http::{HeaderValue, StatusCode, header};
use platform::http_error::{Json, Path};
use proto::manager::v1;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use utoipa::ToSchema;

use self::body::{Body, Fields, PlanBody};
use self::shape::{Job, Plan};
use crate::caller::Caller;
use crate::error::Error;
use crate::reshard::api::Request;
use crate::service::Service;
use crate::service::reshard::Started;

pub(super) mod body;
pub(super) mod shape;

/// How often a stream without news shows that it is alive.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Jobs {
    jobs: Vec<Job>,
}

pub(super) async fn plan(
    State(service): State<Service>,
    Json(PlanBody(operation)): Json<PlanBody>,
) -> Result<Json<Plan>, Error> {
    Ok(Json(service.plan(&operation?).await?.into()))
}

/// Starts a job of one kind; `F` has the fields of its body.
pub(super) async fn start<F: Fields + DeserializeOwned>(
    State(service): State<Service>,
    caller: Caller,
    Json(body): Json<Body<F>>,
) -> Result<Response, Error> {
    let (operation, options) = (body.operation, body.options);
    let Some(fields) = operation else {
        // Nothing but the id of a plan, which says all the rest.
        return run(&service, &caller, options, F::KIND.as_str()).await;
    };
    let operation = fields.operation(options)?;
    let started = service.reshard(&caller, operation).await?;
    respond(started.message)
}

/// Runs a plan of any kind.
pub(super) async fn run_plan(
    State(service): State<Service>,
    caller: Caller,
    Json(body): Json<Body<body::Nothing>>,
) -> Result<Response, Error> {
    run(&service, &caller, body.options, "").await
}

async fn run(
    service: &Service,
    caller: &Caller,
    options: v1::ReshardOptions,
    kind: &str,
) -> Result<Response, Error> {
    if options.dry_run {
        let rule = "is not for a plan that was made already: it can be run as it was shown";
        return Err(Error::invalid("dry_run", rule));
    }
    let request = v1::RunPlanRequest {
        plan_id: options.plan_id.clone(),
        options: Some(options),
        r#type: kind.to_owned(),
    };
    respond(service.run_plan(caller, request).await?.message)
}

fn respond(started: Started) -> Result<Response, Error> {
    match started {
        Started::Plan(plan) => Ok(Json(Plan::from(*plan)).into_response()),
        Started::Job(job) => {
            let place = format!("/api/v1/reshard/jobs/{}", job.id);
            let place = HeaderValue::try_from(place);
            let place = place.map_err(|_| Error::Internal("a job's id is not a path"))?;
            let headers = [(header::LOCATION, place)];
            Ok((StatusCode::ACCEPTED, headers, Json(Job::from(*job))).into_response())
        }
    }
}

pub(super) async fn list(State(service): State<Service>) -> Result<Json<Jobs>, Error> {
    let jobs = service.list_jobs().await?;
    let jobs = jobs.into_iter().map(Job::from).collect();
    Ok(Json(Jobs { jobs }))
}

pub(super) async fn find(
    State(service): State<Service>,
    Path(id): Path<String>,
) -> Result<Json<Job>, Error> {
    Ok(Json(service.find_job(&id).await?.into()))
}

pub(super) async fn ask(
    State(service): State<Service>,
    caller: Caller,
    Path((id, request)): Path<(String, String)>,
) -> Result<Json<Job>, Error> {
    let known = Request::ALL
        .into_iter()
        .find(|known| known.as_str() == request);
    let request = known.ok_or_else(|| Error::NotFound {
        what: "this path".to_owned(),
    })?;
    let job = service.ask_job(&caller, &id, request).await?;
    Ok(Json(job.message.into()))
}

/// The job as server-sent events, from now until it is over or its reader may not see it any more.
pub(super) async fn events(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Error> {
    let jobs = service.watch_job(&caller, &id).await?;
    let events = jobs.map(|job| {
        let event = match job {
            Ok(job) => Event::default().event("job").json_data(Job::from(job)),
            Err(error) => {
                let (code, message) = (error.code().as_str(), error.public_text());
                let error = json!({ "error": { "code": code, "message": message } });
                Event::default().event("error").json_data(error)
            }
        };
        // A shape of texts and numbers can be written as JSON.
        Ok(event.unwrap_or_default())
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
    Ok(Sse::new(events).keep_alive(keep_alive))
}
