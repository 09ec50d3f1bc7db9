//! The live view, one picture of it.

use super::Report;
use super::amount::percent;
use crate::grid::{Grid, NONE};
use crate::top::{Load, Top};

impl Report for Top {
    fn table(&self) -> String {
        let mut routers = Grid::new(&[
            "ROUTER",
            "EPOCH",
            "QUERIES/S",
            "P50",
            "P99",
            "ERRORS/S",
            "CLIENTS",
            "HELD",
            "IN-USE",
            "WAITING",
        ]);
        for router in &self.routers {
            let [queries, p50, p99, errors, in_use, waiting] = cells(&router.load);
            let epoch = router.epoch.map_or_else(|| NONE.to_owned(), whole);
            let (clients, held) = (whole(router.clients), whole(router.held));
            let address = router.address.clone();
            routers.row([
                address, epoch, queries, p50, p99, errors, clients, held, in_use, waiting,
            ]);
        }
        let mut shards = Grid::new(&[
            "SHARD",
            "HEALTH",
            "QUERIES/S",
            "P50",
            "P99",
            "ERRORS/S",
            "IN-USE",
            "OF",
            "WAITING",
        ]);
        for shard in &self.shards {
            let [queries, p50, p99, errors, in_use, waiting] = cells(&shard.load);
            let health = if shard.is_healthy {
                "healthy"
            } else {
                "unhealthy"
            }
            .to_owned();
            let most = whole(shard.max_connections);
            let id = shard.shard_id.clone();
            shards.row([id, health, queries, p50, p99, errors, in_use, most, waiting]);
        }
        let mut text = format!("{}\n{}", routers.render(), shards.render());
        if !self.jobs.is_empty() {
            let mut jobs = Grid::new(&["JOB", "STATUS", "DONE", "ROWS/S", "LAG"]);
            for job in &self.jobs {
                jobs.row([
                    job.id.clone(),
                    job.status.clone(),
                    percent(job.progress),
                    whole(job.rows_per_second),
                    format!("{:.1} s", job.lag_seconds),
                ]);
            }
            text.push_str(&format!("\n{}", jobs.render()));
        }
        if !self.unread.is_empty() {
            let mut unread = Grid::new(&["NOT READ", "WHY"]);
            for (address, error) in &self.unread {
                unread.row([address.clone(), error.clone()]);
            }
            text.push_str(&format!("\n{}", unread.render()));
        }
        text
    }
}

fn cells(load: &Load) -> [String; 6] {
    let time = |ms: Option<f64>| ms.map_or_else(|| NONE.to_owned(), |ms| format!("{ms:.1} ms"));
    [
        format!("{:.1}", load.queries_per_second),
        time(load.p50_ms),
        time(load.p99_ms),
        format!("{:.1}", load.errors_per_second),
        whole(load.in_use),
        whole(load.waiting),
    ]
}

fn whole(number: f64) -> String {
    format!("{number:.0}")
}
