//! `/routers`.

use axum::extract::State;
use platform::http_error::Json;
use serde::Serialize;

use crate::error::Error;
use crate::service::Service;

#[derive(Debug, Serialize)]
pub(super) struct Routers {
    epoch: u64,
    routers: Vec<Router>,
}

#[derive(Debug, Serialize)]
struct Router {
    number: u32,
    address: String,
    incarnation: String,
    applied_epoch: u64,
    version: String,
}

pub(super) async fn list(State(service): State<Service>) -> Result<Json<Routers>, Error> {
    let listed = service.list_routers().await?;
    let routers = listed.routers.into_iter().map(|router| Router {
        number: router.number,
        address: router.address,
        incarnation: router.incarnation,
        applied_epoch: router.applied_epoch,
        version: router.version,
    });
    Ok(Json(Routers {
        epoch: listed.epoch,
        routers: routers.collect(),
    }))
}
