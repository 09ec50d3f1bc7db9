//! Pure: a message of a client, in UTF-8.

use bytes::BytesMut;
use wire::Format;
use wire::frontend::{Bind, Execute, Parse, Query, Target, TargetKind, encode, tag};

use super::binary::Content;
use crate::charset::Charset;
use crate::route::Refusal;
use crate::session::client::Frame;

/// The types that were declared for the parameters of a statement.
pub(super) type Types<'a> = &'a dyn Fn(&[u8]) -> Option<&'a [u32]>;

/// The message in UTF-8; none where it is that already, or has no text, or is not well-formed, which
/// is for its reader to say.
///
/// # Errors
/// The [`Refusal`] of a text that is none in its encoding, or cannot be found in the message.
pub(super) fn convert(
    charset: &Charset,
    frame: &Frame,
    types: Types<'_>,
) -> Result<Option<Frame>, Refusal> {
    let body = frame.body();
    let mut out = BytesMut::new();
    let decode = |text: wire::Text<'_>| charset.decode(text.as_bytes());
    let written = match frame.tag() {
        // The usual case; the others have numbers in them.
        tag::QUERY if body.is_ascii() => return Ok(None),
        tag::QUERY => match Query::decode(body) {
            Ok(query) => encode::query(&mut out, &decode(query.sql)?),
            Err(_) => return Ok(None),
        },
        tag::PARSE => match Parse::decode(body) {
            Ok(parse) if parse.name.as_bytes().is_ascii() && parse.sql.as_bytes().is_ascii() => {
                return Ok(None);
            }
            Ok(parse) => {
                let oids: Vec<u32> = parse.parameter_types.iter().collect();
                encode::parse(&mut out, &decode(parse.name)?, &decode(parse.sql)?, &oids)
            }
            Err(_) => return Ok(None),
        },
        tag::BIND => match Bind::decode(body) {
            Ok(bind) => bound(charset, &bind, types, &mut out)?,
            Err(_) => return Ok(None),
        },
        tag::EXECUTE => match Execute::decode(body) {
            Ok(it) if !it.portal.as_bytes().is_ascii() => {
                encode::execute(&mut out, &decode(it.portal)?, it.max_rows)
            }
            Ok(_) | Err(_) => return Ok(None),
        },
        tag::DESCRIBE => match Target::decode_describe(body) {
            Ok(it) if !it.name.as_bytes().is_ascii() => {
                encode::describe(&mut out, it.kind, &decode(it.name)?)
            }
            Ok(_) | Err(_) => return Ok(None),
        },
        tag::CLOSE => match Target::decode_close(body) {
            Ok(it) if !it.name.as_bytes().is_ascii() => {
                encode::close(&mut out, it.kind, &decode(it.name)?)
            }
            Ok(_) | Err(_) => return Ok(None),
        },
        // Large objects are bytes, and the rest has no text.
        _ => return Ok(None),
    };
    written.map_err(|error| Refusal {
        sqlstate: "54000",
        message: format!("the message cannot be converted to UTF-8: {error}"),
        hint: None,
    })?;
    Ok(Some(Frame::of(out)))
}

/// Writes a Bind.
fn bound(
    charset: &Charset,
    bind: &Bind<'_>,
    types: Types<'_>,
    out: &mut BytesMut,
) -> Result<Result<(), wire::EncodeError>, Refusal> {
    let portal = charset.decode(bind.portal.as_bytes())?;
    let statement = charset.decode(bind.statement.as_bytes())?;
    let types = types(&statement).unwrap_or_default();
    let to_utf8 = |text: &[u8], out: &mut Vec<u8>| {
        let read = charset.decode_part(text, out)?;
        match text.get(read..).filter(|rest| !rest.is_empty()) {
            None => Ok(()),
            rest => Err(charset.invalid(rest)),
        }
    };
    let mut values = Vec::with_capacity(bind.parameters.len());
    for (at, (format, value)) in bind.parameters_with_formats().enumerate() {
        let content = match format {
            Format::Text => Content::Text,
            Format::Binary => Content::of_type(types.get(at).copied().unwrap_or(0)),
        };
        values.push(match value {
            None => None,
            Some(value) => {
                let mut converted = Vec::with_capacity(value.len());
                content.convert(value, &mut converted, &to_utf8)?;
                Some(converted)
            }
        });
    }
    let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
    let formats: Vec<Format> = bind.formats.iter().collect();
    let results: Vec<Format> = bind.result_formats.iter().collect();
    Ok(encode::bind(
        out, &portal, &statement, &formats, &values, &results,
    ))
}

impl Frame {
    /// A Describe of the unnamed portal.
    pub(super) fn describe_unnamed_portal() -> Self {
        let mut bytes = BytesMut::new();
        // There is no name that could have a zero byte.
        let _written = encode::describe(&mut bytes, TargetKind::Portal, b"");
        Self::of(bytes)
    }
}
