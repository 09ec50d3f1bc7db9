//! Stored records: byte for byte what the golden files say, read back as what was written, and
//! never more than an error for anything else.

use std::fmt::Debug;
use std::time::{Duration, SystemTime};

use proptest::collection::vec;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    AuditAnchor, AuditHead, DecodeError, Digest, Endpoint, Group, Head, Hold, Incarnation, Lineage,
    LoginSeed, Placement, Promotion, RouterRecord, Shard, ShardState, ShardVnodes, Table,
    TokenRange, User, decode, encode,
};
use crate::{Epoch, GroupName, KeyType, ShardId, TableName, Term, Token, UserName, Verifier};

fn id(text: &str) -> ShardId {
    ShardId::try_new(text).unwrap()
}

fn endpoint(text: &str) -> Endpoint {
    Endpoint::try_new(text).unwrap()
}

fn table(schema: &str, name: &str, placement: Placement) -> Table {
    let name = TableName::try_from_parts(schema, name).unwrap();
    Table { name, placement }
}

/// The file is what is written, and both it and a later release's additions to it are read.
fn check<T>(golden: &str, record: &T)
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let golden = golden.strip_suffix('\n').unwrap();
    let written = String::from_utf8(encode(record)).unwrap();
    assert_eq!(written, golden);
    let read = |text: &str| decode::<T>("/key", text.as_bytes());
    assert_eq!(&read(golden).unwrap(), record);
    let grown = golden.replacen("{\"v\":1,", "{\"v\":1,\"later\":{\"a\":[1]},", 1);
    assert_eq!(&read(&grown).unwrap(), record);
    for version in [0, 2, u64::MAX] {
        let other = golden.replacen("{\"v\":1,", &format!("{{\"v\":{version},"), 1);
        let refused = read(&other);
        assert!(
            matches!(&refused, Err(DecodeError::UnknownVersion { version: found, .. }) if *found == version),
            "{refused:?}"
        );
    }
    let unversioned = golden.replacen("\"v\":1,", "", 1);
    assert!(matches!(
        read(&unversioned),
        Err(DecodeError::Malformed { .. })
    ));
}

/// A record of the golden files, whichever it is.
macro_rules! golden {
    ($file:literal, $record:expr) => {
        check(
            include_str!(concat!("../../testdata/records/", $file)),
            &$record,
        )
    };
}

#[test]
fn a_head_is_stored_as_in_its_golden_file() {
    golden!(
        "head.v1.json",
        Head {
            epoch: Epoch(41),
            term: Term(7)
        }
    );
}

#[test]
fn a_router_is_stored_as_in_its_golden_file() {
    golden!(
        "router.v1.json",
        RouterRecord {
            address: "router-a:6432".to_owned(),
            incarnation: Incarnation(0x00c0_ffee),
            applied_epoch: Epoch(41),
            version: "0.1.0".to_owned(),
        }
    );
    for text in [
        "",
        "c0ffee",
        "0000000000C0FFEE",
        "+000000000c0ffee",
        "00000000000c0ffee",
    ] {
        assert!(Incarnation::try_from(text.to_owned()).is_err(), "{text}");
    }
}

#[test]
fn a_shard_is_stored_as_in_its_golden_file() {
    let at = |text| humantime::parse_rfc3339(text).unwrap();
    let replicas = vec![
        endpoint("postgres://10.0.0.7:5433/app"),
        endpoint("postgres://[fd00::7]/my%20app"),
    ];
    let shard = Shard {
        id: id("shard-1"),
        name: "Shard 1".to_owned(),
        primary_endpoint: endpoint("postgresql://user:secret@db1.internal/app"),
        replicas,
        state: ShardState::Active,
        weight: 1,
        vnode_count: 256,
        version: 3,
        created_at: at("2026-01-02T03:04:05.678Z"),
        updated_at: at("2026-02-03T04:05:06Z"),
        lineage: None,
        promotion: None,
    };
    golden!("shard.v1.json", shard.clone());
    let promoting = Shard {
        lineage: Some(Lineage {
            system: "7361234567890123456".to_owned(),
            timeline: 2,
        }),
        promotion: Some(Promotion {
            id: "p-1".to_owned(),
            epoch: Epoch(41),
            to: Some(endpoint("postgres://10.0.0.7:5433/app")),
            is_down: true,
            accepts_loss: false,
            since: at("2026-02-03T04:05:06Z"),
        }),
        ..shard
    };
    golden!("shard_promoting.v1.json", promoting);
}

#[test]
fn vnodes_are_stored_as_in_their_golden_file() {
    let tokens = vec![Token(0), Token(1000), Token(1 << 31), Token(u32::MAX)];
    golden!(
        "vnodes.v1.json",
        ShardVnodes {
            shard: id("shard-1"),
            tokens
        }
    );
}

#[test]
fn a_group_is_stored_as_in_its_golden_file() {
    let name = GroupName::try_new("default").unwrap();
    golden!(
        "group.v1.json",
        Group {
            name,
            key_type: KeyType::Bigint
        }
    );
}

#[test]
fn a_table_of_each_placement_is_stored_as_in_its_golden_file() {
    let sharded = Placement::Sharded {
        group: GroupName::try_new("default").unwrap(),
        shard_key: "customer_id".to_owned(),
    };
    let unsharded = Placement::Unsharded {
        shard_id: id("shard-1"),
    };
    golden!("table_sharded.v1.json", table("public", "orders", sharded));
    golden!(
        "table_unsharded.v1.json",
        table("billing", "runs", unsharded)
    );
    let reference = table("public", "Country codes", Placement::Reference);
    golden!("table_reference.v1.json", reference);
}

#[test]
fn a_hold_is_stored_as_in_its_golden_file() {
    let range = |after, last| TokenRange {
        after: Token(after),
        last: Token(last),
    };
    let hold = Hold {
        id: "job-7".to_owned(),
        ranges: vec![range(1000, 1 << 31), range(u32::MAX, 0)],
        deadline_ms: 2500,
    };
    golden!("hold.v1.json", hold);
}

#[test]
fn a_user_is_stored_as_in_its_golden_file() {
    let at = |text| humantime::parse_rfc3339(text).unwrap();
    let user = User {
        name: UserName::try_new("app").unwrap(),
        verifier: Verifier::derive("sesame", b"0123456789abcdef", 4096),
        enabled: true,
        version: 2,
        created_at: at("2026-01-02T03:04:05.678Z"),
        updated_at: at("2026-02-03T04:05:06Z"),
    };
    golden!("user.v1.json", user);
}

#[test]
fn heads_beside_the_topology_are_stored_as_in_their_golden_files() {
    let (sequence, hash) = (41, Digest::of(b"entry 41"));
    golden!(
        "audit_head.v1.json",
        AuditHead {
            sequence,
            hash: None
        }
    );
    let chained = AuditHead {
        sequence,
        hash: Some(hash),
    };
    golden!("audit_head_chained.v1.json", chained);
    let anchor = AuditAnchor {
        sequence,
        hash,
        chained: true,
    };
    golden!("audit_anchor.v1.json", anchor);
    golden!("login_seed.v1.json", LoginSeed { seed: [7; 32] });
}

#[test]
fn a_time_that_cannot_be_said_is_stored_as_the_nearest() {
    let hours = |count: u64| Duration::from_secs(count * 3600);
    for (time, text) in [
        (
            SystemTime::UNIX_EPOCH - hours(1),
            "1970-01-01T00:00:00.000Z",
        ),
        (
            SystemTime::UNIX_EPOCH + hours(24 * 365 * 9000),
            "9999-12-31T23:59:59.000Z",
        ),
    ] {
        #[derive(Serialize)]
        struct Record {
            #[serde(with = "super::codec::rfc3339")]
            at: SystemTime,
        }
        let written = String::from_utf8(encode(&Record { at: time })).unwrap();
        assert_eq!(written, format!("{{\"v\":1,\"at\":\"{text}\"}}"));
    }
}

fn any_id() -> impl Strategy<Value = ShardId> {
    "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?".prop_map(|text| id(&text))
}

fn any_endpoint() -> impl Strategy<Value = Endpoint> {
    let host = "[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?|\\[::[0-9a-f]{1,4}\\]";
    // A database of a dot or two is a step on a path to a URL, and not worth a rule.
    (host, any::<u16>(), "[^\0./]{1,20}").prop_map(|(host, port, database)| {
        let database = crate::percent::escape(&database);
        endpoint(&format!("postgres://{host}:{port}/{database}"))
    })
}

fn any_time() -> impl Strategy<Value = SystemTime> {
    (0..253_402_300_799_000_u64).prop_map(|ms| SystemTime::UNIX_EPOCH + Duration::from_millis(ms))
}

fn any_state() -> impl Strategy<Value = ShardState> {
    prop_oneof![
        Just(ShardState::Active),
        Just(ShardState::Draining),
        Just(ShardState::Inactive)
    ]
}

fn any_lineage() -> impl Strategy<Value = Lineage> {
    ("[0-9]{1,19}", any::<u32>()).prop_map(|(system, timeline)| Lineage { system, timeline })
}

prop_compose! {
    fn any_promotion()(
        id in any::<String>(),
        to in proptest::option::of(any_endpoint()),
        (is_down, accepts_loss) in any::<(bool, bool)>(),
        epoch in any::<u64>().prop_map(Epoch),
        since in any_time(),
    ) -> Promotion {
        Promotion { id, epoch, to, is_down, accepts_loss, since }
    }
}

prop_compose! {
    fn any_shard()(
        id in any_id(),
        name in any::<String>(),
        primary_endpoint in any_endpoint(),
        replicas in vec(any_endpoint(), 0..4),
        state in any_state(),
        (weight, vnode_count, version) in any::<(u32, u32, u64)>(),
        created_at in any_time(),
        updated_at in any_time(),
        (lineage, promotion) in (proptest::option::of(any_lineage()), proptest::option::of(any_promotion())),
    ) -> Shard {
        Shard {
            id, name, primary_endpoint, replicas, state, weight, vnode_count, version,
            created_at, updated_at, lineage, promotion,
        }
    }
}

fn any_group_name() -> impl Strategy<Value = GroupName> {
    "[a-z0-9_-]{1,63}".prop_map(|text| GroupName::try_new(&text).unwrap())
}

fn any_table() -> impl Strategy<Value = Table> {
    let sharded = (any_group_name(), any::<String>())
        .prop_map(|(group, shard_key)| Placement::Sharded { group, shard_key });
    let unsharded = any_id().prop_map(|shard_id| Placement::Unsharded { shard_id });
    let placement = prop_oneof![sharded, unsharded, Just(Placement::Reference)];
    let part = "[^\0]{1,15}";
    (part, part, placement).prop_map(|(schema, name, placement)| table(&schema, &name, placement))
}

fn any_hold() -> impl Strategy<Value = Hold> {
    let range = any::<(u32, u32)>().prop_map(|(after, last)| TokenRange {
        after: Token(after),
        last: Token(last),
    });
    (any::<String>(), vec(range, 0..5), any::<u32>()).prop_map(|(id, ranges, deadline_ms)| Hold {
        id,
        ranges,
        deadline_ms,
    })
}

/// Any bytes, JSON of the right kind with anything in it, and golden files with a byte changed.
fn any_value() -> impl Strategy<Value = Vec<u8>> {
    let files = [
        include_str!("../../testdata/records/shard.v1.json"),
        include_str!("../../testdata/records/vnodes.v1.json"),
        include_str!("../../testdata/records/table_sharded.v1.json"),
        include_str!("../../testdata/records/hold.v1.json"),
        include_str!("../../testdata/records/user.v1.json"),
    ];
    let broken = (0..files.len(), any::<prop::sample::Index>(), any::<u8>());
    prop_oneof![
        vec(any::<u8>(), 0..100),
        "\\{\"v\":1,\"[a-z]{1,6}\":[0-9\"{}\\[\\]a-z,]{0,20}\\}".prop_map(String::into_bytes),
        broken.prop_map(move |(file, at, byte)| {
            let mut bytes = files[file].as_bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }),
    ]
}

/// What is read is a record: it is written and read back as itself.
fn stable<T>(bytes: &[u8]) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    if let Ok(record) = decode::<T>("/key", bytes) {
        let again = encode(&record);
        // A time finer than milliseconds is cut off when it is written for the first time.
        let read = decode::<T>("/key", &again).unwrap();
        prop_assert_eq!(encode(&read), again);
    }
    Ok(())
}

fn round_trips<T>(record: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + Debug,
{
    let bytes = encode(record);
    prop_assert_eq!(&decode::<T>("/key", &bytes).unwrap(), record);
    Ok(())
}

proptest! {
    #[test]
    fn every_record_is_read_back_as_it_was_written(
        shard in any_shard(),
        tokens in vec(any::<u32>().prop_map(Token), 0..300),
        name in any_group_name(),
        key_type in prop_oneof![Just(KeyType::Bigint), Just(KeyType::Text), Just(KeyType::Uuid)],
        table in any_table(),
        hold in any_hold(),
        (epoch, term) in any::<(u64, u64)>(),
    ) {
        round_trips(&ShardVnodes { shard: shard.id.clone(), tokens })?;
        round_trips(&shard)?;
        round_trips(&Group { name, key_type })?;
        round_trips(&table)?;
        round_trips(&hold)?;
        round_trips(&Head { epoch: Epoch(epoch), term: Term(term) })?;
    }

    #[test]
    fn any_value_is_a_record_or_an_error(bytes in any_value()) {
        stable::<Head>(&bytes)?;
        stable::<Shard>(&bytes)?;
        stable::<ShardVnodes>(&bytes)?;
        stable::<Group>(&bytes)?;
        stable::<Table>(&bytes)?;
        stable::<Hold>(&bytes)?;
        stable::<User>(&bytes)?;
        stable::<LoginSeed>(&bytes)?;
        stable::<AuditHead>(&bytes)?;
        stable::<AuditAnchor>(&bytes)?;
    }

    #[test]
    fn an_endpoint_is_read_back_from_its_own_text(endpoint in any_endpoint()) {
        prop_assert_eq!(Endpoint::try_new(&endpoint.to_string()), Ok(endpoint));
    }

    #[test]
    fn any_text_is_an_endpoint_or_an_error(
        text in "(postgres(ql)?://)?[a-z0-9:@/\\[\\]%.?#]{0,30}|\\PC{0,30}",
    ) {
        if let Ok(endpoint) = Endpoint::try_new(&text) {
            prop_assert_eq!(Endpoint::try_new(&endpoint.to_string()), Ok(endpoint));
        }
    }

    #[test]
    fn a_range_holds_what_lies_after_its_start_up_to_its_end(
        (after, last, token) in any::<(u32, u32, u32)>(),
    ) {
        let range = TokenRange { after: Token(after), last: Token(last) };
        // Counted from the start, where nothing wraps.
        let (end, at) = (last.wrapping_sub(after), token.wrapping_sub(after));
        let wanted = end == 0 || (at != 0 && at <= end);
        prop_assert_eq!(range.contains(Token(token)), wanted);
    }
}

#[test]
fn an_endpoint_says_what_is_wrong_with_it() {
    let rule = |text| Endpoint::try_new(text).map_err(|error| error.rule);
    assert_eq!(rule("db1:5432/app"), Err("its scheme is not postgres"));
    assert_eq!(rule("app"), Err("it is not a URL"));
    assert_eq!(rule("mysql://db1/app"), Err("its scheme is not postgres"));
    assert_eq!(rule("postgres:///app"), Err("it names no host"));
    assert_eq!(rule("postgres://db1"), Err("it does not name one database"));
    assert_eq!(
        rule("postgres://db1/a/b"),
        Err("it does not name one database")
    );
    assert_eq!(
        rule("postgres://db1/%ff"),
        Err("its database's name cannot be read")
    );
    assert_eq!(
        rule("postgres://db1/app?sslmode=require"),
        Err("it has parameters")
    );
    assert_eq!(rule("postgres://db1/app#x"), Err("it has parameters"));
}

#[test]
fn an_endpoint_holds_no_credentials_and_no_escapes() {
    let read = endpoint("postgres://user:secret@[fd00::1]:6543/gr%C3%B6%C3%9Fe%2Fx");
    assert_eq!(
        (read.host(), read.port(), read.database()),
        ("fd00::1", 6543, "größe/x")
    );
    assert_eq!(
        read.to_string(),
        "postgres://[fd00::1]:6543/gr%C3%B6%C3%9Fe%2Fx"
    );
}
