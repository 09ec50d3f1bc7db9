//! PostgreSQL's built-in types as far as the APIs treat them differently. Types that users create
//! have ids of their own on each shard and travel as text.

use std::borrow::Cow;

/// How a value's text form is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value.
    Scalar(Scalar),
    /// An array of any number of dimensions.
    Array {
        /// Its elements.
        element: Scalar,
        /// What stands between two elements.
        delimiter: u8,
    },
}

/// The families of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// bool.
    Boolean,
    /// int2, int4, oid: fits a double without loss.
    Integer,
    /// int8.
    Bigint,
    /// float4, float8.
    Float,
    /// numeric.
    Numeric,
    /// json, jsonb.
    Json,
    /// bytea.
    Bytes,
    /// date and time: ISO 8601 as they come.
    Clock,
    /// timetz.
    TimeTz,
    /// timestamp.
    Timestamp,
    /// timestamptz.
    TimestampTz,
    /// Everything else.
    Text,
}

impl Shape {
    /// The shape of a type; none for types that are not built in.
    #[must_use]
    pub fn of(type_oid: u32) -> Option<Self> {
        let (entry, is_array) = entry(type_oid)?;
        if !is_array {
            return Some(Self::Scalar(entry.scalar));
        }
        // Boxes hold commas themselves.
        let delimiter = if entry.name == "box" { b';' } else { b',' };
        Some(Self::Array {
            element: entry.scalar,
            delimiter,
        })
    }

    /// As [`Self::of`], taking types that are not built in as text.
    #[must_use]
    pub fn or_text(type_oid: u32) -> Self {
        Self::of(type_oid).unwrap_or(Self::Scalar(Scalar::Text))
    }
}

/// PostgreSQL's own short name of a type, or its id where it is not built in.
#[must_use]
pub fn name_of(type_oid: u32) -> Cow<'static, str> {
    match entry(type_oid) {
        Some((entry, false)) => Cow::Borrowed(entry.name),
        Some((entry, true)) => Cow::Owned(format!("{}[]", entry.name)),
        None => Cow::Owned(type_oid.to_string()),
    }
}

struct Entry {
    oid: u32,
    array_oid: u32,
    name: &'static str,
    scalar: Scalar,
}

fn entry(type_oid: u32) -> Option<(&'static Entry, bool)> {
    // 0 stands for "no such type" on both sides.
    if type_oid == 0 {
        return None;
    }
    let of_scalar = ENTRIES.iter().find(|entry| entry.oid == type_oid);
    of_scalar.map(|entry| (entry, false)).or_else(|| {
        let of_array = ENTRIES.iter().find(|entry| entry.array_oid == type_oid);
        of_array.map(|entry| (entry, true))
    })
}

const fn of(oid: u32, array_oid: u32, name: &'static str, scalar: Scalar) -> Entry {
    Entry {
        oid,
        array_oid,
        name,
        scalar,
    }
}

const fn text(oid: u32, array_oid: u32, name: &'static str) -> Entry {
    of(oid, array_oid, name, Scalar::Text)
}

/// From pg_type.dat of PostgreSQL 15; the ids never change. Common types first.
static ENTRIES: [Entry; 71] = [
    of(20, 1016, "int8", Scalar::Bigint),
    text(25, 1009, "text"),
    of(23, 1007, "int4", Scalar::Integer),
    text(1043, 1015, "varchar"),
    of(16, 1000, "bool", Scalar::Boolean),
    of(1184, 1185, "timestamptz", Scalar::TimestampTz),
    text(2950, 2951, "uuid"),
    of(3802, 3807, "jsonb", Scalar::Json),
    of(1700, 1231, "numeric", Scalar::Numeric),
    of(701, 1022, "float8", Scalar::Float),
    of(1114, 1115, "timestamp", Scalar::Timestamp),
    of(1082, 1182, "date", Scalar::Clock),
    of(17, 1001, "bytea", Scalar::Bytes),
    of(114, 199, "json", Scalar::Json),
    of(21, 1005, "int2", Scalar::Integer),
    of(700, 1021, "float4", Scalar::Float),
    of(1083, 1183, "time", Scalar::Clock),
    of(1266, 1270, "timetz", Scalar::TimeTz),
    of(26, 1028, "oid", Scalar::Integer),
    text(18, 1002, "char"),
    text(19, 1003, "name"),
    text(22, 1006, "int2vector"),
    text(24, 1008, "regproc"),
    text(27, 1010, "tid"),
    text(28, 1011, "xid"),
    text(29, 1012, "cid"),
    text(30, 1013, "oidvector"),
    text(142, 143, "xml"),
    text(600, 1017, "point"),
    text(601, 1018, "lseg"),
    text(602, 1019, "path"),
    text(603, 1020, "box"),
    text(604, 1027, "polygon"),
    text(628, 629, "line"),
    text(650, 651, "cidr"),
    text(705, 0, "unknown"),
    text(718, 719, "circle"),
    text(774, 775, "macaddr8"),
    text(790, 791, "money"),
    text(829, 1040, "macaddr"),
    text(869, 1041, "inet"),
    text(1033, 1034, "aclitem"),
    text(1042, 1014, "bpchar"),
    text(1186, 1187, "interval"),
    text(1560, 1561, "bit"),
    text(1562, 1563, "varbit"),
    text(1790, 2201, "refcursor"),
    text(2202, 2207, "regprocedure"),
    text(2203, 2208, "regoper"),
    text(2204, 2209, "regoperator"),
    text(2205, 2210, "regclass"),
    text(2206, 2211, "regtype"),
    text(2249, 2287, "record"),
    text(2275, 1263, "cstring"),
    text(2278, 0, "void"),
    text(2970, 2949, "txid_snapshot"),
    text(3614, 3643, "tsvector"),
    text(3615, 3645, "tsquery"),
    text(3734, 3735, "regconfig"),
    text(3769, 3770, "regdictionary"),
    text(3904, 3905, "int4range"),
    text(3906, 3907, "numrange"),
    text(3908, 3909, "tsrange"),
    text(3910, 3911, "tstzrange"),
    text(3912, 3913, "daterange"),
    text(3926, 3927, "int8range"),
    text(4072, 4073, "jsonpath"),
    text(4089, 4090, "regnamespace"),
    text(4096, 4097, "regrole"),
    text(5038, 5039, "pg_snapshot"),
    text(5069, 271, "xid8"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_id_stands_for_two_types() {
        let ids = ENTRIES
            .iter()
            .flat_map(|entry| [entry.oid, entry.array_oid]);
        let ids: Vec<u32> = ids.filter(|oid| *oid != 0).collect();
        let distinct: BTreeSet<u32> = ids.iter().copied().collect();
        assert_eq!(ids.len(), distinct.len());
    }

    #[test]
    fn arrays_are_named_by_their_elements() {
        assert_eq!(name_of(1016), "int8[]");
        assert_eq!(name_of(1184), "timestamptz");
        assert_eq!(name_of(70_000), "70000");
        assert_eq!(name_of(0), "0");
    }

    #[test]
    fn boxes_are_divided_by_semicolons() {
        assert!(matches!(
            Shape::of(1020),
            Some(Shape::Array {
                delimiter: b';',
                ..
            })
        ));
        assert_eq!(Shape::of(70_000), None);
    }
}
