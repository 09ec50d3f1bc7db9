//! Resharding against the fake manager.

use tonic::Status;

use crate::fake::{Fake, closed_address};
use crate::reshard::JOB;
use crate::{json, shardctl};

#[tokio::test]
async fn a_plan_is_asked_for_in_the_words_of_the_command_line() {
    let manager = Fake::start().await;
    let at = &manager.address;
    let plan = json(&format!(
        "plan split a --into a --into c=postgres://h/d --manager {at}"
    ))
    .await;
    assert_eq!(plan["id"], "0123456789abcdef");
    let said = manager.last_said();
    for word in ["Split", "Id(\"a\")", "NewShard", "postgres://h/d"] {
        assert!(said.contains(word), "{said}");
    }
    let dry = json(&format!("reshard drain a --dry-run --manager {at}")).await;
    assert_eq!(dry["type"], "drain");
    assert_eq!(manager.changes(), 0);
}

#[tokio::test]
async fn a_job_starts_with_its_options() {
    let manager = Fake::start().await;
    let line = format!(
        "reshard move --from a --to b --vnodes 5,0xff --max-pause 50ms --keep-reverse 1h \
         --plan 0123456789abcdef --max-rows-per-second 1000 --manager {}",
        manager.address
    );
    let job = json(&line).await;
    assert_eq!(
        (&job["id"], &job["status"]),
        (&JOB.into(), &"pending".into())
    );
    let said = manager.last_said();
    for word in [
        "vnodes: [5, 255]",
        "plan_id: \"0123456789abcdef\"",
        "max_pause_ms: 50",
        "keep_reverse_seconds: Some(3600)",
        "max_rows_per_second: 1000",
    ] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test]
async fn waiting_ends_with_the_job_whichever_manager_answers() {
    let manager = Fake::start().await;
    manager.job_becomes(&["precopy", "cutover", "completed"]);
    let at = format!("{},{}", closed_address(), manager.address);
    let job = json(&format!(
        "reshard run 0123456789abcdef --wait --manager {at}"
    ))
    .await;
    assert_eq!(job["status"], "completed");
    assert_eq!(manager.last_said(), "0123456789abcdef");
    manager.job_becomes(&["deltasync", "rolled_back"]);
    let job = json(&format!("reshard rollback {JOB} --wait --manager {at}")).await;
    assert_eq!(job["status"], "rolled_back");
    assert_eq!(manager.last_said(), "rollback");
}

#[tokio::test]
async fn a_job_that_failed_is_exit_code_1_and_is_shown() {
    let manager = Fake::start().await;
    manager.job_becomes(&["precopy", "failed"]);
    let line = format!("reshard drain a --wait --manager {}", manager.address);
    let outcome = shardctl(&line).await.unwrap();
    assert!(outcome.text.contains("failed"), "{}", outcome.text);
    let failure = outcome.failure.unwrap();
    assert_eq!(failure.exit_code(), 1);
    assert_eq!(
        failure.to_string(),
        format!("job {JOB} is failed: disk full")
    );
    assert!(failure.hint().unwrap().contains("reshard status"));
}

#[tokio::test]
async fn a_job_is_paused_resumed_cancelled_and_finished() {
    let manager = Fake::start().await;
    manager.job_becomes(&["paused"]);
    for request in ["pause", "resume", "cancel", "finish"] {
        let at = &manager.address;
        let job = json(&format!("reshard {request} {JOB} --manager {at}")).await;
        assert_eq!(job["id"], JOB);
        assert_eq!(manager.last_said(), request);
    }
    let listed = json(&format!("reshard list --manager {}", manager.address)).await;
    assert_eq!(listed["jobs"][0]["id"], JOB);
    let line = format!("reshard status ghost --manager {}", manager.address);
    let error = shardctl(&line).await.unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert_eq!(
        error.hint().unwrap(),
        "see what there is: shardctl reshard list"
    );
    let refusal = "shard a is in use by drain job 019a9b7c1d2e, which is paused";
    manager.answer_changes_with(Status::failed_precondition(refusal));
    let line = format!("reshard drain a --manager {}", manager.address);
    let error = shardctl(&line).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("cannot start the job: {refusal}")
    );
}
