use super::*;

const UP: Order = Order {
    descending: false,
    nulls_first: false,
};

fn numeric(negative: bool, weight: i16, digits: &[i16]) -> Value {
    let count = u16::try_from(digits.len()).unwrap();
    let mut bytes = count.to_be_bytes().to_vec();
    bytes.extend(weight.to_be_bytes());
    bytes.extend(if negative { [0x40, 0] } else { [0, 0] });
    bytes.extend([0, 0]);
    bytes.extend(digits.iter().flat_map(|digit| digit.to_be_bytes()));
    Value::read(Kind::Numeric, Some(bytes.into())).unwrap()
}

fn special(sign: u16) -> Value {
    let bytes = [&[0, 0, 0, 0][..], &sign.to_be_bytes(), &[0, 0]].concat();
    Value::read(Kind::Numeric, Some(bytes.into())).unwrap()
}

fn read(kind: Kind, bytes: &[u8]) -> Value {
    Value::read(kind, Some(Bytes::copy_from_slice(bytes))).unwrap()
}

fn assert_ascending(values: &[Value]) {
    for (at, one) in values.iter().enumerate() {
        for (other_at, other) in values.iter().enumerate() {
            let found = one.compare(other, UP);
            assert_eq!(found, at.cmp(&other_at), "{one:?} and {other:?}");
        }
    }
}

#[test]
fn numerics_are_ordered_by_value_with_nan_last() {
    assert_ascending(&[
        special(0xf000),
        numeric(true, 1, &[1, 0]),
        numeric(true, 0, &[9999, 9999]),
        numeric(true, -1, &[1]),
        numeric(false, 0, &[]),
        numeric(false, -1, &[1]),
        numeric(false, 0, &[1, 1000]),
        numeric(false, 0, &[1, 1000, 1]),
        numeric(false, 0, &[9999]),
        numeric(false, 1, &[1]),
        special(0xd000),
        special(0xc000),
    ]);
    let equal = numeric(false, 1, &[0, 5, 0]).compare(&numeric(false, 0, &[5]), UP);
    assert_eq!(equal, Ordering::Equal);
}

#[test]
fn floats_are_ordered_with_nan_last_and_zeros_equal() {
    let float = |value: f64| read(Kind::Float, &value.to_be_bytes());
    assert_ascending(&[
        float(f64::NEG_INFINITY),
        float(-1.5),
        float(0.0),
        float(f64::MIN_POSITIVE),
        float(f64::INFINITY),
        float(f64::NAN),
    ]);
    assert_eq!(float(0.0).compare(&float(-0.0), UP), Ordering::Equal);
    assert_eq!(
        float(f64::NAN).compare(&float(f64::NAN), UP),
        Ordering::Equal
    );
}

#[test]
fn nulls_come_where_the_order_says() {
    let one = read(Kind::Signed, &1_i32.to_be_bytes());
    for (descending, nulls_first) in [(false, false), (false, true), (true, false), (true, true)] {
        let order = Order {
            descending,
            nulls_first,
        };
        let expected = if nulls_first {
            Ordering::Less
        } else {
            Ordering::Greater
        };
        assert_eq!(Value::Null.compare(&one, order), expected);
        assert_eq!(one.compare(&Value::Null, order), expected.reverse());
    }
}

#[test]
fn intervals_are_ordered_by_months_of_thirty_days() {
    let interval = |months: i32, days: i32, time: i64| {
        let bytes = [
            &time.to_be_bytes()[..],
            &days.to_be_bytes(),
            &months.to_be_bytes(),
        ];
        read(Kind::Interval, &bytes.concat())
    };
    assert_ascending(&[
        interval(0, -1, 0),
        interval(0, 0, 1),
        interval(0, 29, 86_399_999_999),
        interval(1, 0, 0),
        interval(1, 0, 1),
    ]);
    let equal = interval(1, 0, 0).compare(&interval(0, 29, 86_400_000_000), UP);
    assert_eq!(equal, Ordering::Equal);
}

#[test]
fn addresses_are_ordered_by_family_network_prefix_and_host() {
    let inet = |bits: u8, address: [u8; 4]| {
        let bytes = [&[2, bits, 0, 4][..], &address];
        read(Kind::Network, &bytes.concat())
    };
    let six = read(Kind::Network, &[&[3, 128, 0, 16][..], &[0; 16]].concat());
    assert_ascending(&[
        inet(8, [10, 0, 0, 0]),
        inet(24, [10, 0, 0, 1]),
        inet(32, [10, 0, 0, 1]),
        inet(32, [10, 0, 0, 2]),
        inet(8, [11, 0, 0, 0]),
        six,
    ]);
}

#[test]
fn padding_does_not_count() {
    let one = read(Kind::Padded, b"ab  ");
    assert_eq!(one.compare(&read(Kind::Padded, b"ab"), UP), Ordering::Equal);
    assert_ascending(&[read(Kind::Padded, b"a  "), one, read(Kind::Padded, b"b")]);
}

#[test]
fn what_is_malformed_is_no_value() {
    for (kind, bytes) in [
        (Kind::Signed, &b"abc"[..]),
        (Kind::Float, b"ab"),
        (Kind::Numeric, b"\0\x02\0\0\0\0\0\0\0"),
        (Kind::Interval, b"abcdefgh"),
        (Kind::TimeTz, b"abcdefgh"),
        (Kind::Network, b""),
        (Kind::Bits, b"\0"),
    ] {
        let value = Some(Bytes::copy_from_slice(bytes));
        assert_eq!(Value::read(kind, value), None, "{kind:?}");
    }
}
