//! Pure: the data of COPY FROM STDIN in UTF-8, wherever it is cut.

use bytes::BytesMut;
use wire::frame::{HEADER_BYTES, Header};
use wire::frontend::{encode, tag};
use wire::limits::MAX_MESSAGE_BYTES;

use crate::charset::Charset;
use crate::route::Refusal;
use crate::session::copy::{CopyFeed, Fed, MAX_WAITING_BYTES};

/// Where the data stands.
#[derive(Debug, Default)]
pub(super) struct Copied {
    /// What has come of a character.
    rest: Vec<u8>,
    /// Why the copy is to fail, which the client reads in the place of the shard's words.
    refusal: Option<Refusal>,
}

impl Copied {
    /// A copy that begins, and is to fail if there is a reason.
    pub(super) fn begin(&mut self, refusal: Option<Refusal>) {
        *self = Self {
            rest: Vec::new(),
            refusal,
        };
    }

    /// Why the copy has failed, once.
    pub(super) fn why(&mut self) -> Option<Refusal> {
        self.refusal.take()
    }

    /// As [`CopyFeed::take`], in UTF-8.
    ///
    /// # Errors
    /// As there.
    pub(super) fn take(
        &mut self,
        charset: Option<&Charset>,
        feed: &mut CopyFeed,
        inbound: &mut BytesMut,
        out: &mut BytesMut,
    ) -> Result<Fed, String> {
        if let Some(refusal) = &self.refusal {
            feed.give_up();
            return fail(refusal, out);
        }
        let Some(charset) = charset else {
            return feed.take(inbound, out);
        };
        if out.len() >= MAX_WAITING_BYTES {
            return Ok(Fed::More);
        }
        let mut taken = BytesMut::new();
        let fed = feed.take(inbound, &mut taken)?;
        let cannot = |error: wire::EncodeError| error.to_string();
        while let Ok(Some(header)) = Header::parse(&taken, MAX_MESSAGE_BYTES) {
            let frame = taken.split_to(header.frame_bytes().min(taken.len()));
            let body = frame.get(HEADER_BYTES..).unwrap_or_default();
            let converted = match header.tag {
                tag::COPY_DATA => self.convert(charset, body),
                tag::COPY_DONE if !self.rest.is_empty() => {
                    Err(charset.invalid(Some(&self.rest)).into())
                }
                tag::COPY_FAIL => {
                    let reason = body.strip_suffix(b"\0").unwrap_or(body);
                    let mut text = Vec::new();
                    let _read = charset.decode_part(reason, &mut text);
                    let reason = String::from_utf8_lossy(&text);
                    encode::copy_fail(out, &reason).map_err(cannot)?;
                    continue;
                }
                _ => {
                    out.extend_from_slice(&frame);
                    continue;
                }
            };
            match converted {
                Ok(data) => encode::copy_data(out, &data).map_err(cannot)?,
                Err(refusal) => {
                    let failed = fail(&refusal, out);
                    self.refusal = Some(refusal);
                    return failed;
                }
            }
        }
        Ok(fed)
    }

    fn convert(&mut self, charset: &Charset, data: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut whole = std::mem::take(&mut self.rest);
        whole.extend_from_slice(data);
        let mut out = Vec::with_capacity(whole.len() * 2);
        let read = charset.decode_part(&whole, &mut out)?;
        self.rest = whole.split_off(read);
        Ok(out)
    }
}

fn fail(refusal: &Refusal, out: &mut BytesMut) -> Result<Fed, String> {
    encode::copy_fail(out, &refusal.message).map_err(|error| error.to_string())?;
    Ok(Fed::Ended)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::charset::Named;

    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(body.len() + 4).unwrap();
        [&[tag], length.to_be_bytes().as_slice(), body].concat()
    }

    /// Feeds `sent` in chunks of `size`; gives the copy data, and how it ended.
    fn fed(sent: &[u8], size: usize) -> (Vec<u8>, Vec<u8>) {
        let charset = Named::find("SJIS").unwrap().charset();
        let (mut copied, mut feed) = (Copied::default(), CopyFeed::default());
        let (mut inbound, mut out) = (BytesMut::new(), BytesMut::new());
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        for chunk in sent.chunks(size) {
            inbound.extend_from_slice(chunk);
            let last = copied.take(charset, &mut feed, &mut inbound, &mut out);
            while let Ok(Some(header)) = Header::parse(&out, MAX_MESSAGE_BYTES) {
                let frame = out.split_to(header.frame_bytes());
                match header.tag {
                    b'd' => data.extend_from_slice(&frame[HEADER_BYTES..]),
                    _ => rest.extend_from_slice(&frame),
                }
            }
            if last.unwrap() != Fed::More {
                break;
            }
        }
        (data, rest)
    }

    #[test]
    fn characters_are_whole_however_they_are_cut() {
        let sent = [
            message(b'd', b"1\t\x95"),
            message(b'd', b"\x5c\n2\t\xb1\n"),
            message(b'c', b""),
        ]
        .concat();
        for size in 1..=sent.len() {
            let (data, rest) = fed(&sent, size);
            assert_eq!(data, "1\t表\n2\tｱ\n".as_bytes(), "in chunks of {size}");
            assert_eq!(rest, message(b'c', b""));
        }
    }

    #[test]
    fn a_copy_of_what_is_no_text_fails() {
        for sent in [
            [message(b'd', b"1\t\x95"), message(b'c', b"")].concat(),
            message(b'd', b"1\t\xa0\xa0"),
        ] {
            let (_, rest) = fed(&sent, 1000);
            assert!(rest.starts_with(b"f"), "{}", rest.escape_ascii());
            let told = String::from_utf8_lossy(&rest).into_owned();
            assert!(told.contains("for encoding \"SJIS\""), "{told}");
        }
    }
}
