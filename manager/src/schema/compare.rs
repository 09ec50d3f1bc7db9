//! Pure: how the schemas of several shards differ.

use std::collections::{BTreeMap, BTreeSet};

use topology::ShardId;

use super::{Id, Object, Schemas};

/// An object that is not the same on all shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The object.
    pub id: Id,
    /// What the shards have, most of them first.
    pub versions: Vec<Version>,
}

/// What some shards have of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The shards.
    pub shards: Vec<ShardId>,
    /// Its definition there; none where it is missing.
    pub definition: Option<String>,
}

/// All differences, by kind and name. Of an object that is missing somewhere, its parts are left
/// out there: they are missing with it.
#[must_use]
pub fn compare(schemas: &Schemas) -> Vec<Difference> {
    let mut ids: BTreeSet<&Id> = BTreeSet::new();
    for objects in schemas.values() {
        ids.extend(objects.keys());
    }
    let differences = ids.into_iter().filter_map(|id| difference(id, schemas));
    differences.collect()
}

fn difference(id: &Id, schemas: &Schemas) -> Option<Difference> {
    let parents: BTreeSet<&String> = schemas
        .values()
        .filter_map(|objects| objects.get(id)?.parent.as_ref())
        .collect();
    let mut versions: BTreeMap<Option<&str>, Vec<ShardId>> = BTreeMap::new();
    for (shard, objects) in schemas {
        let object = objects.get(id);
        let lacks_parent = object.is_none() && !parents.is_empty() && {
            let has = |parent: &&String| objects.keys().any(|id| id.to_string() == **parent);
            !parents.iter().any(has)
        };
        if !lacks_parent {
            let definition = object.map(|object: &Object| object.definition.as_str());
            versions.entry(definition).or_default().push(shard.clone());
        }
    }
    if versions.len() < 2 {
        return None;
    }
    let mut versions: Vec<Version> = versions
        .into_iter()
        .map(|(definition, shards)| Version {
            shards,
            definition: definition.map(str::to_owned),
        })
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(version.shards.len()));
    Some(Difference {
        id: id.clone(),
        versions,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Objects;

    fn id(text: &str) -> Id {
        let (kind, name) = text.rsplit_once(' ').unwrap();
        Id {
            kind: kind.to_owned(),
            name: name.to_owned(),
        }
    }

    fn objects(all: &[(&str, Option<&str>, &str)]) -> Objects {
        let object = |&(name, parent, definition): &(&str, Option<&str>, &str)| {
            let object = Object {
                parent: parent.map(str::to_owned),
                definition: definition.to_owned(),
                creation: None,
            };
            (id(name), object)
        };
        all.iter().map(object).collect()
    }

    fn schemas(all: &[Objects]) -> Schemas {
        let ids = (1..).map(|number| ShardId::try_new(&format!("shard-{number}")).unwrap());
        ids.zip(all.iter().cloned()).collect()
    }

    fn shown(schemas: &Schemas) -> Vec<String> {
        let version = |version: &Version| {
            let shards: Vec<&str> = version.shards.iter().map(ShardId::as_str).collect();
            let definition = version.definition.as_deref().unwrap_or("missing");
            format!("{}={definition}", shards.join("+"))
        };
        let difference = |it: &Difference| {
            let versions: Vec<String> = it.versions.iter().map(version).collect();
            format!("{}: {}", it.id, versions.join(", "))
        };
        compare(schemas).iter().map(difference).collect()
    }

    #[test]
    fn equal_schemas_do_not_differ() {
        let table = objects(&[
            ("table t", None, "plain"),
            ("column t.a", Some("table t"), "int"),
        ]);
        assert!(shown(&schemas(&[table.clone(), table.clone(), table])).is_empty());
        assert!(shown(&Schemas::new()).is_empty());
    }

    #[test]
    fn what_most_shards_have_comes_first() {
        let one = objects(&[("column t.a", None, "int")]);
        let other = objects(&[("column t.a", None, "bigint")]);
        let found = shown(&schemas(&[other, one.clone(), one, Objects::new()]));
        assert_eq!(
            found,
            ["column t.a: shard-2+shard-3=int, shard-4=missing, shard-1=bigint"]
        );
    }

    #[test]
    fn the_parts_of_a_missing_object_are_not_told() {
        let whole = objects(&[
            ("table t", None, "plain"),
            ("column t.a", Some("table t"), "int"),
            ("default t.a", Some("column t.a"), "1"),
        ]);
        assert_eq!(
            shown(&schemas(&[whole.clone(), Objects::new()])),
            ["table t: shard-2=missing, shard-1=plain"]
        );
        let bare = objects(&[("table t", None, "plain")]);
        assert_eq!(
            shown(&schemas(&[whole, bare])),
            ["column t.a: shard-2=missing, shard-1=int"]
        );
    }
}
