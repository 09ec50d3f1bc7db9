//! What each SHOW shows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::command::HELP;
use super::{Client, Reload, Subject, Table, Value, route, settings, topology};
use crate::config::Config;
use crate::core::Core;
use crate::pool::{CancelTarget, Pool};
use crate::view::Serving;

/// Most statements that `SHOW ROUTES` shows.
const MAX_ROUTES: usize = 1_000;

/// Most characters that it shows of each.
const MAX_TEXT_CHARS: usize = 400;

/// What tables are made of.
#[derive(Debug)]
pub struct Sources<'a> {
    /// The router.
    pub core: &'a Core,
    /// Its clients.
    pub clients: Vec<Client>,
    /// What was read of the configuration last.
    pub reload: &'a Reload,
}

/// The table of a subject.
#[must_use]
pub fn show(subject: Subject, sources: &Sources<'_>) -> Table {
    let serving = sources.core.view.load();
    let rows = match subject {
        Subject::Pools => pools(&serving, sources),
        Subject::Clients => clients(&serving, sources),
        Subject::Servers => servers(&serving, sources),
        Subject::Shards => topology::shards(&serving),
        Subject::Ring => topology::ring(&serving),
        Subject::Routes => routes(&serving, sources.core),
        Subject::Stats => stats(&serving),
        Subject::Config => config(sources),
        Subject::Version => vec![vec![
            format!("sharding router {}", env!("CARGO_PKG_VERSION")).into(),
        ]],
        Subject::Help => HELP
            .iter()
            .map(|(command, meaning)| vec![(*command).into(), (*meaning).into()])
            .collect(),
    };
    Table {
        columns: subject.columns(),
        rows,
    }
}

fn role(serving: &Serving, pool: &Pool) -> &'static str {
    let index = serving.snapshot.index_of(pool.shard());
    let shard = index.and_then(|index| serving.snapshot.shard(index));
    match shard {
        Some(shard) if shard.primary_endpoint == *pool.endpoint() => "primary",
        Some(_) | None => "replica",
    }
}

fn pools(serving: &Serving, sources: &Sources<'_>) -> Vec<Vec<Value>> {
    let user = sources.core.config.security.shard_user.as_str();
    let row = |pool: &Pool| {
        let (standing, endpoint) = (pool.standing(), pool.endpoint());
        let holds = |client: &&Client| {
            let held = client.held.as_ref();
            held.is_some_and(|held| held.endpoint == *endpoint)
        };
        vec![
            endpoint.database().into(),
            user.into(),
            sources.clients.iter().filter(holds).count().into(),
            standing.waiting.into(),
            standing.backends.saturating_sub(standing.idle).into(),
            standing.idle.into(),
            0_u32.into(),
            0_u32.into(),
            standing.logins.into(),
            standing.longest_wait.as_secs().into(),
            standing.longest_wait.subsec_micros().into(),
            "transaction".into(),
            pool.shard().as_str().into(),
            role(serving, pool).into(),
            endpoint.host().into(),
            u32::from(endpoint.port()).into(),
            pool.is_paused().into(),
            serving.snapshot.epoch().0.into(),
        ]
    };
    serving.pools().map(row).collect()
}

fn clients(serving: &Serving, sources: &Sources<'_>) -> Vec<Vec<Value>> {
    let shard_of = |held: &Arc<CancelTarget>| {
        let pool = serving
            .pools()
            .find(|pool| *pool.endpoint() == held.endpoint);
        pool.map(|pool| pool.shard().to_string())
    };
    let row = |client: &Client| {
        let held = client.held.as_ref();
        let waiting = client.waiting.unwrap_or_default();
        vec![
            "C".into(),
            client.user.as_str().into(),
            client.database.as_str().into(),
            client.state().into(),
            client.peer.map(|peer| peer.ip().to_string()).into(),
            client.peer.map(|peer| u32::from(peer.port())).into(),
            moment(client.connected).into(),
            client.requested.map(moment).into(),
            waiting.as_secs().into(),
            waiting.subsec_micros().into(),
            held.map(|held| held.endpoint.to_string()).into(),
            held.map_or(Value::Null, |held| Value::Int(i64::from(held.process_id))),
            if client.encrypted { "TLS" } else { "" }.into(),
            client.application.as_str().into(),
            client.id.into(),
            held.and_then(shard_of).into(),
        ]
    };
    sources.clients.iter().map(row).collect()
}

fn servers(serving: &Serving, sources: &Sources<'_>) -> Vec<Vec<Value>> {
    let user = sources.core.config.security.shard_user.as_str();
    let mut rows = Vec::new();
    for pool in serving.pools() {
        for backend in pool.list() {
            let holds = |client: &&Client| {
                let held = client.held.as_ref();
                held.is_some_and(|held| Arc::ptr_eq(held, &backend.cancel))
            };
            let client = sources.clients.iter().find(holds);
            let state = if backend.is_lent() { "active" } else { "idle" };
            rows.push(vec![
                "S".into(),
                user.into(),
                pool.endpoint().database().into(),
                state.into(),
                backend.peer.map(|peer| peer.ip().to_string()).into(),
                backend.peer.map(|peer| u32::from(peer.port())).into(),
                backend.local.map(|local| local.ip().to_string()).into(),
                backend.local.map(|local| u32::from(local.port())).into(),
                moment(backend.connected).into(),
                pool.is_outdated(&backend).into(),
                client.map(|client| client.id).into(),
                Value::Int(i64::from(backend.cancel.process_id)),
                client.map(|client| client.application.clone()).into(),
                format!("{}/{}", pool.shard(), backend.number).into(),
                pool.shard().as_str().into(),
            ]);
        }
    }
    rows
}

fn stats(serving: &Serving) -> Vec<Vec<Value>> {
    // The counters are by shard; a shard may have several pools.
    let mut shards: BTreeMap<&str, (&Pool, u64, u64)> = BTreeMap::new();
    for pool in serving.pools() {
        let standing = pool.standing();
        let (_, loans, closed) = shards.entry(pool.shard().as_str()).or_insert((pool, 0, 0));
        *loans += standing.loans;
        *closed += standing.closed;
    }
    let row = |(shard, (pool, loans, closed)): (&str, (&Pool, u64, u64))| {
        let totals = pool.totals();
        let requests = totals.success + totals.error;
        vec![
            pool.endpoint().database().into(),
            shard.into(),
            loans.into(),
            requests.into(),
            totals.sent.into(),
            totals.received.into(),
            micros(totals.query_time).into(),
            micros(totals.wait_time).into(),
            micros(totals.query_time)
                .checked_div(requests)
                .unwrap_or(0)
                .into(),
            micros(totals.wait_time)
                .checked_div(totals.waits)
                .unwrap_or(0)
                .into(),
            totals.error.into(),
            totals.waits.into(),
            closed.into(),
            serving.snapshot.epoch().0.into(),
        ]
    };
    shards.into_iter().map(row).collect()
}

fn routes(serving: &Serving, core: &Core) -> Vec<Vec<Value>> {
    let mut known = core.cache.most_used(MAX_ROUTES);
    known.sort_by_key(|(_, planned)| std::cmp::Reverse(planned.hits()));
    let mut rows = Vec::new();
    for (text, planned) in known {
        let plans = planned.newest();
        // A shard's index belongs to its own epoch.
        let current = plans.epoch() == serving.snapshot.epoch();
        let words = plans
            .plans
            .first()
            .filter(|_| current)
            .map(|plan| route::words(plan, &serving.snapshot));
        let several = plans.plans.len() > 1;
        let (name, shard, reason) = match words {
            Some(words) if !several => (words.route, words.shard, words.reason),
            Some(_) => ("script", None, None),
            None if current => ("none", None, None),
            None => ("outdated", None, None),
        };
        rows.push(vec![
            planned.hits().into(),
            name.into(),
            shard.into(),
            reason.into(),
            plans.epoch().0.into(),
            text.chars().take(MAX_TEXT_CHARS).collect::<String>().into(),
        ]);
    }
    rows
}

fn config(sources: &Sources<'_>) -> Vec<Vec<Value>> {
    // Without a secret there is no default for all of them; which one it is is not shown.
    let env = BTreeMap::from([("JWT_SECRET".to_owned(), "-".repeat(32))]);
    let defaults = Config::parse("{}", &env).ok();
    let defaults = defaults.as_ref().map(settings::list).unwrap_or_default();
    let latest = settings::list(&sources.reload.latest());
    let running = settings::list(&sources.core.config);
    let value_of = |list: &[settings::Setting], key: &str| {
        let found = list.iter().find(|setting| setting.key == key);
        found.map(|setting| setting.value.clone())
    };
    let row = |setting: &settings::Setting| {
        let in_force = if setting.changeable {
            value_of(&latest, setting.key)
        } else {
            Some(setting.value.clone())
        };
        vec![
            setting.key.into(),
            in_force.into(),
            value_of(&defaults, setting.key).into(),
            if setting.changeable { "yes" } else { "no" }.into(),
        ]
    };
    running.iter().map(row).collect()
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

fn moment(time: SystemTime) -> String {
    humantime::format_rfc3339_seconds(time).to_string()
}
