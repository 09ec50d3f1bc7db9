use std::time::{Duration, SystemTime};

use topology::records::{User, decode};
use topology::store::Op;
use topology::{UserName, Verifier, keys};

use super::super::{MAX_USERS, Rejection};
use super::{Action, Command, decide};

fn app() -> UserName {
    UserName::try_new("app").unwrap()
}

fn verifier(password: &str) -> Verifier {
    Verifier::derive(password, b"salt", 1)
}

fn command(action: Action) -> Command {
    let name = app();
    Command { name, action }
}

fn created() -> User {
    let create = command(Action::Create {
        verifier: verifier("a"),
        enabled: true,
    });
    let change = decide(None, 0, &create, SystemTime::UNIX_EPOCH).unwrap();
    change.user.unwrap()
}

#[test]
fn a_user_that_is_altered_keeps_what_is_not_named() {
    let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let alter = |verifier, enabled| {
        let alter = command(Action::Alter { verifier, enabled });
        decide(Some(created()), 1, &alter, later).unwrap()
    };
    let change = alter(Some(verifier("b")), None);
    let user = change.user.unwrap();
    assert_eq!((&user.verifier, user.enabled), (&verifier("b"), true));
    assert_eq!((user.version, user.updated_at), (2, later));
    assert_eq!(user.created_at, SystemTime::UNIX_EPOCH);
    let Op::Put { key, value, .. } = change.op else {
        panic!("a user is written")
    };
    assert_eq!(key, keys::user(&app()));
    assert_eq!(decode::<User>(&key, &value).unwrap(), user);
    let user = alter(None, Some(false)).user.unwrap();
    assert_eq!((&user.verifier, user.enabled), (&verifier("a"), false));
}

#[test]
fn the_audit_log_learns_nothing_of_a_verifier() {
    let alter = command(Action::Alter {
        verifier: Some(verifier("b")),
        enabled: None,
    });
    let change = decide(Some(created()), 1, &alter, SystemTime::now()).unwrap();
    let text = change.detail.to_string();
    assert!(!text.contains("SCRAM"), "{text}");
    assert_eq!(change.detail["password_changed"], true);
}

#[test]
fn who_is_there_is_not_created_and_who_is_not_there_is_not_changed() {
    let now = SystemTime::now();
    let create = command(Action::Create {
        verifier: verifier("a"),
        enabled: true,
    });
    let again = decide(Some(created()), 1, &create, now).unwrap_err();
    assert_eq!(again, Rejection::UserExists { name: app() });
    let full = decide(None, MAX_USERS, &create, now).unwrap_err();
    assert!(matches!(full, Rejection::LimitReached { .. }));
    let alter = Action::Alter {
        verifier: None,
        enabled: Some(true),
    };
    for action in [alter, Action::Delete] {
        let unknown = decide(None, 0, &command(action), now).unwrap_err();
        assert_eq!(unknown, Rejection::UnknownUser { name: app() });
    }
}
