//! Pure: answers that have not been written to a client, after a commit that failed.

use bytes::BytesMut;
use wire::Header;
use wire::backend::tag;

/// Cuts answers at the first statement that they say is done, so that an error may follow in its
/// place. PostgreSQL says both; a driver that reads the first only takes the statement as
/// committed, as tokio-postgres does with COPY.
///
/// Nothing is cut where a client has to read what comes later: which of its statements are
/// prepared and closed, and what its settings are.
pub(super) fn cut_completions(answers: &mut BytesMut) {
    let mut rest: &[u8] = answers;
    let mut first = None;
    while let Ok(Some(header)) = Header::parse(rest, usize::MAX) {
        let at = answers.len() - rest.len();
        match header.tag {
            tag::COMMAND_COMPLETE => first = first.or(Some(at)),
            tag::PARSE_COMPLETE | tag::CLOSE_COMPLETE | tag::PARAMETER_STATUS
                if first.is_some() =>
            {
                return;
            }
            _ => {}
        }
        rest = rest.get(header.frame_bytes()..).unwrap_or_default();
    }
    if let Some(first) = first {
        answers.truncate(first);
    }
}

/// How many bytes there are of whole messages before the first statement that is done.
pub(super) fn before_completions(answers: &[u8]) -> usize {
    let mut whole = 0;
    loop {
        let rest = answers.get(whole..).unwrap_or_default();
        match Header::parse(rest, usize::MAX) {
            Ok(Some(header))
                if header.tag != tag::COMMAND_COMPLETE && header.frame_bytes() <= rest.len() =>
            {
                whole += header.frame_bytes();
            }
            Ok(_) | Err(_) => return whole,
        }
    }
}

#[cfg(test)]
mod tests {
    use wire::backend::encode;

    use super::*;

    fn cut(write: impl FnOnce(&mut BytesMut)) -> Vec<u8> {
        let mut answers = BytesMut::new();
        write(&mut answers);
        cut_completions(&mut answers);
        let mut rest: &[u8] = &answers;
        let mut tags = Vec::new();
        while let Ok(Some(header)) = Header::parse(rest, usize::MAX) {
            tags.push(header.tag);
            rest = rest.get(header.frame_bytes()..).unwrap_or_default();
        }
        tags
    }

    #[test]
    fn what_was_done_is_taken_back_with_all_that_follows() {
        let tags = cut(|out| {
            encode::bind_complete(out);
            encode::command_complete(out, "INSERT 0 1");
            encode::bind_complete(out);
            encode::command_complete(out, "COPY 3");
        });
        assert_eq!(tags, b"2");
    }

    #[test]
    fn what_a_client_must_know_stays_with_all_before_it() {
        let tags = cut(|out| {
            encode::command_complete(out, "INSERT 0 1");
            encode::parse_complete(out);
            encode::command_complete(out, "INSERT 0 1");
        });
        assert_eq!(tags, b"C1C");
        let tags = cut(|out| {
            encode::parse_complete(out);
            encode::command_complete(out, "INSERT 0 1");
        });
        assert_eq!(tags, b"1");
    }

    #[test]
    fn rows_go_before_what_is_done() {
        let mut answers = BytesMut::new();
        encode::bind_complete(&mut answers);
        encode::parse_complete(&mut answers);
        let rows = answers.len();
        assert_eq!(before_completions(&answers), rows);
        assert_eq!(before_completions(answers.get(..rows - 1).unwrap()), 5);
        encode::command_complete(&mut answers, "SELECT 1");
        encode::bind_complete(&mut answers);
        assert_eq!(before_completions(&answers), rows);
        assert_eq!(before_completions(b""), 0);
    }

    #[test]
    fn nothing_done_is_nothing_cut() {
        assert_eq!(cut(encode::bind_complete), b"2");
        assert_eq!(cut(|_| {}), b"");
    }
}
