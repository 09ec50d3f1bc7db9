//! What the command line accepts.

use clap::{CommandFactory as _, Parser as _};

use super::*;

fn parse(line: &str) -> Result<Args, clap::Error> {
    Args::try_parse_from(line.split(' '))
}

#[test]
fn the_definition_is_consistent() {
    Args::command().debug_assert();
}

#[test]
fn managers_are_separated_by_commas() {
    let args = parse("shardctl status --manager http://a:1,http://b:2").unwrap();
    assert_eq!(args.global.manager, ["http://a:1", "http://b:2"]);
}

#[test]
fn a_negative_number_is_a_key() {
    let args = parse("shardctl route -5 --group orders").unwrap();
    assert!(
        matches!(args.command, Command::Route { key, group } if key == "-5" && group == "orders")
    );
}

#[test]
fn a_table_has_exactly_one_kind() {
    assert!(parse("shardctl tables add t --reference").is_ok());
    assert!(parse("shardctl tables add t --unsharded a").is_ok());
    assert!(parse("shardctl tables add t --shard-key id --key-type bigint --group g").is_ok());
    assert!(parse("shardctl tables add t --shard-key id").is_ok());
    for wrong in [
        "shardctl tables add t",
        "shardctl tables add t --reference --unsharded a",
        "shardctl tables add t --reference --key-type text",
        "shardctl tables add t --shard-key id --key-type float",
    ] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn counts_are_at_least_one() {
    assert!(parse("shardctl shards add a postgres://h/d --vnodes 0").is_err());
    assert!(parse("shardctl shards add a postgres://h/d --weight 0").is_err());
    assert!(
        parse("shardctl shards add a postgres://h/d --vnodes 8 --replica r --replica s").is_ok()
    );
}

#[test]
fn what_moves_is_said_in_one_way() {
    for right in [
        "shardctl plan split a --into b --into c=postgres://h/d",
        "shardctl plan move --from a --to b --count 4",
        "shardctl reshard move --from a --to b --vnodes 5,0xff --wait",
        "shardctl reshard merge a b --into c --max-pause 50ms --plan 0123456789abcdef",
        "shardctl reshard add-shard c --dry-run",
        "shardctl reshard rebalance --by size --keep-reverse 1h",
        "shardctl reshard run 0123456789abcdef --wait",
        "shardctl reshard rollback 019a9b7c1d2e --wait",
    ] {
        assert!(parse(right).is_ok(), "{right}");
    }
    for wrong in [
        "shardctl plan split a",
        "shardctl plan merge --into c",
        "shardctl plan move --from a --to b",
        "shardctl plan move --from a --to b --count 1 --vnodes 5",
        "shardctl plan move --from a --to b --count 0",
        "shardctl plan move --from a --to b --vnodes 0xfffffffff",
        "shardctl plan rebalance --by luck",
        "shardctl plan drain a --wait",
        "shardctl reshard drain a --dry-run --wait",
        "shardctl reshard drain a --max-pause soon",
    ] {
        assert_eq!(parse(wrong).unwrap_err().exit_code(), 2, "{wrong}");
    }
}

#[test]
fn help_documents_every_exit_code() {
    let help = Args::command().render_long_help().to_string();
    for code in 0..=5 {
        assert!(help.contains(&format!("\n  {code}  ")), "exit code {code}");
    }
}

#[test]
fn a_password_is_no_argument() {
    assert!(parse("shardctl users create app --password-file -").is_ok());
    for line in [
        "shardctl users create app sesame",
        "shardctl users create app --password sesame",
        "shardctl users passwd app sesame",
    ] {
        assert_eq!(parse(line).unwrap_err().exit_code(), 2, "{line}");
    }
}
