//! Changes to bytes: where they hurt, not anywhere alike.

use tests::random::Random;

/// Bytes that parsers look for.
const MEANT: &[u8] = b"\0\x01\x7f\x80\xff'\"$;()*,-/\\ \nEQPBDSCXZ";

/// Changes some bytes, inserts and removes some, repeats and swaps parts.
pub(crate) fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(5) {
        let at = random.below(bytes.len() + 1);
        let length = 1 + random.below(8);
        let end = (at + length).min(bytes.len());
        match random.below(7) {
            0 => {
                let byte = random.byte();
                bytes.get_mut(at).into_iter().for_each(|it| *it = byte);
            }
            1 => {
                let byte = *random.pick(MEANT);
                bytes.insert(at, byte);
            }
            2 => drop(bytes.drain(at..end)),
            3 => bytes.truncate(at),
            4 => {
                let part: Vec<u8> = bytes.drain(at..end).collect();
                let place = random.below(bytes.len() + 1);
                bytes.splice(place..place, part);
            }
            5 => {
                let part = bytes.get(at..end).unwrap_or_default().to_vec();
                bytes.splice(at..at, part);
            }
            _ => {
                // A number of four bytes: a length, a count, an id.
                let number =
                    *random.pick(&[0_u32, 1, 3, 4, 5, 0x7fff, 0xffff, i32::MAX as u32, u32::MAX]);
                if let Some(place) = bytes.get_mut(at..at + 4) {
                    place.copy_from_slice(&number.to_be_bytes());
                }
            }
        }
    }
}
