//! What a context fills in, and the file that it is kept in.

use clap::Parser as _;

use super::*;
use crate::args::Args;

fn global(line: &str) -> Global {
    Args::try_parse_from(line.split(' ')).unwrap().global
}

fn context() -> Context {
    Context {
        manager: vec!["http://kept:1".to_owned()],
        output: Some(Output::Yaml),
        timeout: Some("7s".to_owned()),
        token: Some("kept".to_owned()),
        ..Context::default()
    }
}

#[test]
fn flags_come_before_the_context() {
    let mut given = global("shardctl status --manager http://given:1 -o json --token given");
    fill(&mut given, &context()).unwrap();
    assert_eq!(given.manager, ["http://given:1"]);
    assert_eq!(given.output, Some(Output::Json));
    assert_eq!(given.token.as_deref(), Some("given"));
    assert_eq!(given.timeout, Some(Duration::from_secs(7)));
}

#[test]
fn a_context_fills_in_what_is_not_given() {
    let mut given = global("shardctl status");
    fill(&mut given, &context()).unwrap();
    assert_eq!(given.manager, ["http://kept:1"]);
    assert_eq!(given.output, Some(Output::Yaml));
    assert_eq!(given.token.as_deref(), Some("kept"));
}

#[test]
fn the_kept_token_is_not_sent_where_a_token_file_is_named() {
    let mut given = global("shardctl status --token-file t");
    fill(&mut given, &context()).unwrap();
    assert_eq!(given.token, None);
}

fn fresh(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("shardctl-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_file_with_tokens_is_for_its_owner_alone() {
    let folder = fresh("owner");
    let path = folder.join("config.json");
    let mut all = Contexts::default();
    all.contexts.insert("prod".to_owned(), context());
    all.save(&path).unwrap();
    let mode = || std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    assert_eq!(Contexts::load(&path).unwrap(), all);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = Contexts::load(&path).unwrap_err().to_string();
    assert!(refused.contains("others can read it"), "{refused}");
    let place = Place {
        path: path.clone(),
        name: "prod".to_owned(),
        tokens: None,
    };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    keep_tokens(&place, None).unwrap();
    assert_eq!(Contexts::load(&path).unwrap().contexts["prod"].token, None);
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_wrong_name_gets_the_near_one() {
    let mut all = Contexts::default();
    all.contexts.insert("production".to_owned(), context());
    let error = all.find("prodcution").unwrap_err();
    assert_eq!(error.hint().as_deref(), Some("did you mean production?"));
    assert_eq!(error.exit_code(), 3);
}
