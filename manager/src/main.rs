//! The manager's program: arguments, configuration, exit code.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use manager::app;
use manager::config::Config;
use platform::telemetry::error_chain;

/// The exit code of a wrong configuration (EX_CONFIG of sysexits.h).
const EX_CONFIG: u8 = 78;

/// The control plane of sharded PostgreSQL.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The configuration file, JSON.
    #[arg(long, env = "CONFIG_PATH", default_value = "configs/manager.json")]
    config: PathBuf,
    /// Say what is wrong with the configuration, and end
    #[arg(long, conflicts_with = "health")]
    check: bool,
    /// Ask the manager of this configuration, on this machine, whether it serves
    #[arg(long)]
    health: bool,
    /// Print every field of the configuration, a line of JSON each
    #[arg(long, conflicts_with_all = ["health", "check"])]
    fields: bool,
}

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "without a configuration there is no log"
)]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.fields {
        platform::config::print_fields(&Config::fields());
        return ExitCode::SUCCESS;
    }
    let config = match Config::load(&arguments.config, &environment()) {
        Ok(config) => config,
        Err(violations) => {
            eprintln!("{violations}");
            return ExitCode::from(EX_CONFIG);
        }
    };
    if arguments.check {
        return ExitCode::SUCCESS;
    }
    if arguments.health {
        return health(&config);
    }
    match app::run(config, arguments.config).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}", error_chain(&error));
            if error.is_of_config() {
                ExitCode::from(EX_CONFIG)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

#[expect(clippy::print_stderr, reason = "said to whoever runs the check")]
fn health(config: &Config) -> ExitCode {
    let (port, tls) = (
        config.observability.metrics_port,
        config.observability.metrics_tls,
    );
    match platform::probe::ask((&config.http.host, port), tls, "/v1/health") {
        Ok(()) => ExitCode::SUCCESS,
        Err(unhealthy) => {
            eprintln!("{}", error_chain(&unhealthy));
            ExitCode::FAILURE
        }
    }
}

/// The variables that are text; no other can be meant for us.
fn environment() -> BTreeMap<String, String> {
    let variables = std::env::vars_os();
    variables
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
