//! The encodings of up to three bytes a character: where one ends (`pg_euc_mblen` and its like in
//! `src/common/wchar.c` of PostgreSQL 15), and what it stands for.
//!
//! A table is a file of numbers of two bytes, the high one first: how many runs there are, and for
//! each its first code, its length, and the characters of its codes; then how many characters go
//! back to another code than the last that stands for them, and for each the character and the code,
//! 0 for none. It was written from `convert_from` and `convert_to` of PostgreSQL 15.

use std::fmt;
use std::sync::OnceLock;

/// An encoding; its tables are read when they are first needed.
pub(super) struct Double {
    kind: Kind,
    file: &'static [u8],
    tables: OnceLock<Box<Tables>>,
}

/// By what the first byte says of the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Extended Unix Code: bytes from 0xa1 on; 0x8e and 0x8f begin characters of other sets.
    Euc,
    /// As that, where the others have bytes from 0xa1 on as well, and 0x8e and 0x8f are no more than
    /// the first of two.
    EucOfTwo,
    /// Half-width katakana are one byte; the second of two may be ASCII.
    Sjis,
    /// Two bytes, the second of which may be ASCII.
    Two,
}

/// Characters by codes, and codes by characters; 0 is none.
struct Tables {
    points: Vec<u16>,
    codes: Vec<u16>,
}

impl fmt::Debug for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Double").field("kind", &self.kind).finish()
    }
}

/// How many codes, and how many characters, there may be.
const CODES: usize = 1 << 16;

impl Double {
    const fn new(kind: Kind, file: &'static [u8]) -> Self {
        Self {
            kind,
            file,
            tables: OnceLock::new(),
        }
    }

    /// How many bytes a character has that begins with this one, which is not ASCII.
    pub(super) fn length(&self, first: u8) -> usize {
        match (self.kind, first) {
            (Kind::Euc, 0x8f) => 3,
            (Kind::Sjis, 0xa1..=0xdf) => 1,
            (Kind::Euc | Kind::EucOfTwo | Kind::Sjis | Kind::Two, _) => 2,
        }
    }

    /// Whether the bytes may be a character at all.
    pub(super) fn is_valid(&self, first: u8, tail: &[u8]) -> bool {
        match self.kind {
            Kind::Euc | Kind::EucOfTwo => {
                let is_first = matches!(first, 0xa1..=0xfe)
                    || (self.kind == Kind::Euc && matches!(first, 0x8e | 0x8f));
                is_first && tail.iter().all(|byte| matches!(byte, 0xa1..=0xfe))
            }
            Kind::Sjis => {
                let is_first = matches!(first, 0x81..=0x9f | 0xa1..=0xdf | 0xe0..=0xfc);
                is_first
                    && tail
                        .iter()
                        .all(|byte| matches!(byte, 0x40..=0x7e | 0x80..=0xfc))
            }
            Kind::Two => tail.iter().all(|byte| *byte != 0),
        }
    }

    /// The character of valid bytes, or 0.
    pub(super) fn decode(&self, first: u8, tail: &[u8]) -> u16 {
        let code = match tail {
            [] => u16::from(first),
            [second] => u16::from_be_bytes([first, *second]),
            // The first of three bytes is always the same; the last has its high bit taken.
            [second, third, ..] => u16::from_be_bytes([*second, third & 0x7f]),
        };
        let points = &self.tables().points;
        points.get(usize::from(code)).copied().unwrap_or(0)
    }

    /// Appends a character; false when there is none such.
    pub(super) fn put(&self, point: u16, out: &mut Vec<u8>) -> bool {
        let codes = &self.tables().codes;
        let code = codes.get(usize::from(point)).copied().unwrap_or(0);
        match code.to_be_bytes() {
            [0, 0] => return false,
            [0, only] => out.push(only),
            [second, third] if self.kind == Kind::Euc && third < 0x80 => {
                out.extend_from_slice(&[0x8f, second, third | 0x80]);
            }
            pair => out.extend_from_slice(&pair),
        }
        true
    }

    fn tables(&self) -> &Tables {
        self.tables
            .get_or_init(|| Box::new(Tables::read(self.file)))
    }
}

impl Tables {
    fn read(file: &[u8]) -> Self {
        let (pairs, _) = file.as_chunks::<2>();
        let mut numbers = pairs.iter().map(|pair| u16::from_be_bytes(*pair));
        let mut next = move || numbers.next().unwrap_or(0);
        let mut points = vec![0; CODES];
        let mut codes = vec![0; CODES];
        for _ in 0..next() {
            let (first, length) = (next(), next());
            for code in (first..=u16::MAX).take(usize::from(length)) {
                let point = next();
                set(&mut points, code, point);
                set(&mut codes, point, code);
            }
        }
        for _ in 0..next() {
            let (point, code) = (next(), next());
            set(&mut codes, point, code);
        }
        Self { points, codes }
    }
}

fn set(table: &mut [u16], at: u16, value: u16) {
    if let Some(place) = table.get_mut(usize::from(at)) {
        *place = value;
    }
}

pub(super) static EUC_JP: Double = Double::new(Kind::Euc, include_bytes!("tables/euc_jp.bin"));
pub(super) static EUC_KR: Double = Double::new(Kind::EucOfTwo, include_bytes!("tables/euc_kr.bin"));
pub(super) static EUC_CN: Double = Double::new(Kind::EucOfTwo, include_bytes!("tables/euc_cn.bin"));
pub(super) static SJIS: Double = Double::new(Kind::Sjis, include_bytes!("tables/sjis.bin"));
pub(super) static BIG5: Double = Double::new(Kind::Two, include_bytes!("tables/big5.bin"));
pub(super) static GBK: Double = Double::new(Kind::Two, include_bytes!("tables/gbk.bin"));
pub(super) static UHC: Double = Double::new(Kind::Two, include_bytes!("tables/uhc.bin"));
