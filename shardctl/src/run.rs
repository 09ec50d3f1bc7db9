//! Runs one command: asks the managers and hands back what to print. Prints nothing itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use proto::manager::v1 as pb;
use tokio::task::JoinSet;

use crate::args::{
    AddShard, AddTable, Args, Command, Global, Groups, Output, Promote, Ring, Routers, Shards,
    Tables,
};
use crate::client::{Ask, Managers};
use crate::context::{Place, settle};
use crate::error::Error;
use crate::names::Names;
use crate::renewal::Renewal;
use crate::report::{self, Report};
use crate::scrape::Scraper;

mod access;
mod audit;
mod backup;
mod context;
mod doctor;
mod pages;
mod reshard;
mod schema;
mod suggest;
mod top;
mod users;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Shards are asked for their sizes, and one may not answer.
const DEFAULT_PLAN_TIMEOUT: Duration = Duration::from_secs(30);

/// Routers, a fence command and a replica may each take their time.
const DEFAULT_PROMOTE_TIMEOUT: Duration = Duration::from_mins(3);

/// Counting reads every row.
const DEFAULT_COUNT_TIMEOUT: Duration = Duration::from_mins(5);

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    /// For standard output.
    pub text: String,
    /// What went wrong although there is something to print.
    pub failure: Option<Error>,
}

/// Runs a command.
///
/// # Errors
/// When there is nothing to print.
pub async fn run(args: Args) -> Result<Outcome, Error> {
    let Args { global, command } = args;
    // What asks nobody has to work where a context is wrong, too.
    match command {
        Command::Context(command) => context::run(command, &global),
        Command::Completion { shell } => Ok(pages::completion(shell)),
        Command::Man { to } => pages::man(&to),
        command => asked(command, global).await,
    }
}

async fn asked(command: Command, mut global: Global) -> Result<Outcome, Error> {
    let context = settle(&mut global)?;
    let output = global.output.unwrap_or(Output::Table);
    let default = default_timeout(&command);
    if let Command::Version { client: true } = command {
        return Ok(done(&version_of(Vec::new()), output));
    }
    let renewal = context.as_ref().and_then(|place| {
        let tokens = place.tokens.clone()?;
        Some(Renewal::new(place.clone(), tokens))
    });
    let session = Session {
        managers: Managers::try_new(&global, default)?.renewing(renewal),
        output,
        scraper: Scraper::try_new(&global)?,
        metrics: global.metrics.clone(),
        token_file: global.token_file.clone(),
        context,
    };
    let names = Names::of(&command);
    match carried_out(&session, command, &global).await {
        Err(error) => Err(session.suggest(error, &names).await),
        done => done,
    }
}

async fn carried_out(
    session: &Session,
    command: Command,
    global: &Global,
) -> Result<Outcome, Error> {
    match command {
        Command::Setup(login) => session.setup(login).await,
        Command::Login(login) => session.login(login).await,
        Command::Logout => session.logout().await,
        Command::Whoami => session.who_am_i().await,
        Command::Accounts(command) => session.accounts(command).await,
        Command::Keys(command) => session.keys(command).await,
        Command::Status => session.status().await,
        Command::Doctor(place) => session.doctor(place).await,
        Command::Top(flags) => session.top(flags).await,
        Command::Context(command) => context::run(command, global),
        Command::Completion { shell } => Ok(pages::completion(shell)),
        Command::Man { to } => pages::man(&to),
        Command::Shards(command) => session.shards(command).await,
        Command::Tables(command) => session.tables(command).await,
        Command::Groups(command) => session.groups(command).await,
        Command::Users(command) => session.users(command).await,
        Command::Schema(command) => session.schema(command).await,
        Command::Audit(command) => session.audit(command).await,
        Command::Backup(command) => backup::backup(command, session.output).await,
        Command::Restore(command) => backup::restore(command, session.output).await,
        Command::Ring(Ring::Show) => session.ring().await,
        Command::Routers(Routers::List) => session.routers().await,
        Command::Plan(plan) => session.plan(plan).await,
        Command::Reshard(command) => session.reshard(command).await,
        Command::Route { key, group } => session.route(key, group).await,
        Command::Version { client: _ } => session.version().await,
    }
}

fn default_timeout(command: &Command) -> Duration {
    match command {
        Command::Tables(Tables::Count { .. }) => DEFAULT_COUNT_TIMEOUT,
        // With a fenced primary's last log, and the checkpoint that may be due.
        Command::Shards(Shards::Promote(_)) => DEFAULT_PROMOTE_TIMEOUT,
        Command::Plan(_)
        | Command::Reshard(_)
        | Command::Schema(_)
        | Command::Audit(_)
        | Command::Doctor(_) => DEFAULT_PLAN_TIMEOUT,
        Command::Status
        | Command::Top(_)
        | Command::Context(_)
        | Command::Completion { .. }
        | Command::Man { .. }
        | Command::Setup(_)
        | Command::Login(_)
        | Command::Logout
        | Command::Whoami
        | Command::Accounts(_)
        | Command::Keys(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Shards(_)
        | Command::Tables(_)
        | Command::Groups(_)
        | Command::Users(_)
        | Command::Ring(_)
        | Command::Routers(_)
        | Command::Route { .. }
        | Command::Version { .. } => DEFAULT_TIMEOUT,
    }
}

fn done(report: &impl Report, output: Output) -> Outcome {
    Outcome {
        text: report::render(report, output),
        failure: None,
    }
}

fn version_of(managers: Vec<(String, Result<String, String>)>) -> report::version::Version {
    report::version::Version::new(env!("CARGO_PKG_VERSION"), managers)
}

/// One command's managers and form of output.
struct Session {
    managers: Managers,
    output: Output,
    /// Where the token is kept.
    token_file: Option<PathBuf>,
    /// Reads metrics.
    scraper: Scraper,
    /// Metrics ports that were named.
    metrics: Vec<String>,
    /// The context in force, which keeps the token where no file does.
    context: Option<Place>,
}

impl Session {
    fn done(&self, report: &impl Report) -> Outcome {
        done(report, self.output)
    }

    /// Asks every manager what it is and sees, all at once.
    async fn statuses(&self) -> Vec<(String, Result<pb::GetStatusResponse, Error>)> {
        let mut asking = JoinSet::new();
        for (index, (address, manager)) in self.managers.each().enumerate() {
            asking.spawn(async move {
                let ask = Ask::read("read the status", "status");
                let send = |mut services: crate::client::Services| async move {
                    services.topology.get_status(pb::GetStatusRequest {}).await
                };
                (index, address, manager.ask(&ask, send).await)
            });
        }
        let mut answers = asking.join_all().await;
        answers.sort_by_key(|(index, _, _)| *index);
        answers
            .into_iter()
            .map(|(_, address, answer)| (address, answer))
            .collect()
    }

    async fn status(&self) -> Result<Outcome, Error> {
        let answers = self.statuses().await;
        // The leader's own view is the newest; without it, that of the first that answered.
        let is_answer = |(_, answer): &(String, Result<pb::GetStatusResponse, Error>)| {
            answer.as_ref().ok().map(|answer| answer.is_leader)
        };
        let position = answers
            .iter()
            .position(|answer| is_answer(answer) == Some(true));
        let position = position.or_else(|| answers.iter().position(|a| is_answer(a).is_some()));
        let chosen = position.and_then(|index| answers.get(index));
        let Some((address, Ok(chosen))) = chosen else {
            return Err(nobody(answers));
        };
        let (address, chosen) = (address.clone(), chosen.clone());
        let manager = self.managers.each().find(|(each, _)| *each == address);
        let manager = manager.map_or_else(|| self.managers.clone(), |(_, manager)| manager);
        let ask = Ask::read("read the topology", "status");
        let topology = manager.ask(&ask, |mut services| async move {
            services
                .topology
                .get_topology(pb::GetTopologyRequest {})
                .await
        });
        let topology = topology.await?;
        let text = |(address, answer): (String, Result<_, Error>)| {
            (address, answer.map_err(|error| reason(&error)))
        };
        let answers = answers.into_iter().map(text).collect();
        Ok(self.done(&report::status::Status::new(answers, &chosen, topology)))
    }

    async fn version(&self) -> Result<Outcome, Error> {
        let answers = self.statuses().await;
        let versions = answers.iter().map(|(address, answer)| {
            let version = answer.as_ref().map(|answer| answer.version.clone());
            (address.clone(), version.map_err(reason))
        });
        let report = version_of(versions.collect());
        let answered = answers.iter().any(|(_, answer)| answer.is_ok());
        Ok(Outcome {
            text: report::render(&report, self.output),
            failure: (!answered).then(|| nobody(answers)),
        })
    }

    async fn shards(&self, command: Shards) -> Result<Outcome, Error> {
        match command {
            Shards::List => {
                let ask = Ask::read("list the shards", "status");
                let answer = self.managers.ask(&ask, |mut services| async move {
                    services.shards.list_shards(pb::ListShardsRequest {}).await
                });
                Ok(self.done(&report::shards::Shards::from(answer.await?.shards)))
            }
            Shards::Show { id } => {
                let ask = Ask::read(format!("show shard {id:?}"), "shards list");
                let request = pb::GetShardRequest { id };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.shards.get_shard(request).await }
                });
                self.shard(&ask, answer.await?.shard)
            }
            Shards::Add(shard) => self.add_shard(shard).await,
            Shards::Promote(promote) => self.promote_shard(promote).await,
            Shards::Remove { id } => {
                let ask = Ask::change(format!("remove shard {id:?}"), "shards list");
                let request = pb::DeleteShardRequest { id: id.clone() };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.shards.delete_shard(request).await }
                });
                answer.await?;
                Ok(self.done(&report::removed::Removed::new("shard", id)))
            }
        }
    }

    async fn promote_shard(&self, promote: Promote) -> Result<Outcome, Error> {
        let ask = Ask::change(format!("promote shard {:?}", promote.id), "shards show");
        let request = pb::PromoteShardRequest {
            id: promote.id,
            to: promote.to.unwrap_or_default(),
            dry_run: promote.dry_run,
            accept_loss: promote.accept_loss,
            old_primary_is_down: promote.old_primary_is_down,
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.shards.promote_shard(request).await }
        });
        let promotion = answer.await?.promotion.unwrap_or_default();
        Ok(self.done(&report::promotion::Promotion::from(promotion)))
    }

    async fn add_shard(&self, shard: AddShard) -> Result<Outcome, Error> {
        let ask = Ask::change(format!("add shard {:?}", shard.name), "shards list");
        let request = pb::CreateShardRequest {
            name: shard.name,
            primary_endpoint: shard.endpoint,
            replicas: shard.replicas,
            vnode_count: shard.vnodes.unwrap_or(0),
            weight: shard.weight.unwrap_or(0),
            idempotency_key: shard.idempotency_key.unwrap_or_default(),
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.shards.create_shard(request).await }
        });
        self.shard(&ask, answer.await?.shard)
    }

    fn shard(&self, ask: &Ask, shard: Option<pb::Shard>) -> Result<Outcome, Error> {
        let shard = shard.ok_or_else(|| lacks(ask, "shard"))?;
        Ok(self.done(&report::shards::Shard::from(shard)))
    }

    async fn tables(&self, command: Tables) -> Result<Outcome, Error> {
        match command {
            Tables::List => Ok(self.done(&report::tables::Tables::from(
                self.registered_tables().await?,
            ))),
            Tables::Add(table) => self.add_table(table).await,
            Tables::Remove { name } => {
                let ask = Ask::change(format!("remove table {name:?}"), "tables list");
                let request = pb::DeleteTableRequest { name: name.clone() };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.tables.delete_table(request).await }
                });
                answer.await?;
                Ok(self.done(&report::removed::Removed::new("table", name)))
            }
            Tables::Count { name } => self.count(name).await,
        }
    }

    async fn registered_tables(&self) -> Result<Vec<pb::Table>, Error> {
        let ask = Ask::read("list the tables", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.tables.list_tables(pb::ListTablesRequest {}).await
        });
        Ok(answer.await?.tables)
    }

    async fn add_table(&self, table: AddTable) -> Result<Outcome, Error> {
        let ask = Ask::change(format!("add table {:?}", table.name), "tables list");
        let kind = match (table.reference, &table.unsharded) {
            (true, _) => "reference",
            (false, Some(_)) => "unsharded",
            (false, None) => "sharded",
        };
        let request = pb::CreateTableRequest {
            name: table.name,
            kind: kind.to_owned(),
            shard_key: table.shard_key.unwrap_or_default(),
            key_type: table
                .key_type
                .map_or("", |key_type| key_type.as_str())
                .to_owned(),
            group: table.group.unwrap_or_default(),
            shard_id: table.unsharded.unwrap_or_default(),
            ..pb::CreateTableRequest::default()
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.tables.create_table(request).await }
        });
        let table = answer.await?.table.ok_or_else(|| lacks(&ask, "table"))?;
        Ok(self.done(&report::tables::Table::from(table)))
    }

    async fn count(&self, name: Option<String>) -> Result<Outcome, Error> {
        let action = name
            .as_ref()
            .map(|name| format!("count the rows of table {name:?}"));
        let ask = Ask::read(
            action.unwrap_or_else(|| "count the rows".to_owned()),
            "tables list",
        );
        let kinds = self.registered_tables().await?.into_iter();
        let kinds: BTreeMap<_, _> = kinds.map(|table| (table.name, table.kind)).collect();
        let request = pb::CountRowsRequest {
            table: name.unwrap_or_default(),
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.tables.count_rows(request).await }
        });
        let counts = report::count::Counts::new(answer.await?.counts, &kinds);
        let shards = counts.uncounted();
        let failure = (!shards.is_empty()).then_some(Error::Uncounted { shards });
        Ok(Outcome {
            text: report::render(&counts, self.output),
            failure,
        })
    }

    async fn groups(&self, command: Groups) -> Result<Outcome, Error> {
        match command {
            Groups::List => {
                let ask = Ask::read("list the groups", "status");
                let answer = self.managers.ask(&ask, |mut services| async move {
                    services.tables.list_groups(pb::ListGroupsRequest {}).await
                });
                Ok(self.done(&report::groups::Groups::from(answer.await?.groups)))
            }
            Groups::Add { name, key_type } => {
                let ask = Ask::change(format!("add group {name:?}"), "groups list");
                let key_type = key_type.as_str().to_owned();
                let request = pb::CreateGroupRequest { name, key_type };
                let answer = self.managers.ask(&ask, |mut services| {
                    let request = request.clone();
                    async move { services.tables.create_group(request).await }
                });
                let group = answer.await?.group.ok_or_else(|| lacks(&ask, "group"))?;
                Ok(self.done(&report::groups::Group::from(group)))
            }
        }
    }

    async fn routers(&self) -> Result<Outcome, Error> {
        let ask = Ask::read("list the routers", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            let request = pb::ListRoutersRequest {};
            services.topology.list_routers(request).await
        });
        Ok(self.done(&report::routers::Routers::from(answer.await?)))
    }

    async fn ring(&self) -> Result<Outcome, Error> {
        let ask = Ask::read("read the ring", "status");
        let answer = self.managers.ask(&ask, |mut services| async move {
            services.topology.get_ring(pb::GetRingRequest {}).await
        });
        Ok(self.done(&report::ring::Ring::from(answer.await?)))
    }

    async fn route(&self, key: String, group: String) -> Result<Outcome, Error> {
        let ask = Ask::read(format!("route key {key:?}"), "groups list");
        let request = pb::ShardForKeyRequest {
            key: key.clone(),
            group: group.clone(),
        };
        let answer = self.managers.ask(&ask, |mut services| {
            let request = request.clone();
            async move { services.topology.shard_for_key(request).await }
        });
        Ok(self.done(&report::route::Route::new(key, group, answer.await?)))
    }
}

fn lacks(ask: &Ask, missing: &'static str) -> Error {
    Error::BadAnswer {
        action: ask.action.clone(),
        missing,
    }
}

/// Why one manager did not answer, without its address, which stands beside it.
fn reason(error: &Error) -> String {
    match error {
        Error::Unavailable { tried } => tried
            .first()
            .map_or_else(|| error.to_string(), |(_, reason)| reason.clone()),
        Error::Refused { message, .. } => message.clone(),
        Error::BadAddress { .. }
        | Error::NoAddress
        | Error::BadToken
        | Error::BadTokenFile { .. }
        | Error::BadCa { .. }
        | Error::NoCa { .. }
        | Error::NoPassword
        | Error::BadPassword { .. }
        | Error::OutcomeUnknown { .. }
        | Error::BadAnswer { .. }
        | Error::JobEnded { .. }
        | Error::SchemasDiffer { .. }
        | Error::AuditBroken { .. }
        | Error::NotRepaired { .. }
        | Error::BadConfig { .. }
        | Error::NoHome
        | Error::NoContext { .. }
        | Error::NoCurrentContext
        | Error::Unwritable { .. }
        | Error::Unwell { .. }
        | Error::Backup(_)
        | Error::Uncounted { .. } => error.to_string(),
    }
}

/// Every manager's reason in one error; a refusal comes before an absence, since it says more.
fn nobody(answers: Vec<(String, Result<pb::GetStatusResponse, Error>)>) -> Error {
    let mut tried = Vec::new();
    for (address, answer) in answers {
        match answer {
            Err(error @ Error::Refused { .. }) => return error,
            Err(error) => tried.push((address, reason(&error))),
            Ok(_) => {}
        }
    }
    Error::Unavailable { tried }
}
