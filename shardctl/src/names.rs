//! Pure: the names of shards, tables and jobs that a command is about, and which of those that
//! exist was meant by one that does not.

use crate::args::reshard::{Plan, Reshard};
use crate::args::{Command, Promote, Schema, Shards, Tables};
use crate::near;

/// What a command names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) shards: Vec<String>,
    pub(crate) tables: Vec<String>,
    pub(crate) jobs: Vec<String>,
}

impl Names {
    /// What `command` names. Names that it gives to what is new are not among them.
    pub(crate) fn of(command: &Command) -> Self {
        match command {
            Command::Shards(command) => Self::shards(of_shards(command)),
            Command::Tables(command) => of_tables(command),
            Command::Schema(Schema::Repair { from, to, .. }) => Self::shards([from, to]),
            Command::Plan(plan) => Self::shards(of_plan(plan)),
            Command::Reshard(command) => of_reshard(command),
            Command::Schema(Schema::Diff)
            | Command::Status
            | Command::Doctor(_)
            | Command::Top(_)
            | Command::Context(_)
            | Command::Setup(_)
            | Command::Login(_)
            | Command::Logout
            | Command::Whoami
            | Command::Accounts(_)
            | Command::Keys(_)
            | Command::Groups(_)
            | Command::Users(_)
            | Command::Audit(_)
            | Command::Backup(_)
            | Command::Restore(_)
            | Command::Ring(_)
            | Command::Routers(_)
            | Command::Route { .. }
            | Command::Completion { .. }
            | Command::Man { .. }
            | Command::Version { .. } => Self::default(),
        }
    }

    fn shards<'a>(names: impl IntoIterator<Item = &'a String>) -> Self {
        // A shard that is registered on the way has its endpoint behind its name.
        let names = names.into_iter().filter(|name| !name.contains('='));
        Self {
            shards: names.cloned().collect(),
            ..Self::default()
        }
    }

    fn job(id: &str) -> Self {
        Self {
            jobs: vec![id.to_owned()],
            ..Self::default()
        }
    }
}

fn of_shards(command: &Shards) -> Vec<&String> {
    match command {
        Shards::List | Shards::Add(_) => Vec::new(),
        Shards::Show { id } | Shards::Promote(Promote { id, .. }) | Shards::Remove { id } => {
            vec![id]
        }
    }
}

fn of_tables(command: &Tables) -> Names {
    match command {
        Tables::List | Tables::Count { name: None } => Names::default(),
        Tables::Add(table) => Names::shards(&table.unsharded),
        Tables::Remove { name } | Tables::Count { name: Some(name) } => Names {
            tables: vec![name.clone()],
            ..Names::default()
        },
    }
}

fn of_plan(plan: &Plan) -> Vec<&String> {
    match plan {
        Plan::Split(what) => std::iter::once(&what.source).chain(&what.targets).collect(),
        Plan::Merge(what) => what.sources.iter().chain([&what.target]).collect(),
        Plan::Move(what) => vec![&what.from, &what.to],
        Plan::AddShard(what) => vec![&what.shard],
        Plan::Drain(what) => vec![&what.shard],
        Plan::Rebalance(_) => Vec::new(),
    }
}

fn of_reshard(command: &Reshard) -> Names {
    match command {
        Reshard::Split { what, how: _ } => {
            Names::shards(std::iter::once(&what.source).chain(&what.targets))
        }
        Reshard::Merge { what, how: _ } => Names::shards(what.sources.iter().chain([&what.target])),
        Reshard::Move { what, how: _ } => Names::shards([&what.from, &what.to]),
        Reshard::AddShard { what, how: _ } => Names::shards([&what.shard]),
        Reshard::Drain { what, how: _ } => Names::shards([&what.shard]),
        Reshard::Rebalance { .. } | Reshard::Run { .. } | Reshard::List => Names::default(),
        Reshard::Status { id } | Reshard::Wait { id } | Reshard::Pause { id } => Names::job(id),
        Reshard::Resume(ask)
        | Reshard::Cancel(ask)
        | Reshard::Rollback(ask)
        | Reshard::Finish(ask) => Names::job(&ask.id),
    }
}

/// The one of `known` that was meant by the first of `named` that is not among them. Tables of the
/// schema `public` go by their name alone, too.
pub(crate) fn meant(named: &[String], known: &[String]) -> Option<String> {
    let bare = |name: &'_ String| name.strip_prefix("public.").map(str::to_owned);
    let mut all: Vec<String> = known.iter().filter_map(bare).collect();
    all.extend_from_slice(known);
    let wrong = named.iter().find(|name| !all.contains(name))?;
    near::nearest(wrong, all.iter().map(String::as_str)).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::Args;

    fn of(line: &str) -> Names {
        Names::of(&Args::try_parse_from(line.split(' ')).unwrap().command)
    }

    #[test]
    fn a_command_names_what_must_exist() {
        assert_eq!(of("shardctl shards show a").shards, ["a"]);
        assert_eq!(of("shardctl shards list"), Names::default());
        assert_eq!(of("shardctl tables count t").tables, ["t"]);
        assert_eq!(of("shardctl reshard pause j").jobs, ["j"]);
        assert_eq!(
            of("shardctl plan merge a b --into c").shards,
            ["a", "b", "c"]
        );
        let line = "shardctl reshard split a --into a --into new=postgres://h/d";
        assert_eq!(of(line).shards, ["a", "a"]);
    }

    #[test]
    fn the_first_name_that_does_not_exist_is_mended() {
        let known = ["public.orders", "audit.orders", "clients"].map(str::to_owned);
        let mended = |name: &str| meant(&["clients".to_owned(), name.to_owned()], &known);
        assert_eq!(mended("ordres").as_deref(), Some("orders"));
        assert_eq!(mended("audti.orders").as_deref(), Some("audit.orders"));
        assert_eq!(mended("orders"), None);
        assert_eq!(mended("billing"), None);
    }
}
