//! Verifiers against one that PostgreSQL made, and against what is none.

use super::{ITERATIONS, InvalidVerifier, Verifier};

/// `pg_authid.rolpassword` of `create role r password 'sesame'` on PostgreSQL 15.
fn stored() -> &'static str {
    include_str!("../../testdata/verifier.txt").trim()
}

#[test]
fn a_verifier_that_postgres_made_is_derived_from_its_password_and_salt() {
    let parsed = Verifier::parse(stored()).unwrap();
    let derived = Verifier::derive("sesame", parsed.salt(), parsed.iterations());
    assert_eq!(derived, parsed);
    assert_eq!(derived.expose(), stored());
    assert_ne!(
        Verifier::derive("open", parsed.salt(), parsed.iterations()),
        parsed
    );
}

#[test]
fn passwords_are_prepared_as_clients_prepare_them() {
    let derive = |password| Verifier::derive(password, b"salt", 1);
    // A ligature is two letters, a soft hyphen nothing and a no-break space a space.
    assert_eq!(derive("\u{fb01}sh\u{ad}\u{a0}"), derive("fish "));
    // What must not be in a password stays as it is.
    assert_ne!(derive("a\u{7}"), derive("a"));
}

#[test]
fn what_is_no_verifier_is_refused_without_being_shown() {
    let stored = stored();
    for text in [
        "",
        "sesame",
        "md5a3556571e93b0d20722ba62be61e8c2d",
        "SCRAM-SHA-256$",
        &stored.replace("4096", "0"),
        &stored.replace("4096", "4000000000"),
        &stored.replace("4096", "many"),
        &stored.replace(':', ";"),
        stored.trim_end_matches('='),
        "SCRAM-SHA-256$4096:$AAAA:AAAA",
    ] {
        assert_eq!(Verifier::parse(text), Err(InvalidVerifier), "{text}");
    }
    for json in ["\"open-sesame\"", "1234567", "[1234567]"] {
        let error = serde_json::from_str::<Verifier>(json).unwrap_err();
        let text = error.to_string();
        assert!(!text.contains("sesame") && !text.contains("123"), "{text}");
    }
}

#[test]
fn a_verifier_shows_nothing_of_itself() {
    let verifier = Verifier::parse(stored()).unwrap();
    assert_eq!(format!("{verifier:?}"), "Verifier(***)");
}

#[test]
fn a_decoy_is_the_same_for_one_name_and_has_the_shape_of_a_real_one() {
    let decoy = |seed, name| Verifier::decoy(&[seed; 32], name);
    assert_eq!(decoy(7, "nobody"), decoy(7, "nobody"));
    assert_ne!(decoy(7, "nobody").salt(), decoy(7, "noone").salt());
    assert_ne!(decoy(7, "nobody").salt(), decoy(8, "nobody").salt());
    let real = Verifier::parse(stored()).unwrap();
    assert_eq!(decoy(7, "nobody").salt().len(), real.salt().len());
    assert_eq!(real.iterations(), ITERATIONS);
}
