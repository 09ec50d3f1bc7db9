//! Jobs of a manager that runs none.

use async_trait::async_trait;
use topology::Term;

use super::api::{Error, JobView, Jobs, Request, Start};
use super::ids::JobId;
use crate::audit::Author;

/// No jobs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Absent;

fn unavailable() -> Error {
    let reason = "this manager runs none".to_owned();
    Error::Unavailable { reason }
}

#[async_trait]
impl Jobs for Absent {
    async fn start(&self, _start: Start) -> Result<JobView, Error> {
        Err(unavailable())
    }

    async fn list(&self) -> Result<Vec<JobView>, Error> {
        Ok(Vec::new())
    }

    async fn find(&self, id: &JobId) -> Result<JobView, Error> {
        Err(Error::UnknownJob { id: id.clone() })
    }

    async fn ask(
        &self,
        _term: Term,
        _author: &Author,
        id: &JobId,
        _request: Request,
    ) -> Result<JobView, Error> {
        Err(Error::UnknownJob { id: id.clone() })
    }
}
