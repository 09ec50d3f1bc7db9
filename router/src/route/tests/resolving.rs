//! From a plan and one execution's parameters to a shard.

use proptest::prelude::*;
use topology::{Key, KeyType, Snapshot};

use super::cluster::{neighbours, owner, snapshot};
use crate::route::{
    KeyColumn, KeySource, NoParameters, Parameter, Parameters, Plan, Refusal, Target, Unnested,
    resolve,
};

const INT4: u32 = 23;
const INT8: u32 = 20;
const TEXT: u32 = 25;
const UUID: u32 = 2950;

/// Values with their format and type.
#[derive(Debug, Clone)]
struct Bound(Vec<(Option<Vec<u8>>, bool, u32)>);

impl Parameters for Bound {
    fn get(&self, index: u16) -> Option<Parameter<'_>> {
        let (value, binary, type_oid) = self.0.get(usize::from(index))?;
        Some(Parameter {
            value: value.as_deref(),
            binary: *binary,
            type_oid: *type_oid,
        })
    }
}

fn text(value: &str) -> Bound {
    Bound(vec![(Some(value.as_bytes().to_vec()), false, 0)])
}

fn binary(value: &[u8], type_oid: u32) -> Bound {
    Bound(vec![(Some(value.to_vec()), true, type_oid)])
}

fn null() -> Bound {
    Bound(vec![(None, false, 0)])
}

fn by(key_type: KeyType, sources: &[KeySource]) -> Plan {
    Plan::Key {
        key_type,
        sources: sources.to_vec(),
        writes: false,
        inserts: None,
    }
}

fn parameter(key_type: KeyType) -> Plan {
    by(key_type, &[KeySource::Parameter(0)])
}

fn array(key_type: KeyType) -> Plan {
    by(key_type, &[KeySource::ArrayParameter(0)])
}

fn literals(keys: &[i64]) -> Plan {
    let sources: Vec<_> = keys
        .iter()
        .map(|key| KeySource::Literal(Key::Bigint(*key)))
        .collect();
    by(KeyType::Bigint, &sources)
}

fn state(result: Result<Target, Refusal>) -> &'static str {
    result.unwrap_err().sqlstate
}

fn shard_of(result: Result<Target, Refusal>) -> topology::ShardIndex {
    match result {
        Ok(Target::Shard { index, .. }) => index,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_parameter_is_the_same_key_in_every_format() {
    let plan = parameter(KeyType::Bigint);
    let wanted = owner(&Key::Bigint(42));
    let forms = [
        text("42"),
        text(" +42 "),
        binary(&42_i16.to_be_bytes(), 21),
        binary(&42_i32.to_be_bytes(), INT4),
        binary(&42_i64.to_be_bytes(), INT8),
        binary(&42_i64.to_be_bytes(), 0),
        binary(b"42", TEXT),
    ];
    for form in forms {
        assert_eq!(
            shard_of(resolve(&plan, &form, None, &snapshot())),
            wanted,
            "{form:?}"
        );
    }
    let uuid = [7_u8; 16];
    let wanted = owner(&Key::Uuid(uuid));
    let written = "07070707-0707-0707-0707-070707070707";
    let forms = [
        text(written),
        binary(&uuid, UUID),
        binary(&uuid, 0),
        binary(written.as_bytes(), TEXT),
    ];
    for form in forms {
        let found = resolve(&parameter(KeyType::Uuid), &form, None, &snapshot());
        assert_eq!(shard_of(found), wanted, "{form:?}");
    }
}

#[test]
fn parameters_of_other_types_are_refused() {
    let snapshot = snapshot();
    for (oid, key_type) in [
        (1700, KeyType::Bigint),
        (701, KeyType::Bigint),
        (UUID, KeyType::Bigint),
        (1042, KeyType::Text),
        (INT4, KeyType::Text),
        (INT8, KeyType::Uuid),
    ] {
        let bound = Bound(vec![(Some(b"1".to_vec()), false, oid)]);
        assert_eq!(
            state(resolve(&parameter(key_type), &bound, None, &snapshot)),
            "0A000"
        );
        assert_eq!(
            state(resolve(&array(key_type), &bound, None, &snapshot)),
            "0A000"
        );
    }
}

#[test]
fn parameters_that_are_no_keys_are_refused_without_their_values() {
    let snapshot = snapshot();
    let plan = parameter(KeyType::Bigint);
    let refusal = resolve(&plan, &text("secret"), None, &snapshot).unwrap_err();
    assert_eq!(refusal.sqlstate, "22P02");
    assert_eq!(
        refusal.message,
        "invalid input syntax for type bigint in parameter $1"
    );
    assert_eq!(
        state(resolve(
            &plan,
            &text("9223372036854775808"),
            None,
            &snapshot
        )),
        "22003"
    );
    assert_eq!(
        state(resolve(&plan, &binary(&[1, 2, 3], 0), None, &snapshot)),
        "22P03"
    );
    assert_eq!(
        state(resolve(&plan, &NoParameters, None, &snapshot)),
        "42P02"
    );
    let long = text(&"x".repeat(2_000));
    assert_eq!(
        state(resolve(&parameter(KeyType::Text), &long, None, &snapshot)),
        "54000"
    );
}

#[test]
fn null_matches_nothing_and_is_no_key_of_a_new_row() {
    let snapshot = snapshot();
    assert_eq!(
        resolve(&parameter(KeyType::Bigint), &null(), None, &snapshot),
        Ok(Target::Any)
    );
    let sources = [KeySource::Parameter(0), KeySource::Literal(Key::Bigint(9))];
    let found = resolve(&by(KeyType::Bigint, &sources), &null(), None, &snapshot);
    assert_eq!(shard_of(found), owner(&Key::Bigint(9)));
    let inserts = KeyColumn {
        table: "orders".to_owned(),
        column: "customer_id".to_owned(),
    };
    let plan = Plan::Key {
        key_type: KeyType::Bigint,
        sources: sources.to_vec(),
        writes: true,
        inserts: Some(inserts),
    };
    assert_eq!(state(resolve(&plan, &null(), None, &snapshot)), "23502");
}

#[test]
fn all_keys_lie_on_one_shard_or_the_statement_is_refused() {
    let snapshot = snapshot();
    let ((one, near), far) = neighbours();
    let wanted = owner(&Key::Bigint(one));
    assert_eq!(
        shard_of(resolve(
            &literals(&[one, near]),
            &NoParameters,
            None,
            &snapshot
        )),
        wanted
    );
    assert_eq!(
        state(resolve(
            &literals(&[one, far]),
            &NoParameters,
            None,
            &snapshot
        )),
        "0A000"
    );
    let in_array = |keys: &str| resolve(&array(KeyType::Bigint), &text(keys), None, &snapshot);
    assert_eq!(
        shard_of(in_array(&format!("{{{one},NULL, {near}}}"))),
        wanted
    );
    assert_eq!(state(in_array(&format!("{{{one},{far}}}"))), "0A000");
    assert_eq!(in_array("{}"), Ok(Target::Any));
    assert_eq!(in_array("{NULL}"), Ok(Target::Any));
    assert_eq!(
        resolve(&array(KeyType::Bigint), &null(), None, &snapshot),
        Ok(Target::Any)
    );
    assert_eq!(state(in_array("{{1}}")), "0A000");
    assert_eq!(state(in_array("1,2")), "22P02");
}

#[test]
fn a_binary_array_names_the_type_of_its_elements() {
    let snapshot = snapshot();
    let array_of = |oid: u32, element: &[u8]| {
        let words = [1, 0, oid, 1, 1, u32::try_from(element.len()).unwrap()];
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        binary(&[&header, element].concat(), 0)
    };
    let plan = array(KeyType::Bigint);
    let found = resolve(
        &plan,
        &array_of(INT4, &42_i32.to_be_bytes()),
        None,
        &snapshot,
    );
    assert_eq!(shard_of(found), owner(&Key::Bigint(42)));
    let numeric = array_of(1700, &42_i32.to_be_bytes());
    assert_eq!(state(resolve(&plan, &numeric, None, &snapshot)), "0A000");
}

fn needs_hint(sources: &[KeySource]) -> Plan {
    Plan::NeedsHint {
        key_type: KeyType::Bigint,
        sources: sources.to_vec(),
        writes: false,
        refusal: Refusal::unsupported("no key"),
    }
}

#[test]
fn a_hint_routes_what_shows_no_key_and_contradicts_none() {
    let snapshot = snapshot();
    let ((one, near), far) = neighbours();
    let hint = Key::Bigint(one);
    let with = |plan: &Plan, hint| resolve(plan, &NoParameters, Some(hint), &snapshot);
    let wanted = owner(&hint);
    assert_eq!(shard_of(with(&needs_hint(&[]), &hint)), wanted);
    assert_eq!(shard_of(with(&literals(&[one]), &hint)), wanted);
    assert_eq!(shard_of(with(&Plan::Any { writes: false }, &hint)), wanted);
    assert_eq!(shard_of(with(&literals(&[]), &hint)), wanted);
    for other in [near, far] {
        assert_eq!(state(with(&literals(&[other]), &hint)), "0A000");
        let sources = [KeySource::Literal(Key::Bigint(other))];
        assert_eq!(state(with(&needs_hint(&sources), &hint)), "0A000");
    }
    assert_eq!(
        state(with(&literals(&[one]), &Key::Text("1".into()))),
        "0A000"
    );
    let without = resolve(&needs_hint(&[]), &NoParameters, None, &snapshot).unwrap_err();
    assert_eq!(without.message, "no key");
}

#[test]
fn without_shards_there_is_nowhere_to_go() {
    let empty = Snapshot::default();
    let plans = [
        literals(&[1]),
        Plan::Any { writes: false },
        Plan::Everywhere,
    ];
    for plan in plans {
        assert_eq!(state(resolve(&plan, &NoParameters, None, &empty)), "57P03");
    }
    let hint = Key::Bigint(1);
    assert_eq!(
        state(resolve(
            &needs_hint(&[]),
            &NoParameters,
            Some(&hint),
            &empty
        )),
        "57P03"
    );
}

fn key_types() -> impl Strategy<Value = KeyType> {
    prop::sample::select(vec![KeyType::Bigint, KeyType::Text, KeyType::Uuid])
}

/// Types that are read, and some that are not.
fn oids() -> impl Strategy<Value = u32> {
    let known = vec![
        0, INT8, 21, INT4, TEXT, 705, 1043, UUID, 1005, 1007, 1009, 1016, 2951, 1700,
    ];
    prop_oneof![prop::sample::select(known), any::<u32>()]
}

proptest! {
    #[test]
    fn a_bigint_goes_where_the_ring_says(value: i64) {
        let wanted = snapshot().owner_of(&Key::Bigint(value)).unwrap();
        for bound in [text(&value.to_string()), binary(&value.to_be_bytes(), INT8)] {
            let found = resolve(&parameter(KeyType::Bigint), &bound, None, &snapshot()).unwrap();
            let token = topology::hash::token_of(&Key::Bigint(value));
            prop_assert_eq!(found, Target::Shard { index: wanted.owner, token: Some(token) });
        }
    }

    #[test]
    fn a_text_goes_where_the_ring_says(value in ".{0,40}") {
        let wanted = owner(&Key::Text(value.as_str().into()));
        for bound in [text(&value), binary(value.as_bytes(), TEXT)] {
            let found = resolve(&parameter(KeyType::Text), &bound, None, &snapshot());
            prop_assert_eq!(shard_of(found), wanted);
        }
    }

    #[test]
    fn no_bytes_bring_it_down(
        key_type in key_types(),
        bytes in prop::option::of(prop::collection::vec(any::<u8>(), 0..64)),
        binary: bool,
        oid in oids(),
    ) {
        let bound = Bound(vec![(bytes, binary, oid)]);
        for plan in [parameter(key_type), array(key_type)] {
            let _outcome = resolve(&plan, &bound, None, &snapshot());
        }
    }

    #[test]
    fn no_array_brings_it_down(key_type in key_types(), text_form in r#"[{}",\\ a1-9NULL\[\]=]{0,24}"#) {
        let _outcome = resolve(&array(key_type), &text(&text_form), None, &snapshot());
    }
}

fn unnested(beside: &[u16], longest: usize) -> Plan {
    Plan::Key {
        key_type: KeyType::Bigint,
        sources: vec![KeySource::Unnested(Unnested {
            parameter: 0,
            beside: beside.into(),
            longest,
        })],
        writes: true,
        inserts: Some(KeyColumn {
            table: "t".to_owned(),
            column: "k".to_owned(),
        }),
    }
}

#[test]
fn an_array_of_new_keys_is_as_long_as_those_beside_it_and_has_no_null() {
    let arrays = |first: &'static str, second: &'static str| {
        Bound(vec![
            (Some(first.as_bytes().to_vec()), false, 0),
            (Some(second.as_bytes().to_vec()), false, 0),
        ])
    };
    let found =
        |plan: &Plan, first, second| resolve(plan, &arrays(first, second), None, &snapshot());
    let wanted = owner(&Key::Bigint(42));
    for second in ["{a,b}", "{a}", "{}", "{NULL,\"b,c\"}"] {
        let plan = unnested(&[1], 2);
        assert_eq!(
            shard_of(found(&plan, "{42,42}", second)),
            wanted,
            "{second}"
        );
    }
    for (first, second) in [("{42}", "{a,b}"), ("{42,NULL}", "{a}"), ("{}", "{a}")] {
        assert_eq!(state(found(&unnested(&[1], 0), first, second)), "23502");
    }
    assert_eq!(state(found(&unnested(&[], 2), "{42}", "{}")), "23502");
    assert_eq!(found(&unnested(&[1], 0), "{}", "{}"), Ok(Target::Any));
    assert_eq!(
        state(found(&unnested(&[1], 0), "{42}", "{{a},{b}}")),
        "0A000"
    );
    let missing = Bound(vec![(Some(b"{42}".to_vec()), false, 0)]);
    let found = resolve(&unnested(&[1], 0), &missing, None, &snapshot());
    assert!(found.is_err(), "{found:?}");
}
