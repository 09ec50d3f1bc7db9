//! Relations and their columns, and types that are not built in.

use std::fmt;

use crate::read::Reader;
use crate::{DecodeError, Reason, Text};

/// What old rows say of themselves when they change or go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ReplicaIdentity {
    /// The columns of the primary key.
    PrimaryKey,
    /// Nothing.
    Nothing,
    /// All columns.
    Full,
    /// The columns of a chosen unique index.
    Index,
}

impl ReplicaIdentity {
    fn from_code(code: u8) -> Option<Self> {
        match code {
            b'd' => Some(Self::PrimaryKey),
            b'n' => Some(Self::Nothing),
            b'f' => Some(Self::Full),
            b'i' => Some(Self::Index),
            _ => None,
        }
    }
}

/// What the rows of a relation look like from here on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Relation<'a> {
    /// The id by which changes name it.
    pub id: u32,
    /// Its schema; empty for `pg_catalog`.
    pub schema: Text<'a>,
    /// Its name.
    pub name: Text<'a>,
    /// What its old rows say.
    pub identity: ReplicaIdentity,
    count: usize,
    columns: &'a [u8],
}

const NAME: &str = "Relation";

impl<'a> Relation<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(NAME, body);
        let id = reader.u32("relation")?;
        let schema = reader.text("schema")?;
        let name = reader.text("name")?;
        let code = reader.u8("replica identity")?;
        let Some(identity) = ReplicaIdentity::from_code(code) else {
            return Err(reader.error(Reason::UnknownValue {
                field: "replica identity",
                value: i32::from(code),
            }));
        };
        let count = usize::from(reader.u16("column count")?);
        let columns = reader.rest();
        for _ in 0..count {
            Column::read(&mut reader)?;
        }
        reader.end()?;
        Ok(Self {
            id,
            schema,
            name,
            identity,
            count,
            columns,
        })
    }

    /// Its published columns in the order of its rows' values.
    #[must_use]
    pub fn columns(&self) -> Columns<'a> {
        Columns {
            left: self.count,
            reader: Reader::new(NAME, self.columns),
        }
    }
}

impl fmt::Debug for Relation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct(NAME)
            .field("id", &self.id)
            .field("schema", &self.schema)
            .field("name", &self.name)
            .field("identity", &self.identity)
            .field("columns", &self.columns().collect::<Vec<_>>())
            .finish()
    }
}

/// A column of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// Whether old rows tell its value.
    pub is_identity: bool,
    /// Its name.
    pub name: Text<'a>,
    /// The id of its type on the server that sends it.
    pub type_id: u32,
    /// What modifies the type, such as a length.
    pub type_modifier: i32,
}

impl<'a> Column<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            is_identity: reader.u8("column flags")? & 1 == 1,
            name: reader.text("column name")?,
            type_id: reader.u32("column type")?,
            type_modifier: reader.i32("column type modifier")?,
        })
    }
}

/// The columns of a relation.
#[derive(Debug)]
pub struct Columns<'a> {
    left: usize,
    reader: Reader<'a>,
}

impl<'a> Iterator for Columns<'a> {
    type Item = Column<'a>;

    fn next(&mut self) -> Option<Column<'a>> {
        self.left = self.left.checked_sub(1)?;
        // They were walked before, so that none of them can end early.
        Column::read(&mut self.reader).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Columns<'_> {}

/// The name of a type that is not built in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeName<'a> {
    /// Its id on the server that sends it.
    pub id: u32,
    /// Its schema; empty for `pg_catalog`.
    pub schema: Text<'a>,
    /// Its name.
    pub name: Text<'a>,
}

impl<'a> TypeName<'a> {
    pub(super) fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Type", body);
        let name = Self {
            id: reader.u32("type")?,
            schema: reader.text("schema")?,
            name: reader.text("name")?,
        };
        reader.end()?;
        Ok(name)
    }
}
