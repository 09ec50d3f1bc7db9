//! Pure: what an operator may type.

use topology::ShardId;

use super::Column;
use super::table::Column::{Int, Text};
use crate::route::Refusal;

/// Something to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Pools of backends.
    Pools,
    /// Connected clients.
    Clients,
    /// Backends.
    Servers,
    /// Shards of the topology.
    Shards,
    /// Vnodes of the ring.
    Ring,
    /// Statements whose plan is remembered.
    Routes,
    /// Counters by shard.
    Stats,
    /// The configuration.
    Config,
    /// The version.
    Version,
    /// The commands.
    Help,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `SHOW subject`.
    Show(Subject),
    /// `PAUSE [shard]`.
    Pause(Option<ShardId>),
    /// `RESUME [shard]`.
    Resume(Option<ShardId>),
    /// `RECONNECT [shard]`.
    Reconnect(Option<ShardId>),
    /// `RELOAD`.
    Reload,
    /// `BEGIN`, which drivers send before anything else. Nothing here is transactional.
    Begin,
    /// `COMMIT` or `ROLLBACK`, by its tag.
    End(&'static str),
    /// `SET ...`, which drivers send at the start. Nothing is set.
    Set,
    /// No word at all.
    Empty,
}

/// Each subject with its name.
const SUBJECTS: &[(&str, Subject)] = &[
    ("POOLS", Subject::Pools),
    ("CLIENTS", Subject::Clients),
    ("SERVERS", Subject::Servers),
    ("SHARDS", Subject::Shards),
    ("RING", Subject::Ring),
    ("ROUTES", Subject::Routes),
    ("STATS", Subject::Stats),
    ("CONFIG", Subject::Config),
    ("VERSION", Subject::Version),
    ("HELP", Subject::Help),
];

/// What `SHOW HELP` says.
pub(super) const HELP: &[(&str, &str)] = &[
    ("SHOW POOLS", "clients and backends by pool"),
    ("SHOW CLIENTS", "connected clients of the Postgres front"),
    ("SHOW SERVERS", "backends"),
    ("SHOW SHARDS", "shards of the topology that is served"),
    ("SHOW RING", "vnodes and the tokens they own"),
    ("SHOW ROUTES", "remembered statements, the most used first"),
    ("SHOW STATS", "counters by shard since the start"),
    ("SHOW CONFIG", "the configuration, without secrets"),
    ("SHOW VERSION", "the router's version"),
    (
        "PAUSE [shard]",
        "wait until backends are idle, close them, lend none",
    ),
    ("RESUME [shard]", "end a pause"),
    (
        "RECONNECT [shard]",
        "close idle backends now, busy ones after use",
    ),
    ("RELOAD", "read users, certificates and the log level again"),
];

impl Command {
    /// Reads one command, without or with the semicolon at its end.
    ///
    /// # Errors
    /// The [`Refusal`] to send to the operator.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let text = text.trim().trim_end_matches(';').trim_end();
        let words: Vec<&str> = text.split_whitespace().collect();
        let Some((first, rest)) = words.split_first() else {
            return Ok(Self::Empty);
        };
        let verb = first.to_ascii_uppercase();
        match (verb.as_str(), rest) {
            ("SHOW", [subject]) => subject_of(subject).map(Self::Show),
            ("HELP", []) => Ok(Self::Show(Subject::Help)),
            ("PAUSE", shard) => Ok(Self::Pause(optional_shard(shard, text)?)),
            ("RESUME", shard) => Ok(Self::Resume(optional_shard(shard, text)?)),
            ("RECONNECT", shard) => Ok(Self::Reconnect(optional_shard(shard, text)?)),
            ("RELOAD", []) => Ok(Self::Reload),
            ("BEGIN", _) | ("START", [_, ..]) => Ok(Self::Begin),
            ("COMMIT" | "END", _) => Ok(Self::End("COMMIT")),
            ("ROLLBACK" | "ABORT", _) => Ok(Self::End("ROLLBACK")),
            ("SET" | "RESET", [_, ..]) => Ok(Self::Set),
            (_, _) => Err(unknown(text)),
        }
    }

    /// The columns of its answer; none when it answers without rows.
    #[must_use]
    pub fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Show(subject) => Some(subject.columns()),
            Self::Pause(_)
            | Self::Resume(_)
            | Self::Reconnect(_)
            | Self::Reload
            | Self::Begin
            | Self::End(_)
            | Self::Set
            | Self::Empty => None,
        }
    }

    /// What CommandComplete says.
    #[must_use]
    pub fn tag(&self) -> &'static str {
        match self {
            Self::Show(_) => "SHOW",
            Self::Pause(_) => "PAUSE",
            Self::Resume(_) => "RESUME",
            Self::Reconnect(_) => "RECONNECT",
            Self::Reload => "RELOAD",
            Self::Begin => "BEGIN",
            Self::End(tag) => tag,
            Self::Set => "SET",
            Self::Empty => "",
        }
    }
}

impl Subject {
    /// The columns of its table. Those that PgBouncer has are called as there.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn columns(self) -> &'static [Column] {
        match self {
            Self::Pools => &[
                Text("database"),
                Text("user"),
                Int("cl_active"),
                Int("cl_waiting"),
                Int("sv_active"),
                Int("sv_idle"),
                Int("sv_used"),
                Int("sv_tested"),
                Int("sv_login"),
                Int("maxwait"),
                Int("maxwait_us"),
                Text("pool_mode"),
                Text("shard_id"),
                Text("role"),
                Text("addr"),
                Int("port"),
                Int("paused"),
                Int("epoch"),
            ],
            Self::Clients => &[
                Text("type"),
                Text("user"),
                Text("database"),
                Text("state"),
                Text("addr"),
                Int("port"),
                Text("connect_time"),
                Text("request_time"),
                Int("wait"),
                Int("wait_us"),
                Text("link"),
                Int("remote_pid"),
                Text("tls"),
                Text("application_name"),
                Int("id"),
                Text("shard_id"),
            ],
            Self::Servers => &[
                Text("type"),
                Text("user"),
                Text("database"),
                Text("state"),
                Text("addr"),
                Int("port"),
                Text("local_addr"),
                Int("local_port"),
                Text("connect_time"),
                Int("close_needed"),
                Int("link"),
                Int("remote_pid"),
                Text("application_name"),
                Text("id"),
                Text("shard_id"),
            ],
            Self::Shards => &[
                Text("shard_id"),
                Text("name"),
                Text("state"),
                Text("primary_endpoint"),
                Text("replicas"),
                Int("weight"),
                Int("vnodes"),
                Text("share"),
                Int("paused"),
                Int("epoch"),
            ],
            Self::Ring => &[
                Text("token"),
                Text("range_after"),
                Text("range_last"),
                Text("shard_id"),
                Int("epoch"),
            ],
            Self::Routes => &[
                Int("hits"),
                Text("route"),
                Text("shard_id"),
                Text("reason"),
                Int("epoch"),
                Text("query"),
            ],
            Self::Stats => &[
                Text("database"),
                Text("shard_id"),
                Int("total_server_assignment_count"),
                Int("total_query_count"),
                Int("total_received"),
                Int("total_sent"),
                Int("total_query_time"),
                Int("total_wait_time"),
                Int("avg_query_time"),
                Int("avg_wait_time"),
                Int("total_error_count"),
                Int("total_wait_count"),
                Int("total_server_closed_count"),
                Int("epoch"),
            ],
            Self::Config => &[
                Text("key"),
                Text("value"),
                Text("default"),
                Text("changeable"),
            ],
            Self::Version => &[Text("version")],
            Self::Help => &[Text("command"), Text("meaning")],
        }
    }
}

fn subject_of(word: &str) -> Result<Subject, Refusal> {
    let found = SUBJECTS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(word));
    found.map(|(_, subject)| *subject).ok_or_else(|| Refusal {
        sqlstate: "42704",
        message: format!("the console cannot show {:?}", clipped(word)),
        hint: Some("SHOW HELP lists what it can".to_owned()),
    })
}

fn optional_shard(words: &[&str], text: &str) -> Result<Option<ShardId>, Refusal> {
    match words {
        [] => Ok(None),
        [word] => {
            let name = word.trim_matches('"');
            let shard = ShardId::try_new(name).map_err(|error| Refusal {
                sqlstate: "42602",
                message: error.to_string(),
                hint: None,
            })?;
            Ok(Some(shard))
        }
        [_, _, ..] => Err(unknown(text)),
    }
}

fn unknown(text: &str) -> Refusal {
    Refusal {
        sqlstate: "42601",
        message: format!("the console does not know the command {:?}", clipped(text)),
        hint: Some("SHOW HELP lists the commands".to_owned()),
    }
}

/// So much of a text as a message should repeat.
fn clipped(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_in_any_case_and_with_or_without_a_semicolon() {
        assert_eq!(
            Command::parse(" show\n Pools ; "),
            Ok(Command::Show(Subject::Pools))
        );
        assert_eq!(Command::parse("PAUSE"), Ok(Command::Pause(None)));
        let shard = ShardId::try_new("shard-1").ok();
        assert_eq!(
            Command::parse("resume \"shard-1\""),
            Ok(Command::Resume(shard.clone()))
        );
        assert_eq!(
            Command::parse("RECONNECT shard-1;"),
            Ok(Command::Reconnect(shard))
        );
        assert_eq!(Command::parse(";"), Ok(Command::Empty));
        assert_eq!(Command::parse("begin read only"), Ok(Command::Begin));
    }

    #[test]
    fn what_is_no_command_is_refused_with_the_way_to_help() {
        for (text, sqlstate) in [
            ("SELECT 1", "42601"),
            ("SHOW", "42601"),
            ("SHOW TABLES", "42704"),
            ("PAUSE a b", "42601"),
            ("PAUSE Äpfel", "42602"),
        ] {
            assert_eq!(
                Command::parse(text).unwrap_err().sqlstate,
                sqlstate,
                "{text}"
            );
        }
    }

    #[test]
    fn every_subject_has_help() {
        for (name, _) in SUBJECTS.iter().filter(|(name, _)| *name != "HELP") {
            let command = format!("SHOW {name}");
            assert!(HELP.iter().any(|(known, _)| *known == command), "{name}");
        }
    }
}
