"""Writes the golden vectors of the key hash next to this file: murmur3 x86_32, seed 0."""

import json
import pathlib
import random
import struct
import uuid

import mmh3

HERE = pathlib.Path(__file__).parent
RANDOM = random.Random(20251121)


def token(canonical: bytes) -> str:
    return f"{mmh3.hash(canonical, 0, signed=False):08x}"


def write(name: str, head: str, rows: list[tuple[bytes, str]]) -> None:
    lines = [f"# {head}"] + [f"{token(canonical)} {key}" for canonical, key in rows]
    (HERE / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{name}: {len(rows)} vectors")


def bigints() -> list[int]:
    edges = [bit for power in range(63) for bit in (1 << power, -(1 << power))]
    ends = [2**63 - 1, -(2**63), 2**53 + 1, 2**31 - 1, -(2**31) - 1]
    small = list(range(-5, 0)) + [0, 3, 5]
    return sorted({*edges, *ends, *small, *(RANDOM.getrandbits(64) - 2**63 for _ in range(105))})


def texts() -> list[str]:
    lengths = ["abcdefghijklmnopqrstuvwxyz"[:length] for length in range(27)]
    odd = [" ", "  a ", "A", "a\tb", "a\nb", '"', "\\", "'", "%", "/", "\u007f", "NULL", "42"]
    wide = ["é", "e\u0301", "ß", "€", "日本語", "Ж", "😀", "👩‍👩‍👧", "a😀b", "\ufeffa", "\u00a0"]
    long = ["x" * length for length in (63, 64, 65, 255, 256, 1023, 1024)]
    mails = [f"user{RANDOM.randrange(10**6)}@example.org" for _ in range(40)]
    alphabet = "aZ09-_ éж語😀"
    mixed = ["".join(RANDOM.choices(alphabet, k=RANDOM.randrange(2, 30))) for _ in range(54)]
    return list(dict.fromkeys(lengths + odd + wide + long + mails + mixed))


def uuids() -> list[uuid.UUID]:
    ends = [uuid.UUID(int=0), uuid.UUID(int=2**128 - 1)]
    return ends + [uuid.UUID(int=RANDOM.getrandbits(128)) for _ in range(100)]


write(
    "bigint.txt",
    "token, key; hashed as 8 bytes little-endian",
    [(struct.pack("<q", key), str(key)) for key in bigints()],
)
write(
    "text.txt",
    "token, key as a JSON string; hashed as UTF-8",
    [(key.encode(), json.dumps(key, ensure_ascii=False)) for key in texts()],
)
write(
    "uuid.txt",
    "token, key; hashed as its 16 bytes in the order in which they are written",
    [(key.bytes, str(key)) for key in uuids()],
)
