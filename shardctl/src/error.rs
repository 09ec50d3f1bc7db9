//! What can go wrong, what a person should do about it, and the exit code that a script sees.

use tonic::Code;

/// Why a command ended badly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address that is not one.
    #[error("manager address {address:?} is not a URL such as http://127.0.0.1:50052")]
    BadAddress {
        /// As it was given.
        address: String,
    },
    /// `--manager` holds nothing.
    #[error("--manager names no address")]
    NoAddress,
    /// The token cannot travel in a header.
    #[error("--token holds characters that a bearer token cannot have")]
    BadToken,
    /// The file of `--token-file`.
    #[error("token file {path} cannot be used: {reason}")]
    BadTokenFile {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file of `--ca`.
    #[error("certificate file {path} is not readable: {reason}")]
    BadCa {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nothing where a password should be.
    #[error("no password is given")]
    NoPassword,
    /// A password that cannot be read.
    #[error("password is not readable from {from}: {reason}")]
    BadPassword {
        /// The file, or what else it was to come from.
        from: String,
        /// What is wrong.
        reason: String,
    },
    /// An https address, and nothing to check its certificate against.
    #[error("{address} is https, which needs a certificate authority")]
    NoCa {
        /// The address.
        address: String,
    },
    /// No manager answered, and the request certainly had no effect.
    #[error("no manager answers: {}", list(.tried))]
    Unavailable {
        /// Each address with the reason.
        tried: Vec<(String, String)>,
    },
    /// A change was sent and its answer was lost.
    #[error("cannot tell whether the manager did {action}: {reason}")]
    OutcomeUnknown {
        /// What was asked, e.g. `add shard "a"`.
        action: String,
        /// What became of the answer.
        reason: String,
        /// The command that shows the present state.
        see: &'static str,
    },
    /// The manager answered no.
    #[error("cannot {action}: {message}")]
    Refused {
        /// What was asked, e.g. `add shard "a"`.
        action: String,
        /// The manager's reason.
        message: String,
        /// The manager's gRPC code.
        code: Code,
        /// The command that shows the present state.
        see: &'static str,
        /// The name that is spelt nearly as one that was given.
        meant: Option<String>,
    },
    /// The manager's answer lacks what it must hold.
    #[error("the manager's answer to {action} holds no {missing}")]
    BadAnswer {
        /// What was asked.
        action: String,
        /// The field.
        missing: &'static str,
    },
    /// A job that was waited for ended otherwise than was meant.
    #[error("job {id} is {status}{}", because(.reason))]
    JobEnded {
        /// The job.
        id: String,
        /// How it ended.
        status: String,
        /// The manager's reason; may be empty.
        reason: String,
    },
    /// The shards' schemas are not the same.
    #[error("the shards' schemas differ in {count} objects")]
    SchemasDiffer {
        /// In how many.
        count: usize,
    },
    /// The audit log is not what was written.
    #[error("the audit log is not what was written, in {count} places")]
    AuditBroken {
        /// In how many.
        count: usize,
    },
    /// A repair leaves something to be done.
    #[error("{count} objects are left to be settled by hand")]
    NotRepaired {
        /// How many.
        count: usize,
    },
    /// A backup was not taken, is not whole or was not restored.
    #[error(transparent)]
    Backup(#[from] crate::backup::Error),
    /// The file with contexts.
    #[error("{path} cannot be used: {reason}")]
    BadConfig {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nowhere to keep contexts.
    #[error("there is no place for contexts: HOME is not set")]
    NoHome,
    /// No context of this name.
    #[error("there is no context {name:?}")]
    NoContext {
        /// As it was given.
        name: String,
        /// The one that is spelt nearly so.
        meant: Option<String>,
    },
    /// None was named, and none holds.
    #[error("no context is in force")]
    NoCurrentContext,
    /// A folder that is not written to.
    #[error("{path} is not writable: {reason}")]
    Unwritable {
        /// The folder.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A check-up found failures.
    #[error("the check-up found {failures} failures")]
    Unwell {
        /// How many.
        failures: usize,
    },
    /// Some shards could not be asked for their rows.
    #[error("rows could not be counted on every shard: {}", list(.shards))]
    Uncounted {
        /// Each shard with the reason.
        shards: Vec<(String, String)>,
    },
}

impl Error {
    /// The exit code; `help::EXIT_CODES` and docs/shardctl.md list them.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadAnswer { .. }
            | Self::JobEnded { .. }
            | Self::SchemasDiffer { .. }
            | Self::AuditBroken { .. }
            | Self::NotRepaired { .. }
            | Self::Backup(_)
            | Self::Unwritable { .. }
            | Self::Unwell { .. }
            | Self::Uncounted { .. } => 1,
            Self::NoContext { .. } | Self::NoCurrentContext => 3,
            Self::BadAddress { .. }
            | Self::NoAddress
            | Self::BadToken
            | Self::BadTokenFile { .. }
            | Self::BadCa { .. }
            | Self::NoCa { .. }
            | Self::NoPassword
            | Self::BadConfig { .. }
            | Self::NoHome
            | Self::BadPassword { .. } => 2,
            Self::Refused { code, .. } if *code == Code::NotFound => 3,
            Self::Refused { .. } => 1,
            Self::Unavailable { .. } => 4,
            Self::OutcomeUnknown { .. } => 5,
        }
    }

    /// What to do about it, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::BadAddress { .. } | Self::NoAddress => {
                Some("name running managers with --manager or SHARDCTL_MANAGER".to_owned())
            }
            Self::Unavailable { tried } => Some(hint_for_nobody(tried)),
            Self::BadConfig { path, .. } => Some(format!(
                "mend it or remove it; it is to be for you alone: chmod 600 {path}"
            )),
            Self::NoHome => Some("name a file with SHARDCTL_CONFIG".to_owned()),
            Self::NoContext {
                meant: Some(meant), ..
            }
            | Self::Refused {
                meant: Some(meant), ..
            } => Some(format!("did you mean {meant}?")),
            Self::NoContext { meant: None, .. } | Self::NoCurrentContext => {
                Some("see what there is: shardctl context list".to_owned())
            }
            Self::Unwritable { .. } => None,
            Self::Unwell { .. } => Some("each line with fail says what to do".to_owned()),
            Self::BadToken => Some("look for quotes or line breaks in SHARDCTL_TOKEN".to_owned()),
            Self::NoCa { .. } => Some("pass its PEM file with --ca or SHARDCTL_CA".to_owned()),
            Self::NoPassword | Self::BadPassword { .. } => Some(
                "give it by --password-file, SHARDCTL_USER_PASSWORD or standard input".to_owned(),
            ),
            Self::BadTokenFile { .. } => {
                Some("log in again: shardctl login NAME --token-file FILE".to_owned())
            }
            Self::BadCa { .. } => Some("--ca, --cert and --key take PEM files".to_owned()),
            Self::OutcomeUnknown { see, .. } => {
                Some(format!("look before trying again: shardctl {see}"))
            }
            Self::Refused { code, see, .. } => hint_for(*code, see),
            Self::BadAnswer { .. } => Some(OTHER_VERSION.to_owned()),
            Self::JobEnded { id, .. } => {
                Some(format!("see where it stands: shardctl reshard status {id}"))
            }
            Self::SchemasDiffer { .. } => Some(
                "create what is missing: shardctl schema repair --from <shard> --to <shard>"
                    .to_owned(),
            ),
            Self::AuditBroken { .. } => Some(
                "compare it with the audit files of the managers, which hold the same lines"
                    .to_owned(),
            ),
            Self::NotRepaired { .. } => {
                Some("run the statements that fit on the shard itself".to_owned())
            }
            Self::Backup(error) => error.hint().map(str::to_owned),
            Self::Uncounted { .. } => Some("see which shards answer: shardctl status".to_owned()),
        }
    }
}

const OTHER_VERSION: &str = "the manager may be of another version: shardctl version";

fn hint_for(code: Code, see: &str) -> Option<String> {
    match code {
        Code::Unauthenticated => Some(
            "log in: shardctl login NAME; or pass a token with --token or SHARDCTL_TOKEN"
                .to_owned(),
        ),
        Code::NotFound => Some(format!("see what there is: shardctl {see}")),
        Code::FailedPrecondition | Code::AlreadyExists | Code::Aborted => {
            Some(format!("see the present state: shardctl {see}"))
        }
        Code::Unimplemented => Some(OTHER_VERSION.to_owned()),
        Code::DeadlineExceeded => Some("wait longer with --timeout".to_owned()),
        Code::Internal | Code::Unknown | Code::DataLoss => {
            Some("the manager's log says more".to_owned())
        }
        Code::Ok
        | Code::Cancelled
        | Code::InvalidArgument
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::OutOfRange
        | Code::Unavailable => None,
    }
}

/// What to do when no manager answers, by what kept them from it.
fn hint_for_nobody(tried: &[(String, String)]) -> String {
    let any = |word: &str| {
        tried
            .iter()
            .any(|(_, why)| why.to_lowercase().contains(word))
    };
    let first = if any("refused") {
        "nothing listens there: start a manager, or "
    } else if any("no answer within") || any("timed out") {
        "look whether a firewall is between, wait longer with --timeout, or "
    } else if any("certificate") || any("tls") || any("frame") {
        "look whether the manager serves TLS (https, --ca), or "
    } else if any("lookup") || any("resolve") {
        "the name is not known here: mend it, or "
    } else {
        ""
    };
    format!("{first}name running managers with --manager, SHARDCTL_MANAGER or a context")
}

fn because(reason: &str) -> String {
    if reason.is_empty() {
        String::new()
    } else {
        format!(": {reason}")
    }
}

fn list(reasons: &[(String, String)]) -> String {
    let reasons = reasons.iter().map(|(at, why)| format!("{at}: {why}"));
    reasons.collect::<Vec<_>>().join("; ")
}
