//! PostgreSQL's own order of values, as far as it can be known from their binary form.
//!
//! Types whose order lies in the server's catalogs, such as enums, and texts under a collation that
//! is not by bytes have none here.

use std::cmp::Ordering;

use bytes::Bytes;

use super::plan::Order;

/// How values of a type are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A signed number of 2, 4 or 8 bytes: integers, dates, times, money.
    Signed,
    /// An unsigned number of 1, 4 or 8 bytes: bool, oid and the like.
    Unsigned,
    /// A float of 4 or 8 bytes.
    Float,
    /// numeric.
    Numeric,
    /// By bytes: bytea, uuid, texts under a collation by bytes.
    Bytes,
    /// bpchar: by bytes without trailing spaces.
    Padded,
    /// timetz.
    TimeTz,
    /// interval.
    Interval,
    /// inet, cidr.
    Network,
    /// bit, varbit.
    Bits,
}

impl Kind {
    /// How values of a type are compared; none when that is not known here.
    #[must_use]
    pub fn of(type_oid: u32) -> Option<Self> {
        Some(match type_oid {
            // int8, int2, int4, money, date, time, timestamp, timestamptz
            20 | 21 | 23 | 790 | 1082 | 1083 | 1114 | 1184 => Self::Signed,
            // bool, char, oid, xid8, pg_lsn
            16 | 18 | 26 | 5069 | 3220 => Self::Unsigned,
            700 | 701 => Self::Float,
            1700 => Self::Numeric,
            // bytea, name, text, varchar, macaddr, macaddr8, uuid
            17 | 19 | 25 | 1043 | 829 | 774 | 2950 => Self::Bytes,
            1042 => Self::Padded,
            1266 => Self::TimeTz,
            1186 => Self::Interval,
            650 | 869 => Self::Network,
            1560 | 1562 => Self::Bits,
            _ => return None,
        })
    }
}

/// Whether the order of a type depends on its collation.
#[must_use]
pub fn is_collated(type_oid: u32) -> bool {
    matches!(type_oid, 25 | 1042 | 1043)
}

/// A value that can be compared with others of its column.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL.
    Null,
    /// See [`Kind::Signed`], [`Kind::Unsigned`] and [`Kind::Interval`].
    Number(i128),
    /// See [`Kind::Float`].
    Float(f64),
    /// See [`Kind::Numeric`].
    Numeric(Numeric),
    /// See [`Kind::Bytes`].
    Bytes(Bytes),
    /// The time in UTC, and the zone.
    TimeTz(i64, i32),
    /// The family, the length of the prefix, the address.
    Network(u8, u8, Bytes),
    /// The bytes and how many bits.
    Bits(Bytes, i32),
}

/// A numeric.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Numeric {
    /// Smaller than all.
    NegativeInfinity,
    /// A number; digits of base 10,000 without zeros at either end, the first of this weight.
    Finite {
        /// Whether it is below zero.
        negative: bool,
        /// The power of 10,000 of the first digit.
        weight: i32,
        /// The digits; none is zero.
        digits: Vec<i16>,
    },
    /// Larger than all numbers.
    Infinity,
    /// Larger than all.
    NaN,
}

impl Value {
    /// Reads a value in binary form; none when it is malformed.
    #[must_use]
    pub fn read(kind: Kind, value: Option<Bytes>) -> Option<Self> {
        let Some(bytes) = value else {
            return Some(Self::Null);
        };
        Some(match kind {
            Kind::Signed => Self::Number(match bytes.len() {
                2 => i16::from_be_bytes(fixed(&bytes, 0)?).into(),
                4 => i32::from_be_bytes(fixed(&bytes, 0)?).into(),
                8 => i64::from_be_bytes(fixed(&bytes, 0)?).into(),
                _ => return None,
            }),
            Kind::Unsigned => Self::Number(match bytes.len() {
                1 => (*bytes.first()?).into(),
                4 => u32::from_be_bytes(fixed(&bytes, 0)?).into(),
                8 => u64::from_be_bytes(fixed(&bytes, 0)?).into(),
                _ => return None,
            }),
            Kind::Float => Self::Float(match bytes.len() {
                4 => f32::from_be_bytes(fixed(&bytes, 0)?).into(),
                8 => f64::from_be_bytes(fixed(&bytes, 0)?),
                _ => return None,
            }),
            Kind::Numeric => Self::Numeric(Numeric::read(&bytes)?),
            Kind::Bytes => Self::Bytes(bytes),
            Kind::Padded => {
                let spaces = bytes.iter().rev().take_while(|byte| **byte == b' ').count();
                Self::Bytes(bytes.slice(..bytes.len() - spaces))
            }
            Kind::TimeTz => {
                let time = i64::from_be_bytes(fixed(&bytes, 0)?);
                let zone = i32::from_be_bytes(fixed(&bytes, 8)?);
                Self::TimeTz(time + i64::from(zone) * 1_000_000, zone)
            }
            Kind::Interval => {
                let time = i128::from(i64::from_be_bytes(fixed(&bytes, 0)?));
                let days = i128::from(i32::from_be_bytes(fixed(&bytes, 8)?));
                let months = i128::from(i32::from_be_bytes(fixed(&bytes, 12)?));
                Self::Number((months * 30 + days) * 86_400_000_000 + time)
            }
            Kind::Network => {
                let (family, bits) = (*bytes.first()?, *bytes.get(1)?);
                Self::Network(family, bits, bytes.slice(4.min(bytes.len())..))
            }
            Kind::Bits => {
                let bits = i32::from_be_bytes(fixed(&bytes, 0)?);
                Self::Bits(bytes.slice(4..), bits)
            }
        })
    }

    /// Compares two values of one column, neither of them NULL.
    fn ascending(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (Self::Float(one), Self::Float(other)) => floats(*one, *other),
            (Self::Numeric(one), Self::Numeric(other)) => one.compare(other),
            (Self::Bytes(one), Self::Bytes(other)) => one.cmp(other),
            (Self::TimeTz(one, zone), Self::TimeTz(other, other_zone)) => {
                one.cmp(other).then(zone.cmp(other_zone))
            }
            (Self::Network(family, bits, address), Self::Network(other, other_bits, to)) => {
                family.cmp(other).then_with(|| {
                    let common = usize::from(*bits.min(other_bits));
                    prefix(address, to, common)
                        .then(bits.cmp(other_bits))
                        .then_with(|| address.cmp(to))
                })
            }
            (Self::Bits(one, bits), Self::Bits(other, other_bits)) => {
                let shorter = one.len().min(other.len());
                let common = one.get(..shorter).cmp(&other.get(..shorter));
                common.then(bits.cmp(other_bits))
            }
            // Values of one column are of one kind.
            _ => Ordering::Equal,
        }
    }

    /// Compares two values of one column in an order.
    #[must_use]
    pub fn compare(&self, other: &Self, order: Order) -> Ordering {
        match (self, other) {
            (Self::Null, Self::Null) => Ordering::Equal,
            (Self::Null, _) if order.nulls_first => Ordering::Less,
            (Self::Null, _) => Ordering::Greater,
            (_, Self::Null) if order.nulls_first => Ordering::Greater,
            (_, Self::Null) => Ordering::Less,
            (one, other) if order.descending => other.ascending(one),
            (one, other) => one.ascending(other),
        }
    }
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

/// All NaN are equal and larger than all else.
fn floats(one: f64, other: f64) -> Ordering {
    one.partial_cmp(&other)
        .unwrap_or_else(|| one.is_nan().cmp(&other.is_nan()))
}

/// Compares the first bits of two addresses.
fn prefix(one: &[u8], other: &[u8], bits: usize) -> Ordering {
    let (whole, rest) = (bits / 8, bits % 8);
    let first = one.get(..whole).cmp(&other.get(..whole));
    if first != Ordering::Equal || rest == 0 {
        return first;
    }
    let mask = !(0xff_u8 >> rest);
    let last = |bytes: &[u8]| bytes.get(whole).map(|byte| byte & mask);
    last(one).cmp(&last(other))
}

impl Numeric {
    fn read(bytes: &[u8]) -> Option<Self> {
        let count = usize::from(u16::from_be_bytes(fixed(bytes, 0)?));
        let mut weight = i32::from(i16::from_be_bytes(fixed(bytes, 2)?));
        let negative = match u16::from_be_bytes(fixed(bytes, 4)?) {
            0x0000 => false,
            0x4000 => true,
            0xc000 => return Some(Self::NaN),
            0xd000 => return Some(Self::Infinity),
            0xf000 => return Some(Self::NegativeInfinity),
            _ => return None,
        };
        let mut digits = Vec::with_capacity(count);
        for at in 0..count {
            let digit = i16::from_be_bytes(fixed(bytes, 8 + at * 2)?);
            if digits.is_empty() && digit == 0 {
                weight -= 1;
            } else {
                digits.push(digit);
            }
        }
        while digits.last() == Some(&0) {
            digits.pop();
        }
        Some(Self::Finite {
            negative: negative && !digits.is_empty(),
            weight,
            digits,
        })
    }

    fn rank(&self) -> u8 {
        match self {
            Self::NegativeInfinity => 0,
            Self::Finite { .. } => 1,
            Self::Infinity => 2,
            Self::NaN => 3,
        }
    }

    fn compare(&self, other: &Self) -> Ordering {
        let (
            Self::Finite {
                negative,
                weight,
                digits,
            },
            Self::Finite {
                negative: other_negative,
                weight: other_weight,
                digits: other_digits,
            },
        ) = (self, other)
        else {
            return self.rank().cmp(&other.rank());
        };
        let sign = |negative: bool, digits: &[i16]| match (digits.is_empty(), negative) {
            (true, _) => 0_i8,
            (false, true) => -1,
            (false, false) => 1,
        };
        let (one, two) = (sign(*negative, digits), sign(*other_negative, other_digits));
        if one != two || one == 0 {
            return one.cmp(&two);
        }
        let size = weight
            .cmp(other_weight)
            .then_with(|| digits.cmp(other_digits));
        if *negative { size.reverse() } else { size }
    }
}

#[cfg(test)]
mod tests;
