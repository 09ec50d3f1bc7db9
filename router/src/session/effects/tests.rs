use super::*;
use crate::query::analyze;
use crate::session::hints::HintSettings;

/// The settings after these statements, each completed.
fn after(settings: &SessionSettings, statements: &[&str]) -> SessionSettings {
    let mut settings = settings.clone();
    for sql in statements {
        let analysis = analyze(sql).expect("SQL");
        for statement in &analysis.statements {
            Effect::of(&statement.class, sql).apply(&mut settings);
        }
    }
    settings
}

fn run(statements: &[&str]) -> SessionSettings {
    after(&SessionSettings::default(), statements)
}

fn value_of(settings: &Settings, name: &str) -> Option<String> {
    let mut found = settings.of_reading().filter(|(known, _)| *known == name);
    found.next().map(|(_, sql)| sql.to_owned())
}

#[test]
fn a_setting_of_a_rolled_back_transaction_is_forgotten() {
    let settings = run(&["SET timezone='UTC'"]);
    assert!(!settings.in_force().is_empty());
    let settings = after(&settings, &["ROLLBACK"]);
    assert!(settings.in_force().is_empty());
}

#[test]
fn a_local_search_path_ends_with_the_transaction() {
    let mut settings = run(&["SET LOCAL search_path=a"]);
    assert_eq!(settings.search_path(), Some(&["a".to_owned()][..]));
    settings.end_transaction(true);
    assert_eq!(settings.search_path(), None);
    assert!(settings.committed().is_empty());
}

#[test]
fn a_local_setting_ends_at_the_savepoint_before_it() {
    let settings = run(&["SAVEPOINT s", "SET LOCAL search_path=a", "ROLLBACK TO s"]);
    assert_eq!(settings.search_path(), None);
}

#[test]
fn set_overrides_a_local_setting_and_a_local_setting_does_not_outlive_it() {
    let mut settings = run(&["SET LOCAL search_path=a", "SET search_path=b"]);
    assert_eq!(settings.search_path(), Some(&["b".to_owned()][..]));
    settings = after(&settings, &["SET LOCAL search_path=c"]);
    assert_eq!(settings.search_path(), Some(&["c".to_owned()][..]));
    settings.end_transaction(true);
    assert_eq!(settings.search_path(), Some(&["b".to_owned()][..]));
}

#[test]
fn a_released_savepoint_is_not_gone_back_to() {
    let settings = run(&[
        "SAVEPOINT s",
        "SET work_mem='5MB'",
        "SAVEPOINT s",
        "SET work_mem='6MB'",
        "RELEASE s",
        "ROLLBACK TO s",
        "COMMIT",
    ]);
    assert!(settings.committed().is_empty());
}

#[test]
fn a_default_is_what_the_start_up_packet_asked_for() {
    let mut startup = Settings::default();
    startup.insert_value("work_mem", "7MB");
    let session = SessionSettings::new(Arc::new(startup), HintSettings::default());
    for back in ["SET work_mem TO DEFAULT", "RESET work_mem", "RESET ALL"] {
        let settings = after(&session, &["SET work_mem='5MB'", back, "COMMIT"]);
        assert_eq!(settings.committed(), session.committed(), "{back}");
    }
}

#[test]
fn reset_all_leaves_the_role() {
    let settings = run(&["SET ROLE a", "SET work_mem='5MB'", "RESET ALL", "COMMIT"]);
    assert!(settings.committed().has("role"));
    assert!(!settings.committed().has("work_mem"));
}

#[test]
fn characteristics_are_the_settings_that_they_set() {
    let sql = "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE, READ ONLY";
    let settings = run(&[sql, "COMMIT"]);
    let known = |name: &str| value_of(settings.committed(), name).is_some();
    assert!(known("default_transaction_isolation") && known("default_transaction_read_only"));
    let settings = after(
        &settings,
        &["RESET default_transaction_isolation", "COMMIT"],
    );
    assert!(!settings.committed().has("default_transaction_isolation"));
}

#[test]
fn what_ends_with_the_transaction_is_not_remembered() {
    for sql in [
        "SET transaction_isolation='serializable'",
        "SET TRANSACTION READ ONLY",
        "SET seed=0.5",
    ] {
        assert!(run(&[sql, "COMMIT"]).committed().is_empty(), "{sql}");
    }
}

#[test]
fn an_encoding_that_statements_cannot_be_read_in_is_refused() {
    assert!(check_value("standard_conforming_strings", Some("off")).is_err());
}

#[test]
fn a_value_that_is_not_named_is_refused() {
    let analysis = analyze("SET search_path FROM CURRENT").expect("SQL");
    let class = analysis.statements.first().map(|one| &one.class);
    let Some(Class::Set(setting)) = class else {
        panic!("not a setting: {class:?}");
    };
    let refused = check(setting, &Settings::default(), "").unwrap_err();
    assert_eq!(refused.sqlstate, "0A000");
}

#[test]
fn a_reset_that_a_backend_cannot_follow_is_refused_inside_a_block() {
    let mut startup = Settings::default();
    startup.insert_value("work_mem", "7MB");
    assert!(check_reset(Some("work_mem"), &startup, true).is_err());
    assert!(check_reset(None, &startup, true).is_err());
    assert!(check_reset(Some("work_mem"), &startup, false).is_ok());
    assert!(check_reset(Some("timezone"), &startup, true).is_ok());
    assert!(check_reset(None, &Settings::default(), true).is_ok());
}
