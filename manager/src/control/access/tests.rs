use std::collections::BTreeSet;

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const DAY: Duration = Duration::from_hours(24);

fn name(text: &str) -> AccountName {
    AccountName::try_new(text).unwrap()
}

fn account(text: &str, role: Role) -> Account {
    let rights = Rights {
        roles: [role].into(),
        groups: None,
    };
    Account {
        version: 7,
        ..new_account(&name(text), "hash", rights, NOW)
    }
}

fn state(accounts: &[(&str, Role)]) -> State {
    let accounts = accounts.iter().map(|(name, role)| account(name, *role));
    State {
        is_set_up: true,
        accounts: accounts.collect(),
        ..State::default()
    }
}

fn alter(of: &str, change: AccountChange) -> Command {
    Command::Alter {
        name: name(of),
        change,
        outlived: DAY,
    }
}

#[test]
fn the_first_administrator_is_created_once() {
    let command = Command::Setup {
        name: name("root"),
        password_hash: "hash".to_owned(),
    };
    let change = decide(&State::default(), &command, NOW).unwrap();
    assert!(change.absent.contains(&keys::AUTH_SETUP.to_owned()));
    assert_eq!(
        change.account.unwrap().rights.roles,
        BTreeSet::from([Role::Admin])
    );
    // Not even when nobody is left.
    let done = decide(&state(&[]), &command, NOW);
    assert_eq!(done, Err(Rejection::SetUp));
}

#[test]
fn the_last_administrator_stays() {
    let disable = AccountChange {
        enabled: Some(false),
        ..AccountChange::default()
    };
    let demote = AccountChange {
        roles: Some([Role::Operator].into()),
        ..AccountChange::default()
    };
    let delete = Command::Delete {
        name: name("root"),
        outlived: DAY,
    };
    let commands = [alter("root", disable), alter("root", demote), delete];
    let alone = state(&[("root", Role::Admin), ("eve", Role::Operator)]);
    let two = state(&[("root", Role::Admin), ("eve", Role::Admin)]);
    for command in commands {
        let refused = decide(&alone, &command, NOW).unwrap_err();
        assert_eq!(refused, Rejection::LastAdmin { name: name("root") });
        assert!(decide(&two, &command, NOW).is_ok(), "{command:?}");
    }
    // A new password takes nothing away.
    let password = AccountChange {
        password_hash: Some("new".to_owned()),
        ..AccountChange::default()
    };
    assert!(decide(&alone, &alter("root", password), NOW).is_ok());
}

#[test]
fn what_changes_an_account_ends_its_tokens_even_when_clocks_stand_still() {
    let present = state(&[("root", Role::Admin), ("eve", Role::Viewer)]);
    let raise = AccountChange {
        roles: Some([Role::Operator].into()),
        ..AccountChange::default()
    };
    let change = decide(&present, &alter("eve", raise), NOW).unwrap();
    assert_eq!(change.account.as_ref().unwrap().version, 8);
    let floor = Write::PutFor(
        keys::revoked_account(&name("eve")),
        encode(&Floor { version: 8 }),
        DAY,
    );
    assert!(change.writes.contains(&floor));
    assert!(!change.detail.to_string().contains("hash"));
}

#[test]
fn a_refresh_token_is_used_up_by_its_use() {
    let command = Command::Refresh {
        subject: "eve".to_owned(),
        id: "t".to_owned(),
        rest: DAY,
    };
    let change = decide(&State::default(), &command, NOW).unwrap();
    assert_eq!(change.absent, [keys::revoked_token("t")]);
    let used = State {
        is_revoked: true,
        ..State::default()
    };
    assert_eq!(decide(&used, &command, NOW), Err(Rejection::Used));
}
