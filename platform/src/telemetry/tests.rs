//! Levels and error chains; and the lines themselves, written by a process of their own because
//! logging is set up once for each.

use std::process::Command;

use serde_json::Value;

use super::*;

/// Says to the test that follows that it is the process that logs, and in which format.
const FORMAT: &str = "PLATFORM_TEST_LOG_FORMAT";

/// Logs and checks what can be checked inside; does nothing in the process of the other tests.
#[test]
fn a_process_that_logs() {
    let format = match std::env::var(FORMAT).as_deref() {
        Ok("json") => Format::Json,
        Ok("text") => Format::Text,
        Ok("auto") => Format::Auto,
        Ok(_) | Err(_) => return,
    };
    let level = "info".to_owned();
    let handle = init(&Config {
        level,
        format,
        file: None,
    })
    .unwrap();
    assert_eq!(init(&Config::default()).unwrap_err(), Error::AlreadySetUp);
    assert_eq!(format!("{handle:?}"), "telemetry::Handle");
    tracing::info_span!("request", request_id = "r1").in_scope(|| {
        tracing::info!(shard = "orders-1", count = 7, "state changed");
        tracing::debug!("hidden detail");
    });
    handle.set_level("info,platform=debug").unwrap();
    tracing::debug!("shown detail");
    handle.set_level("inof").unwrap_err();
    tracing::debug!("still shown");
    handle.set_level("off").unwrap();
    tracing::error!("nothing is logged");
    handle.set_level("error").unwrap();
    drop(std::panic::catch_unwind(|| panic!("of course")));
}

/// What a process logs in this format, line by line.
fn logged(format: &str) -> Vec<String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "telemetry::tests::a_process_that_logs",
        "--nocapture",
    ]);
    let output = command.env(FORMAT, format).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(output.stderr.is_empty(), "nothing goes to standard error");
    text.lines().map(str::to_owned).collect()
}

#[test]
fn json_is_one_flat_object_a_line() {
    let lines = logged("json");
    let events = lines.iter().filter(|line| line.starts_with('{'));
    let events: Vec<Value> = events.map(|l| serde_json::from_str(l).unwrap()).collect();
    let messages: Vec<_> = events.iter().map(|event| &event["message"]).collect();
    let expected = ["state changed", "shown detail", "still shown", "panicked"];
    assert_eq!(messages, expected, "{lines:#?}");
    let event = &events[0];
    assert_eq!(
        (&event["level"], &event["count"]),
        (&"INFO".into(), &7.into())
    );
    assert_eq!(event["shard"], "orders-1");
    assert_eq!(event["span"]["request_id"], "r1");
    assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    assert_eq!(event["target"], "platform::telemetry::tests");
    let panicked = &events[3];
    assert_eq!(panicked["error"], "of course");
    let location = panicked["location"].as_str().unwrap();
    assert!(location.contains("telemetry/tests.rs:"), "{location}");
}

#[test]
fn text_is_for_a_person_and_without_colours_outside_a_terminal() {
    let lines = logged("text");
    let line = lines.iter().find(|line| line.contains("state changed"));
    let line = line.unwrap();
    assert!(line.contains(" INFO ") && !line.starts_with('{'), "{line}");
    assert!(line.contains("request_id=\"r1\""), "{line}");
    assert!(line.contains("shard=\"orders-1\" count=7"), "{line}");
    assert!(
        lines.iter().all(|line| !line.contains('\u{1b}')),
        "{lines:#?}"
    );
    assert!(
        lines.iter().all(|line| !line.contains("hidden")),
        "{lines:#?}"
    );
}

#[test]
fn outside_a_terminal_the_format_is_json() {
    let lines = logged("auto");
    assert!(
        lines.iter().any(|line| line.starts_with("{\"timestamp\"")),
        "{lines:#?}"
    );
}

#[test]
fn a_level_is_a_word_or_directives() {
    for level in [
        "off",
        "error",
        "WARN",
        "info",
        "Debug",
        "trace",
        "info,router::pool=debug",
        "warn, router=trace",
        "info,[request{request_id=\"r1\"}]=trace",
    ] {
        assert_eq!(check_level(level), Ok(()), "{level}");
    }
    for level in [
        "",
        "inof",
        "verbose",
        "info,",
        "info,router",
        "router=loud",
        "5",
    ] {
        let given = level.to_owned();
        let error = Error::UnknownLevel { given };
        assert_eq!(check_level(level), Err(error), "{level}");
    }
    let text = check_level("inof").unwrap_err().to_string();
    let expected = "log level \"inof\" is none of off, error, warn, info, debug, trace, \
                    nor directives such as \"info,module=debug\"";
    assert_eq!(text, expected);
    let Config {
        level,
        format,
        file: _,
    } = Config::default();
    assert_eq!((level.as_str(), format), ("info", Format::Auto));
}

#[derive(Debug, thiserror::Error)]
enum Layered {
    #[error("cannot reach shard {0}")]
    Outer(u8, #[source] Box<Layered>),
    #[error("tells its source itself: {0}")]
    Telling(#[source] std::io::Error),
}

#[test]
fn an_error_is_told_with_its_sources_and_none_twice() {
    let innermost = std::io::Error::other("connection refused");
    let telling = Layered::Telling(innermost);
    let text = "tells its source itself: connection refused";
    assert_eq!(error_chain(&telling), text);
    let outer = Layered::Outer(7, Box::new(telling));
    assert_eq!(error_chain(&outer), format!("cannot reach shard 7: {text}"));
}
