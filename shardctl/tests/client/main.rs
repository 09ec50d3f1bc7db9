//! The client against managers that the test scripts, over real sockets of this process.

mod certificate;
mod fake;
mod jobs;
mod reshard;

use certificate::Certificate;
use clap::Parser as _;
use fake::{Fake, closed_address};
use shardctl::args::Args;
use shardctl::error::Error;
use shardctl::run::{Outcome, run};
use tonic::Status;

async fn shardctl(line: &str) -> Result<Outcome, Error> {
    let words = ["shardctl"].into_iter().chain(line.split(' '));
    run(Args::try_parse_from(words).expect("tests write valid command lines")).await
}

async fn json(line: &str) -> serde_json::Value {
    let outcome = shardctl(&format!("{line} --output json")).await;
    let outcome = outcome.expect("the command has an answer");
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
    serde_json::from_str(&outcome.text).expect("--output json prints JSON")
}

#[tokio::test]
async fn a_shard_that_was_added_is_listed() {
    let manager = Fake::start().await;
    let at = &manager.address;
    let added = json(&format!(
        "shards add alpha postgres://h:5432/d --replica postgres://r:5432/d --vnodes 8 --manager {at}"
    ))
    .await;
    assert_eq!(added["id"], "alpha");
    assert_eq!(added["vnode_count"], 8);
    let listed = json(&format!("shards list --manager {at}")).await;
    assert_eq!(listed["shards"][0]["replicas"][0], "postgres://r:5432/d");
}

#[tokio::test]
async fn a_shard_that_does_not_exist_is_exit_code_3_with_a_hint() {
    let manager = Fake::start().await;
    let error = shardctl(&format!("shards show ghost --manager {}", manager.address)).await;
    let error = error.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.to_string(),
        r#"cannot show shard "ghost": shard ghost does not exist"#
    );
    assert_eq!(
        error.hint().unwrap(),
        "see what there is: shardctl shards list"
    );
}

#[tokio::test]
async fn a_shard_that_is_spelt_nearly_so_is_named() {
    let manager = Fake::start().await;
    let at = &manager.address;
    json(&format!(
        "shards add alpha postgres://h:5432/d --manager {at}"
    ))
    .await;
    let error = shardctl(&format!("shards show alpa --manager {at}")).await;
    let error = error.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(error.hint().unwrap(), "did you mean alpha?");
}

#[tokio::test]
async fn a_refusal_is_exit_code_1() {
    let manager = Fake::start().await;
    manager.answer_changes_with(Status::failed_precondition("shard alpha exists already"));
    let line = format!(
        "shards add alpha postgres://h:5432/d --manager {}",
        manager.address
    );
    let error = shardctl(&line).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.to_string(),
        r#"cannot add shard "alpha": shard alpha exists already"#
    );
}

#[tokio::test]
async fn managers_are_tried_in_order() {
    let manager = Fake::start().await;
    let nobody = closed_address();
    let line = format!(
        "shards add alpha postgres://h:5432/d --manager {nobody},{}",
        manager.address
    );
    assert!(shardctl(&line).await.unwrap().text.contains("alpha"));
}

#[tokio::test]
async fn a_manager_that_is_unavailable_is_passed_over() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.answer_changes_with(Status::unavailable("nobody leads"));
    let both = format!("{},{}", first.address, second.address);
    json(&format!(
        "shards add alpha postgres://h:5432/d --manager {both}"
    ))
    .await;
    assert_eq!((first.changes(), second.changes()), (1, 1));
}

#[tokio::test]
async fn no_manager_at_all_is_exit_code_4_and_names_each_address() {
    let (one, two) = (closed_address(), closed_address());
    let error = shardctl(&format!("shards list --manager {one},{two}"))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(
        error.to_string().contains(&one) && error.to_string().contains(&two),
        "{error}"
    );
    assert!(error.to_string().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_change_whose_answer_is_late_is_sent_once_and_exit_code_5() {
    let (first, second) = (Fake::start().await, Fake::start().await);
    first.never_answer_changes();
    let both = format!("{},{}", first.address, second.address);
    let line = format!("shards add alpha postgres://h:5432/d --timeout 300ms --manager {both}");
    let error = shardctl(&line).await.unwrap_err();
    assert_eq!(error.exit_code(), 5, "{error}");
    assert_eq!((first.changes(), second.changes()), (1, 0));
    assert_eq!(
        error.hint().unwrap(),
        "look before trying again: shardctl shards list"
    );
}

#[tokio::test]
async fn a_change_with_an_unknown_outcome_is_exit_code_5() {
    let manager = Fake::start().await;
    manager.answer_changes_with(Status::unknown("etcd gave no answer"));
    let error = shardctl(&format!(
        "shards remove alpha --manager {}",
        manager.address
    ))
    .await;
    assert_eq!(error.unwrap_err().exit_code(), 5);
}

#[tokio::test]
async fn the_token_travels_as_a_bearer_token() {
    let manager = Fake::start().await;
    manager.want_token("secret");
    let list = format!("shards list --manager {}", manager.address);
    let error = shardctl(&list).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.hint().unwrap(),
        "log in: shardctl login NAME; or pass a token with --token or SHARDCTL_TOKEN"
    );
    json(&format!("{list} --token secret")).await;
}

#[tokio::test]
async fn status_asks_every_manager_and_lives_with_one_that_is_gone() {
    let manager = Fake::start().await;
    let gone = closed_address();
    let status = json(&format!("status --manager {gone},{}", manager.address)).await;
    assert_eq!(status["managers"][0]["role"], "unreachable");
    assert_eq!(status["managers"][1]["role"], "leader");
    assert_eq!(status["leader"]["id"], "fake");
    let error = shardctl(&format!("status --manager {gone}"))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test]
async fn a_count_that_lacks_a_shard_prints_the_rest_and_is_exit_code_1() {
    let manager = Fake::start().await;
    let outcome = shardctl(&format!("tables count --manager {}", manager.address))
        .await
        .unwrap();
    assert!(
        outcome.text.contains("public.orders  sharded  alpha  10"),
        "{}",
        outcome.text
    );
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.exit_code(), 1);
    assert_eq!(
        failure.to_string(),
        "rows could not be counted on every shard: beta: refused"
    );
}

#[tokio::test]
async fn every_other_command_reaches_its_service() {
    let manager = Fake::start().await;
    let at = &manager.address;
    let add = format!("tables add orders --shard-key id --key-type text --manager {at}");
    assert_eq!(json(&add).await["shard_key"], "id");
    assert_eq!(
        json(&format!("tables list --manager {at}")).await["tables"][0]["group"],
        "default"
    );
    assert_eq!(
        json(&format!("tables remove orders --manager {at}")).await["removed"],
        true
    );
    assert_eq!(
        json(&format!("groups add g --key-type uuid --manager {at}")).await["name"],
        "g"
    );
    assert_eq!(
        json(&format!("groups list --manager {at}")).await["groups"],
        serde_json::json!([])
    );
    assert_eq!(
        json(&format!("ring show --manager {at}")).await["shards"][0]["vnodes"],
        2
    );
    assert_eq!(
        json(&format!("route -5 --manager {at}")).await["shard_id"],
        "alpha"
    );
    assert_eq!(
        json(&format!("shards remove alpha --manager {at}")).await["kind"],
        "shard"
    );
    let version = json(&format!("version --manager {at}")).await;
    assert_eq!(version["managers"][0]["version"], "9.9.9");
    assert_eq!(
        json("version --client").await["managers"],
        serde_json::json!([])
    );
}

#[tokio::test]
async fn a_command_line_that_cannot_work_is_exit_code_2() {
    for wrong in [
        "shards list --manager ftp://h:1",
        "shards list --manager ,",
        "shards list --manager https://127.0.0.1:1",
        "shards list --ca no/such/file.pem",
    ] {
        let error = shardctl(wrong).await.unwrap_err();
        assert_eq!(error.exit_code(), 2, "{wrong}: {error}");
        assert!(error.hint().is_some(), "{wrong}");
    }
}

#[tokio::test]
async fn a_manager_with_a_certificate_is_trusted_by_its_authority_only() {
    let (ours, other) = (Certificate::create(), Certificate::create());
    let manager = Fake::start_tls(ours.identity()).await;
    let list = format!("shards list --manager {} --ca", manager.address);
    json(&format!("{list} {}", ours.path())).await;
    let error = shardctl(&format!("{list} {}", other.path()))
        .await
        .unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
    // Without a scheme, --ca means https.
    let bare = manager.address.trim_start_matches("https://");
    json(&format!(
        "shards list --manager {bare} --ca {}",
        ours.path()
    ))
    .await;
}
