//! First packets by their documented bytes, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::Reason;

fn packet(code: u32, rest: &[u8]) -> Vec<u8> {
    let length = u32::try_from(8 + rest.len()).unwrap();
    [&length.to_be_bytes()[..], &code.to_be_bytes(), rest].concat()
}

fn parameters(rest: &[u8]) -> Result<Parameters, StartupError> {
    let bytes = packet(0x0003_0000, rest);
    match Startup::decode(&bytes)? {
        Some((Startup::Parameters(parameters), length)) if length == bytes.len() => Ok(parameters),
        other => panic!("{other:?}"),
    }
}

fn malformed(bytes: &[u8]) -> Reason {
    match Startup::decode(bytes).unwrap_err() {
        StartupError::Malformed(error) => error.reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_for_encryption_are_told_apart() {
    assert_eq!(
        Startup::decode(b"\0\0\0\x08\x04\xd2\x16\x2f"),
        Ok(Some((Startup::Ssl, 8)))
    );
    assert_eq!(
        Startup::decode(b"\0\0\0\x08\x04\xd2\x16\x30"),
        Ok(Some((Startup::GssEnc, 8)))
    );
    let bytes = 1;
    assert_eq!(
        malformed(b"\0\0\0\x09\x04\xd2\x16\x2fx"),
        Reason::Trailing { bytes }
    );
}

#[test]
fn what_follows_the_packet_is_left_alone() {
    let pipelined = b"\0\0\0\x08\x04\xd2\x16\x2f\x16\x03\x01";
    assert_eq!(Startup::decode(pipelined), Ok(Some((Startup::Ssl, 8))));
}

#[test]
fn a_cancel_request_has_a_secret_of_4_to_256_bytes() {
    let golden = b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x30\x39\x01\x02\x03\x04";
    let cancel = |process_id, secret: &[u8]| Startup::Cancel {
        process_id,
        secret: Bytes::copy_from_slice(secret),
    };
    assert_eq!(
        Startup::decode(golden),
        Ok(Some((cancel(12_345, &[1, 2, 3, 4]), 16)))
    );
    let longest = packet(CANCEL_CODE, &[&[0, 0, 0, 1][..], &[7; 256]].concat());
    let decoded = Startup::decode(&longest).unwrap().unwrap();
    assert_eq!(decoded, (cancel(1, &[7; 256]), longest.len()));

    let field = "secret";
    let short = packet(CANCEL_CODE, &[0; 7]);
    assert_eq!(malformed(&short), Reason::Truncated { field });
    let field = "process id";
    let none = packet(CANCEL_CODE, &[0; 3]);
    assert_eq!(malformed(&none), Reason::Truncated { field });
    let bytes = 1;
    let long = packet(CANCEL_CODE, &[0; 4 + 257]);
    assert_eq!(malformed(&long), Reason::Trailing { bytes });
}

#[test]
fn a_secret_is_not_shown() {
    let (request, _) = Startup::decode(&packet(CANCEL_CODE, b"\0\0\0\x09hush"))
        .unwrap()
        .unwrap();
    assert_eq!(format!("{request:?}"), "Cancel { process_id: 9, .. }");
}

#[test]
fn parameters_keep_their_order_and_the_last_of_a_name_counts() {
    let read = parameters(b"user\0ann\0options\0-c a=b\0user\0bob\0\0").unwrap();
    let names: Vec<_> = read.params.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["user", "options", "user"]);
    assert_eq!(read.user(), Ok("bob"));
    assert_eq!(read.get("options"), Some("-c a=b"));
    assert_eq!(read.get("absent"), None);
    assert_eq!(read.minor, 0);
    assert!(!read.needs_negotiation());
}

#[test]
fn the_database_is_named_like_the_user_where_none_is_given() {
    assert_eq!(parameters(b"user\0ann\0\0").unwrap().database(), Ok("ann"));
    let empty = parameters(b"user\0ann\0database\0\0\0").unwrap();
    assert_eq!(empty.database(), Ok("ann"));
    let given = parameters(b"user\0ann\0database\0shop\0\0").unwrap();
    assert_eq!(given.database(), Ok("shop"));
}

#[test]
fn a_session_needs_a_user() {
    for rest in [&b"\0"[..], b"user\0\0\0", b"database\0shop\0\0"] {
        let read = parameters(rest).unwrap();
        assert_eq!(read.user(), Err(StartupError::NoUser));
        assert_eq!(
            StartupError::NoUser.sqlstate(),
            SqlState::INVALID_AUTHORIZATION
        );
    }
}

#[test]
fn later_minor_versions_and_extensions_are_negotiated() {
    let (later, _) = Startup::decode(&packet(0x0003_0002, b"user\0ann\0\0"))
        .unwrap()
        .unwrap();
    let Startup::Parameters(later) = later else {
        panic!("not parameters");
    };
    assert_eq!(later.minor, 2);
    assert!(later.needs_negotiation());
    let extended = parameters(b"_pq_.a\x001\0user\0ann\0_pq_.b\0\0\0").unwrap();
    let extensions: Vec<_> = extended.extensions().collect();
    assert_eq!(extensions, ["_pq_.a", "_pq_.b"]);
    assert!(extended.needs_negotiation());
}

#[test]
fn other_major_versions_are_refused() {
    for (version, major, minor) in [(0x0002_0000, 2, 0), (0x0004_0001, 4, 1), (0, 0, 0)] {
        let error = Startup::decode(&packet(version, b"user\0ann\0\0")).unwrap_err();
        assert_eq!(error, StartupError::UnsupportedVersion { major, minor });
        assert_eq!(error.sqlstate(), SqlState::FEATURE_NOT_SUPPORTED);
    }
}

#[test]
fn lengths_out_of_range_are_refused_before_anything_is_read() {
    let http = u32::from_be_bytes(*b"GET ");
    let tls = u32::from_be_bytes([0x16, 3, 1, 2]);
    for length in [0, 3, 7, 10_005, http, tls, u32::MAX] {
        let error = Startup::decode(&length.to_be_bytes()).unwrap_err();
        assert_eq!(error, StartupError::BadLength { length });
        assert_eq!(error.sqlstate(), SqlState::PROTOCOL_VIOLATION);
    }
    assert_eq!(Startup::decode(&10_004_u32.to_be_bytes()), Ok(None));
    assert_eq!(Startup::decode(&8_u32.to_be_bytes()), Ok(None));
}

#[test]
fn every_cut_of_a_packet_is_incomplete() {
    let bytes = packet(0x0003_0000, b"user\0ann\0\0");
    for end in 0..bytes.len() {
        assert_eq!(Startup::decode(&bytes[..end]), Ok(None), "cut at {end}");
    }
}

#[test]
fn parameters_that_do_not_fill_their_packet_are_refused() {
    let unterminated = |field| Reason::Unterminated { field };
    let version = 0x0003_0000;
    assert_eq!(
        malformed(&packet(version, b"user\0ann\0")),
        unterminated("parameter name")
    );
    assert_eq!(
        malformed(&packet(version, b"user\0ann")),
        unterminated("parameter value")
    );
    assert_eq!(
        malformed(&packet(version, b"")),
        unterminated("parameter name")
    );
    let bytes = 2;
    assert_eq!(
        malformed(&packet(version, b"user\0ann\0\0x\0")),
        Reason::Trailing { bytes }
    );
}

#[test]
fn what_is_not_utf8_is_refused_with_the_parameter_s_name() {
    let error = parameters(b"user\0\xff\0\0").unwrap_err();
    let parameter = "user".to_owned();
    assert_eq!(error, StartupError::NotUtf8 { parameter });
    assert_eq!(error.sqlstate(), SqlState::CHARACTER_NOT_IN_REPERTOIRE);
    let error = parameters(b"\xffser\0ann\0\0").unwrap_err();
    assert!(matches!(error, StartupError::NotUtf8 { .. }));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(
        code in prop_oneof![
            any::<u32>(), Just(SSL_CODE), Just(GSSENC_CODE), Just(CANCEL_CODE), Just(0x0003_0000)
        ],
        rest in prop::collection::vec(prop_oneof![any::<u8>(), Just(0)], 0..300),
    ) {
        drop(Startup::decode(&rest));
        let bytes = packet(code, &rest);
        if let Ok(decoded) = Startup::decode(&bytes) {
            let (request, length) = decoded.expect("the packet is all there");
            prop_assert_eq!(length, bytes.len());
            if let Startup::Parameters(Parameters { params, .. }) = request {
                let kept: usize = params.iter().map(|(n, v)| n.len() + v.len() + 2).sum();
                prop_assert!(kept < bytes.len());
            }
        }
    }
}
