//! Command tags by kind of object.

use pg_query::protobuf::ObjectType;

macro_rules! tag {
    ($verb:literal, $object:expr) => {
        match $object {
            ObjectType::ObjectAccessMethod => concat!($verb, " ACCESS METHOD"),
            ObjectType::ObjectAggregate => concat!($verb, " AGGREGATE"),
            ObjectType::ObjectCast => concat!($verb, " CAST"),
            ObjectType::ObjectCollation => concat!($verb, " COLLATION"),
            ObjectType::ObjectConversion => concat!($verb, " CONVERSION"),
            ObjectType::ObjectDatabase => concat!($verb, " DATABASE"),
            ObjectType::ObjectDomain | ObjectType::ObjectDomconstraint => {
                concat!($verb, " DOMAIN")
            }
            ObjectType::ObjectEventTrigger => concat!($verb, " EVENT TRIGGER"),
            ObjectType::ObjectExtension => concat!($verb, " EXTENSION"),
            ObjectType::ObjectFdw => concat!($verb, " FOREIGN DATA WRAPPER"),
            ObjectType::ObjectForeignServer => concat!($verb, " SERVER"),
            ObjectType::ObjectForeignTable => concat!($verb, " FOREIGN TABLE"),
            ObjectType::ObjectFunction => concat!($verb, " FUNCTION"),
            ObjectType::ObjectIndex => concat!($verb, " INDEX"),
            ObjectType::ObjectLanguage => concat!($verb, " LANGUAGE"),
            ObjectType::ObjectMatview => concat!($verb, " MATERIALIZED VIEW"),
            ObjectType::ObjectOpclass => concat!($verb, " OPERATOR CLASS"),
            ObjectType::ObjectOperator => concat!($verb, " OPERATOR"),
            ObjectType::ObjectOpfamily => concat!($verb, " OPERATOR FAMILY"),
            ObjectType::ObjectPolicy => concat!($verb, " POLICY"),
            ObjectType::ObjectProcedure => concat!($verb, " PROCEDURE"),
            ObjectType::ObjectPublication => concat!($verb, " PUBLICATION"),
            ObjectType::ObjectRole => concat!($verb, " ROLE"),
            ObjectType::ObjectRoutine => concat!($verb, " ROUTINE"),
            ObjectType::ObjectRule => concat!($verb, " RULE"),
            ObjectType::ObjectSchema => concat!($verb, " SCHEMA"),
            ObjectType::ObjectSequence => concat!($verb, " SEQUENCE"),
            ObjectType::ObjectStatisticExt => concat!($verb, " STATISTICS"),
            ObjectType::ObjectSubscription => concat!($verb, " SUBSCRIPTION"),
            ObjectType::ObjectTable
            | ObjectType::ObjectColumn
            | ObjectType::ObjectTabconstraint => concat!($verb, " TABLE"),
            ObjectType::ObjectTablespace => concat!($verb, " TABLESPACE"),
            ObjectType::ObjectTransform => concat!($verb, " TRANSFORM"),
            ObjectType::ObjectTrigger => concat!($verb, " TRIGGER"),
            ObjectType::ObjectTsconfiguration => concat!($verb, " TEXT SEARCH CONFIGURATION"),
            ObjectType::ObjectTsdictionary => concat!($verb, " TEXT SEARCH DICTIONARY"),
            ObjectType::ObjectTsparser => concat!($verb, " TEXT SEARCH PARSER"),
            ObjectType::ObjectTstemplate => concat!($verb, " TEXT SEARCH TEMPLATE"),
            ObjectType::ObjectType | ObjectType::ObjectAttribute => concat!($verb, " TYPE"),
            ObjectType::ObjectView => concat!($verb, " VIEW"),
            _ => $verb,
        }
    };
}

pub(super) fn create(object: ObjectType) -> &'static str {
    tag!("CREATE", object)
}

pub(super) fn alter(object: ObjectType) -> &'static str {
    tag!("ALTER", object)
}

pub(super) fn drop(object: ObjectType) -> &'static str {
    tag!("DROP", object)
}
