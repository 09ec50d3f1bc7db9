//! The check-up: asks everybody at once; what it means is judged in `doctor`.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use platform::telemetry::error_chain;
use proto::manager::v1 as pb;
use tokio::task::JoinSet;
use tokio::time::Instant;
use topology::keys;
use topology::store::Store as _;

use super::{Outcome, Session, reason};
use crate::args::backup::Place;
use crate::backup::stored_at;
use crate::client::{Ask, Managers, Services};
use crate::doctor::{Facts, Heard, Inspection, Manager, judge};
use crate::error::Error;
use crate::metrics::Samples;
use crate::report;
use crate::scrape::Scraper;

/// Where programs show their metrics unless they are told otherwise.
const ROUTER_METRICS: u16 = 9090;
const MANAGER_METRICS: u16 = 9091;

impl Session {
    pub(super) async fn doctor(&self, place: Place) -> Result<Outcome, Error> {
        let routers = heard(self.live_routers().await);
        let addresses = self.metrics_addresses(routers.as_ref().ok());
        let (etcd, managers, shards, jobs, schema, metrics) = tokio::join!(
            etcd(&place),
            self.looks(),
            self.shards_with_servers(),
            self.all_jobs(),
            self.compared(),
            read_all(&self.scraper, addresses),
        );
        let findings = judge(&Facts {
            now: now().as_secs(),
            etcd: etcd?,
            managers,
            routers,
            shards: heard(shards),
            jobs: heard(jobs),
            schema: heard(schema),
            metrics,
        });
        let report = report::doctor::Doctor::new(findings);
        let failures = report.failures();
        Ok(Outcome {
            failure: (failures > 0).then_some(Error::Unwell { failures }),
            ..self.done(&report)
        })
    }

    pub(super) async fn live_routers(&self) -> Result<pb::ListRoutersResponse, Error> {
        let ask = Ask::read("list the routers", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            let request = pb::ListRoutersRequest {};
            services.topology.list_routers(request).await
        });
        answer.await
    }

    /// Those that were named, else where routers and managers have theirs by default.
    pub(super) fn metrics_addresses(
        &self,
        routers: Option<&pb::ListRoutersResponse>,
    ) -> Vec<String> {
        if !self.metrics.is_empty() {
            return self.metrics.clone();
        }
        let routers = routers.iter().flat_map(|listed| &listed.routers);
        let routers = routers.filter_map(|router| {
            let (host, _) = router.address.rsplit_once(':')?;
            Some(format!("{host}:{ROUTER_METRICS}"))
        });
        let managers = self.managers.each().filter_map(|(address, _)| {
            let host = tonic::transport::Uri::try_from(address).ok()?;
            Some(format!("{}:{MANAGER_METRICS}", host.host()?))
        });
        let all: BTreeSet<String> = routers.chain(managers).collect();
        all.into_iter().collect()
    }

    pub(super) async fn all_jobs(&self) -> Result<Vec<pb::Job>, Error> {
        let ask = Ask::read("list the jobs", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.reshard.list_jobs(pb::ListJobsRequest {}).await
        });
        Ok(answer.await?.jobs)
    }

    async fn compared(&self) -> Result<pb::DiffResponse, Error> {
        let ask = Ask::read("compare the schemas", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.schema.diff(pb::DiffRequest {}).await
        });
        answer.await
    }

    /// The servers of a shard are in the answer about it alone.
    async fn shards_with_servers(&self) -> Result<Vec<pb::Shard>, Error> {
        let ask = Ask::read("list the shards", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.shards.list_shards(pb::ListShardsRequest {}).await
        });
        let mut shards = answer.await?.shards;
        for shard in &mut shards {
            let request = pb::GetShardRequest {
                id: shard.id.clone(),
            };
            let answer = self.managers.ask(&ask, |mut services| {
                let request = request.clone();
                async move { services.shards.get_shard(request).await }
            });
            // It may have gone meanwhile.
            if let Ok(Some(known)) = answer.await.map(|answer| answer.shard) {
                *shard = known;
            }
        }
        Ok(shards)
    }

    /// Each manager's state, and its look at etcd and the shards.
    async fn looks(&self) -> Vec<Manager> {
        let mut asking = JoinSet::new();
        for (index, (address, manager)) in self.managers.each().enumerate() {
            asking.spawn(async move { (index, look(address, manager).await) });
        }
        let mut all = asking.join_all().await;
        all.sort_by_key(|(index, _)| *index);
        all.into_iter().map(|(_, manager)| manager).collect()
    }
}

async fn look(address: String, manager: Managers) -> Manager {
    let ask = Ask::read("read the status", "status");
    let send = |mut services: Services| async move {
        services.topology.get_status(pb::GetStatusRequest {}).await
    };
    let status = heard(manager.ask(&ask, send).await);
    let ask = Ask::read("look at etcd and the shards", "status");
    let asked_ms = milliseconds();
    let send = |mut services: Services| async move {
        services.topology.inspect(pb::InspectRequest {}).await
    };
    let found = match &status {
        Ok(_) => heard(manager.ask(&ask, send).await),
        Err(error) => Err(error.clone()),
    };
    let answered_ms = milliseconds();
    let inspection = found.map(|found| Inspection {
        found,
        asked_ms,
        answered_ms,
    });
    Manager {
        address,
        status,
        inspection,
    }
}

/// Each of etcd's addresses for itself.
async fn etcd(place: &Place) -> Result<Vec<(String, Heard<f64>)>, Error> {
    let mut answers = Vec::new();
    for address in &place.etcd {
        let alone = Place {
            etcd: vec![address.clone()],
            ..place.clone()
        };
        let store = stored_at(&alone)?;
        // The first one makes the connection.
        let mut answer = Ok(0.0);
        for _ in 0..2 {
            let asked = Instant::now();
            let read = store.read(keys::LAST_BACKUP).await;
            let took = asked.elapsed().as_secs_f64() * 1000.0;
            answer = read.map(|_| took).map_err(|error| error_chain(&error));
        }
        answers.push((address.clone(), answer));
    }
    Ok(answers)
}

/// The metrics of all programs at once, in the order of their addresses.
pub(super) async fn read_all(
    scraper: &Scraper,
    addresses: Vec<String>,
) -> Vec<(String, Heard<Samples>)> {
    let mut reading = JoinSet::new();
    for (index, address) in addresses.into_iter().enumerate() {
        let scraper = scraper.clone();
        reading.spawn(async move {
            let read = scraper.read(&address).await;
            (index, address, read)
        });
    }
    let mut all = reading.join_all().await;
    all.sort_by_key(|(index, _, _)| *index);
    let all = all.into_iter();
    all.map(|(_, address, read)| (address, read)).collect()
}

fn heard<T>(answer: Result<T, Error>) -> Heard<T> {
    answer.map_err(|error| reason(&error))
}

fn now() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default()
}

fn milliseconds() -> u64 {
    u64::try_from(now().as_millis()).unwrap_or(u64::MAX)
}
