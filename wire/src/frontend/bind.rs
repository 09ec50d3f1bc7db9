//! The Bind message: checked in one pass over its lengths, so that everything after is a walk.

use crate::read::Reader;
use crate::{DecodeError, Format, Formats, Reason, Text, Values};

/// A portal to be made of a statement and parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind<'a> {
    /// The portal's name.
    pub portal: Text<'a>,
    /// The statement's name.
    pub statement: Text<'a>,
    /// The formats of the parameters: none, one for all, or one for each.
    pub formats: Formats<'a>,
    /// The parameters.
    pub parameters: Values<'a>,
    /// The formats that the result's columns shall have.
    pub result_formats: Formats<'a>,
}

impl<'a> Bind<'a> {
    /// Reads the body.
    ///
    /// # Errors
    /// It is malformed.
    pub fn decode(body: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("Bind", body);
        let portal = reader.text("portal name")?;
        let statement = reader.text("statement name")?;
        let formats = reader.formats("parameter formats")?;
        let parameters = reader.values("parameter")?;
        if formats.len() > 1 && formats.len() != parameters.len() {
            return Err(reader.error(Reason::FormatCount {
                formats: formats.len(),
                parameters: parameters.len(),
            }));
        }
        let result_formats = reader.formats("result formats")?;
        reader.end()?;
        Ok(Self {
            portal,
            statement,
            formats,
            parameters,
            result_formats,
        })
    }

    /// The parameter at this place (`$1` is at 0) and its format; `None` if there is no such one,
    /// and a value of `None` for NULL.
    #[must_use]
    pub fn parameter(&self, index: usize) -> Option<(Format, Option<&'a [u8]>)> {
        let value = self.parameters.get(index)?;
        Some((self.formats.of(index), value))
    }

    /// All parameters with their formats.
    pub fn parameters_with_formats(
        &self,
    ) -> impl Iterator<Item = (Format, Option<&'a [u8]>)> + use<'a> {
        let formats = self.formats;
        self.parameters
            .iter()
            .enumerate()
            .map(move |(index, value)| (formats.of(index), value))
    }
}
