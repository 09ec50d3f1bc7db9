//! The router's process: reads its configuration and runs [`router::app`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program's own words at start"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use router::config::Config;

/// `EX_CONFIG` of sysexits.h.
const BAD_CONFIG: u8 = 78;

/// `EX_USAGE` of sysexits.h.
const BAD_USAGE: u8 = 64;

const USAGE: &str = "usage: router [--config FILE] [--check | --health | --fields]

Routes SQL to PostgreSQL shards by their shard key.

  --config FILE   the configuration; default: $CONFIG_PATH, or configs/router.json
  --check         say what is wrong with the configuration, and end
  --health        ask the router of this configuration, on this machine, whether it serves
  --fields        print every field of the configuration, a line of JSON each
  --version       print the version
  --help          print this";

fn main() -> ExitCode {
    let env: BTreeMap<String, String> = std::env::vars().collect();
    let default = || {
        env.get("CONFIG_PATH")
            .map_or("configs/router.json", String::as_str)
    };
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (task, words) = match words.as_slice() {
        [rest @ .., "--check"] | ["--check", rest @ ..] => (Task::Check, rest),
        [rest @ .., "--health"] | ["--health", rest @ ..] => (Task::Health, rest),
        rest => (Task::Run, rest),
    };
    let path = match words {
        [] => PathBuf::from(default()),
        ["--config", path] => PathBuf::from(path),
        ["--fields"] => {
            platform::config::print_fields(&Config::fields());
            return ExitCode::SUCCESS;
        }
        ["--version"] => {
            println!("router {}", router::app::VERSION);
            return ExitCode::SUCCESS;
        }
        ["--help" | "-h"] => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let config = match Config::load(&path, &env) {
        Ok(config) => config,
        Err(violations) => {
            eprintln!("router: {} cannot be used:\n{violations}", path.display());
            return ExitCode::from(BAD_CONFIG);
        }
    };
    let done = match task {
        Task::Check => Ok(()),
        Task::Health => health(&config),
        Task::Run => run(config, &path),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("router: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is done with the configuration.
enum Task {
    Run,
    Check,
    Health,
}

fn health(config: &Config) -> anyhow::Result<()> {
    let (port, tls) = (
        config.observability.metrics_port,
        config.observability.metrics_tls,
    );
    Ok(platform::probe::ask(
        (&config.http.host, port),
        tls,
        "/v1/health",
    )?)
}

fn run(config: Config, path: &std::path::Path) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(router::app::run(config, path))
}
