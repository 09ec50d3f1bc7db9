//! The routers that live.

use proto::manager::v1 as pb;
use serde::Serialize;

use super::Report;
use crate::grid::Grid;

/// A router.
#[derive(Debug, Clone, Serialize)]
struct Router {
    number: u32,
    address: String,
    incarnation: String,
    applied_epoch: u64,
    version: String,
}

/// All of them.
#[derive(Debug, Clone, Serialize)]
pub struct Routers {
    epoch: u64,
    routers: Vec<Router>,
}

impl From<pb::ListRoutersResponse> for Routers {
    fn from(listed: pb::ListRoutersResponse) -> Self {
        let router = |router: pb::Router| Router {
            number: router.number,
            address: router.address,
            incarnation: router.incarnation,
            applied_epoch: router.applied_epoch,
            version: router.version,
        };
        Self {
            epoch: listed.epoch,
            routers: listed.routers.into_iter().map(router).collect(),
        }
    }
}

impl Report for Routers {
    fn table(&self) -> String {
        let mut grid = Grid::new(&[
            "NUMBER",
            "ADDRESS",
            "INCARNATION",
            "APPLIED-EPOCH",
            "VERSION",
        ]);
        for router in &self.routers {
            grid.row([
                router.number.to_string(),
                router.address.clone(),
                router.incarnation.clone(),
                router.applied_epoch.to_string(),
                router.version.clone(),
            ]);
        }
        grid.render()
    }
}
