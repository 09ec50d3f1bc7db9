//! Pure: the form of a prepared statement's rows, as a shard described it first. A statement whose
//! rows have another form on a backend that parses it later is not run any more, as PostgreSQL's
//! own would not be.
//!
//! What a client was told is compared, not what a table is: names, types and type modifiers.

use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::FixedState;
use topology::ShardId;

/// Ids from here on are given by each server to types of its own.
const FIRST_OWN_TYPE: u32 = 16_384;

/// A description, for comparing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Form {
    /// Of all but the ids of types that differ between shards.
    columns: u64,
    /// Of those ids, on the shard that gave them.
    own_types: u64,
    shard: ShardId,
}

impl Form {
    /// Reads a RowDescription; any other answer to a Describe is a form without columns.
    fn read(shard: &ShardId, tag: u8, body: &[u8]) -> Self {
        let state = FixedState::default();
        let (mut columns, mut own_types) = (state.build_hasher(), state.build_hasher());
        if tag == b'T' {
            let mut rest = body.get(2..).unwrap_or_default();
            while let Some((field, after)) = Field::split(rest) {
                rest = after;
                columns.write_usize(field.name.len());
                columns.write(field.name);
                columns.write(field.modifier);
                if field.type_oid < FIRST_OWN_TYPE {
                    columns.write_u32(field.type_oid);
                } else {
                    columns.write_u32(FIRST_OWN_TYPE);
                    own_types.write_u32(field.type_oid);
                }
            }
            columns.write_u8(tag);
        }
        Self {
            columns: columns.finish(),
            own_types: own_types.finish(),
            shard: shard.clone(),
        }
    }

    /// Whether rows of one form can be read as rows of the other.
    fn is_like(&self, other: &Self) -> bool {
        let elsewhere = self.shard != other.shard;
        self.columns == other.columns && (elsewhere || self.own_types == other.own_types)
    }
}

struct Field<'a> {
    name: &'a [u8],
    type_oid: u32,
    modifier: &'a [u8],
}

impl<'a> Field<'a> {
    /// The first field of what is left of a RowDescription.
    fn split(rest: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let end = memchr::memchr(0, rest)?;
        let (name, rest) = rest.split_at_checked(end)?;
        // A NUL, the table, the column, the type, its size, its modifier, the format.
        let (_, rest) = rest.split_at_checked(1 + 4 + 2)?;
        let (oid, rest) = rest.split_first_chunk::<4>()?;
        let (_, rest) = rest.split_at_checked(2)?;
        let (modifier, rest) = rest.split_at_checked(4)?;
        let (_, rest) = rest.split_at_checked(2)?;
        let type_oid = u32::from_be_bytes(*oid);
        let field = Self {
            name,
            type_oid,
            modifier,
        };
        Some((field, rest))
    }
}

/// What is known of a statement's rows, by all who hold it.
#[derive(Debug, Default)]
pub(super) struct Shape {
    first: OnceLock<Form>,
    changed: AtomicBool,
}

impl Shape {
    /// The shape of a statement of which clients were promised a form.
    pub(super) fn promised(form: Option<Form>) -> Self {
        Self {
            first: form.map(OnceLock::from).unwrap_or_default(),
            changed: AtomicBool::new(false),
        }
    }

    /// The form that the first description had.
    pub(super) fn form(&self) -> Option<&Form> {
        self.first.get()
    }

    /// Whether it was described as having two forms.
    pub(super) fn has_changed(&self) -> bool {
        self.changed.load(Ordering::Acquire)
    }

    /// A shard has described it; false if in another form than before.
    pub(super) fn note(&self, shard: &ShardId, tag: u8, body: &[u8]) -> bool {
        let form = Form::read(shard, tag, body);
        let is_like = self.first.get_or_init(|| form.clone()).is_like(&form);
        if !is_like {
            self.changed.store(true, Ordering::Release);
        }
        is_like
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(name: &str) -> ShardId {
        ShardId::try_new(name).unwrap()
    }

    fn described(fields: &[(&str, u32, i32)]) -> Vec<u8> {
        let mut body = u16::try_from(fields.len()).unwrap().to_be_bytes().to_vec();
        for (at, (name, oid, modifier)) in fields.iter().enumerate() {
            body.extend(name.as_bytes());
            body.push(0);
            // The table's id is of no importance.
            body.extend(u32::try_from(at * 7).unwrap().to_be_bytes());
            body.extend([0, 1]);
            body.extend(oid.to_be_bytes());
            body.extend([0, 8]);
            body.extend(modifier.to_be_bytes());
            body.extend([0, 0]);
        }
        body
    }

    #[test]
    fn another_name_type_modifier_or_number_of_columns_is_another_form() {
        let first = described(&[("a", 20, -1)]);
        for other in [
            &[("b", 20, -1)][..],
            &[("a", 23, -1)],
            &[("a", 20, 5)],
            &[("a", 20, -1), ("b", 20, -1)],
            &[("a", 20_000, -1)],
            &[],
        ] {
            let shape = Shape::default();
            assert!(shape.note(&shard("one"), b'T', &first));
            assert!(shape.note(&shard("two"), b'T', &first));
            assert!(!shape.has_changed());
            assert!(!shape.note(&shard("two"), b'T', &described(other)));
            assert!(shape.has_changed());
        }
    }

    #[test]
    fn a_shards_own_types_are_compared_on_that_shard_only() {
        let shape = Shape::default();
        assert!(shape.note(&shard("one"), b'T', &described(&[("a", 20_000, -1)])));
        assert!(shape.note(&shard("two"), b'T', &described(&[("a", 20_001, -1)])));
        assert!(!shape.note(&shard("one"), b'T', &described(&[("a", 20_001, -1)])));
    }

    #[test]
    fn no_rows_and_rows_without_columns_differ() {
        let shape = Shape::default();
        assert!(shape.note(&shard("one"), b'n', b""));
        assert!(shape.note(&shard("one"), b'n', b""));
        assert!(!shape.note(&shard("one"), b'T', &described(&[])));
    }
}
