//! Credentials of every kind for a route that needs something, and what is to become of each: for
//! tests that walk over tables of routes.

use std::time::Duration;

use platform::Secret;
use platform::access::{Need, Role};
use platform::bearer::{Claims, Names, sign, sign_hs256};
use prost::Message as _;
use prost_types::FileDescriptorSet;

/// What the gate is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// 401.
    Unauthenticated,
    /// 403.
    Denied,
    /// Whatever the handler says.
    Passed,
}

/// One try.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is shown.
    pub name: String,
    /// The header `authorization`.
    pub header: Option<String>,
    /// What is to become of it.
    pub expected: Expected,
}

const MINUTE: Duration = Duration::from_secs(60);

/// `{"alg":"none"}`, as a token's first part.
const NONE_HEADER: &str = "eyJhbGciOiJub25lIn0";

/// No token, tokens that are worth nothing, and one of each role.
#[must_use]
pub fn cases(secret: &Secret, need: Need) -> Vec<Case> {
    let all = ["admin", "writer"];
    let good = sign_hs256(secret, "tester", &all, MINUTE);
    let claims = Claims {
        roles: Some(Names::Many(all.map(str::to_owned).to_vec())),
        ..Claims::new("tester", MINUTE)
    };
    let expired = Claims {
        exp: platform::bearer::now() - 3_600,
        ..claims.clone()
    };
    let refresh = Claims {
        token_use: Some(Claims::REFRESH.to_owned()),
        ..claims
    };
    let payload = good.split('.').nth(1).unwrap_or_default();
    let other = Secret::new("another-secret-of-at-least-32-characters");
    let worthless = [
        ("no token", None),
        ("expired", Some(sign(secret, &expired))),
        (
            "wrong key",
            Some(sign_hs256(&other, "tester", &all, MINUTE)),
        ),
        ("alg none", Some(format!("{NONE_HEADER}.{payload}."))),
        ("refresh token", Some(sign(secret, &refresh))),
        (
            "unknown API key",
            Some(format!("shk_{}_{}", "0".repeat(16), "0".repeat(64))),
        ),
        ("nonsense", Some("nonsense".to_owned())),
    ];
    let refused = if need == Need::Nothing {
        Expected::Passed
    } else {
        Expected::Unauthenticated
    };
    let mut cases: Vec<Case> = worthless
        .into_iter()
        .map(|(name, token)| Case {
            name: name.to_owned(),
            header: token.map(|token| format!("Bearer {token}")),
            expected: refused,
        })
        .collect();
    let of_roles = |name: String, roles: &[&str], passes: bool| Case {
        name,
        header: Some(format!(
            "Bearer {}",
            sign_hs256(secret, "tester", roles, MINUTE)
        )),
        expected: if passes {
            Expected::Passed
        } else {
            Expected::Denied
        },
    };
    for role in Role::ALL {
        let passes = match need {
            Need::Nothing | Need::Identity => true,
            Need::Role(needed) => role.includes(needed),
        };
        cases.push(of_roles(format!("role {role}"), &[role.as_str()], passes));
    }
    let needs_none = matches!(need, Need::Nothing | Need::Identity);
    cases.push(of_roles("no role".to_owned(), &[], needs_none));
    cases
}

/// What a gate did, by the status of an HTTP answer.
#[must_use]
pub fn of_http(status: u16) -> Expected {
    match status {
        401 => Expected::Unauthenticated,
        403 => Expected::Denied,
        _ => Expected::Passed,
    }
}

/// What a gate did, by `grpc-status` in the head of an answer.
#[must_use]
pub fn of_grpc(status: Option<&str>) -> Expected {
    match status {
        Some("16") => Expected::Unauthenticated,
        Some("7") => Expected::Denied,
        _ => Expected::Passed,
    }
}

/// The paths of all methods of a package's services, as their descriptors have them.
///
/// # Panics
/// When the descriptors are damaged.
#[must_use]
#[expect(clippy::expect_used, reason = "what a test cannot do without ends it")]
pub fn methods_of(package: &str) -> Vec<String> {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).expect("the build has made them");
    let files = files
        .file
        .into_iter()
        .filter(|file| file.package() == package);
    let services = files.flat_map(|file| file.service);
    let paths = services.flat_map(|service| {
        let prefix = format!("/{package}.{}/", service.name());
        let methods = service.method.into_iter();
        methods.map(move |method| format!("{prefix}{}", method.name()))
    });
    paths.collect()
}
