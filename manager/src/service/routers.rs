//! The routers that live.

use proto::manager::v1;
use topology::routers::{self, Router};

use super::Service;
use crate::error::Error;

impl Service {
    /// All routers whose leases have not ended, by number.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn list_routers(&self) -> Result<v1::ListRoutersResponse, Error> {
        let mut all = routers::list(self.0.store.as_ref()).await?.all;
        all.sort_by_key(|router| router.number);
        Ok(v1::ListRoutersResponse {
            routers: all.into_iter().map(describe).collect(),
            epoch: self.0.topology.snapshot().epoch().0,
        })
    }
}

fn describe(router: Router) -> v1::Router {
    let Router {
        number,
        record,
        registered: _,
    } = router;
    v1::Router {
        number: number.into(),
        address: record.address,
        incarnation: record.incarnation.to_string(),
        applied_epoch: record.applied_epoch.0,
        version: record.version,
    }
}
