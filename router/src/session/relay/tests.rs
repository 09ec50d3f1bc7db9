use super::super::expect::Answer;
use super::*;

fn frame(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).expect("a short body");
    [&[tag][..], &length.to_be_bytes(), body].concat()
}

/// What the client gets of these bytes when they come in pieces of this size, and what is left.
fn relayed(expected: &mut Expectations, bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
    let mut scanner = Scanner::backend(MAX_WHOLE_BYTES);
    let (mut inbound, mut client) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece) {
        inbound.extend_from_slice(piece);
        loop {
            let part = scan(&inbound, expected, &mut scanner).expect("frames in step");
            client.extend_from_slice(inbound.get(..part.forward).expect("what was scanned"));
            inbound.advance(part.forward + part.skip);
            client.extend_from_slice(part.insert.as_deref().unwrap_or_default());
            if part == Part::default() {
                break;
            }
        }
    }
    (client, inbound.to_vec())
}

fn batch() -> Expectations {
    let mut expected = Expectations::default();
    expected.drop_answer(Answer::Ready);
    expected.local(Bytes::from_static(b"<parsed>"), None);
    expected.drop_answer(Answer::Parse(1));
    expected.forward(Answer::Bind);
    expected.forward(Answer::Execute);
    expected.local(Bytes::from_static(b"<closed>"), None);
    expected.forward(Answer::Ready);
    expected
}

#[test]
fn however_the_bytes_are_cut_the_client_reads_the_same() {
    let rows = [frame(b'D', &[7; 40]), frame(b'D', b"")].concat();
    let own = [
        frame(b'T', b"own"),
        frame(b'D', &[8; 30]),
        frame(b'C', b"SET\0"),
        frame(b'Z', b"T"),
        frame(b'1', b""),
    ];
    let (bound, done) = (
        frame(b'2', b""),
        [rows, frame(b'C', b"SELECT 2\0")].concat(),
    );
    let ready = frame(b'Z', b"T");
    let sent = [own.concat(), bound.clone(), done.clone(), ready.clone()].concat();
    let wanted = [
        b"<parsed>".to_vec(),
        bound,
        done,
        b"<closed>".to_vec(),
        ready,
    ]
    .concat();
    for piece in 1..=sent.len() {
        let (client, left) = relayed(&mut batch(), &sent, piece);
        assert_eq!(client, wanted, "pieces of {piece} bytes");
        assert!(left.is_empty());
    }
}

#[test]
fn an_answer_is_not_lost_to_what_the_backend_says_after_it() {
    let answer = [frame(b'C', b"COMMIT\0"), frame(b'Z', b"I")].concat();
    let farewell = frame(b'E', b"SFATAL\0C57P01\0\0");
    let sent = [answer.clone(), farewell.clone()].concat();
    for piece in [sent.len(), 1] {
        let mut expected = Expectations::default();
        expected.forward(Answer::Ready);
        assert_eq!(
            relayed(&mut expected, &sent, piece),
            (answer.clone(), farewell.clone())
        );
    }
}

#[test]
fn a_frame_that_nobody_asked_for_is_an_error() {
    let mut expected = Expectations::default();
    expected.forward(Answer::Bind);
    let mut scanner = Scanner::backend(MAX_WHOLE_BYTES);
    assert!(scan(&frame(b'3', b""), &mut expected, &mut scanner).is_err());
}
