//! Types of PostgreSQL's own, whose object ids are the same on every server.

use pg_query::protobuf::TypeName;

use super::names;

/// Those that statements name, with the ids of the type and of its array, which never change.
const TYPES: &[(&str, u32, u32)] = &[
    ("bool", 16, 1000),
    ("bytea", 17, 1001),
    ("char", 18, 1002),
    ("name", 19, 1003),
    ("int8", 20, 1016),
    ("int2", 21, 1005),
    ("int4", 23, 1007),
    ("text", 25, 1009),
    ("oid", 26, 1028),
    ("json", 114, 199),
    ("xml", 142, 143),
    ("point", 600, 1017),
    ("lseg", 601, 1018),
    ("path", 602, 1019),
    ("box", 603, 1020),
    ("polygon", 604, 1027),
    ("line", 628, 629),
    ("cidr", 650, 651),
    ("float4", 700, 1021),
    ("float8", 701, 1022),
    ("circle", 718, 719),
    ("macaddr8", 774, 775),
    ("money", 790, 791),
    ("macaddr", 829, 1040),
    ("inet", 869, 1041),
    ("bpchar", 1042, 1014),
    ("varchar", 1043, 1015),
    ("date", 1082, 1182),
    ("time", 1083, 1183),
    ("timestamp", 1114, 1115),
    ("timestamptz", 1184, 1185),
    ("interval", 1186, 1187),
    ("timetz", 1266, 1270),
    ("bit", 1560, 1561),
    ("varbit", 1562, 1563),
    ("numeric", 1700, 1231),
    ("uuid", 2950, 2951),
    ("tsvector", 3614, 3643),
    ("tsquery", 3615, 3645),
    ("jsonb", 3802, 3807),
    ("int4range", 3904, 3905),
    ("numrange", 3906, 3907),
    ("tsrange", 3908, 3909),
    ("tstzrange", 3910, 3911),
    ("daterange", 3912, 3913),
    ("int8range", 3926, 3927),
    ("jsonpath", 4072, 4073),
];

/// The object id of a type as it is written; 0 stands for `unknown`, and none for a type that is not
/// one of those.
pub(super) fn oid(name: &TypeName) -> Option<u32> {
    let TypeName {
        names,
        setof: false,
        pct_type: false,
        array_bounds,
        ..
    } = name
    else {
        return None;
    };
    let parts = names::parts(names)?;
    let (["pg_catalog", name] | [name]) = parts.as_slice() else {
        return None;
    };
    if *name == "unknown" && array_bounds.is_empty() {
        return Some(0);
    }
    let (_, scalar, array) = TYPES.iter().find(|(known, ..)| known == name)?;
    Some(if array_bounds.is_empty() {
        *scalar
    } else {
        *array
    })
}

#[cfg(test)]
mod tests {
    use crate::query::{Class, analyze};

    fn looks_up(sql: &str) -> bool {
        match analyze(sql).unwrap().statements.remove(0).class {
            Class::Select(data) => data.looks_up_objects,
            other => panic!("{sql} is {other:?}"),
        }
    }

    #[test]
    fn a_cast_to_another_type_looks_it_up() {
        for sql in [
            "SELECT $1::mood",
            "SELECT CAST('a' AS public.mood)",
            "SELECT '{a}'::mood[]",
            "SELECT 't'::regclass",
            "SELECT 1 WHERE $1 = 'a'::mood",
        ] {
            assert!(looks_up(sql), "{sql}");
        }
        for sql in [
            "SELECT $1::int, '1'::numeric(5, 2), 'a'::varchar(3), 'now'::timestamptz",
            "SELECT '{1}'::int8[], $1::uuid, '(1,2)'::point, 'a'::pg_catalog.text, NULL::unknown",
            "SELECT '1 day'::interval, B'1'::bit(1), '[1,2]'::int4range, '{}'::jsonb, true::boolean",
        ] {
            assert!(!looks_up(sql), "{sql}");
        }
    }
}
