"""Seeded mutations of small samples through their readers: rows, or a refusal with a documented code, and nothing else.

usage: python -m tests.hostile.fuzz [--seed N] [--mutants N] [--seconds S]   (prints what must not be, exits with 1)
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import struct
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.documented import documented_codes
from tests.hostile.reader import Ended, read

SECONDS = 60.0
Sample = tuple[str, str, dict[str, bytes], dict[str, str]]


@dataclass(frozen=True, slots=True)
class Wrong:
    """A mutant that did neither. files: to look at it again."""

    name: str
    number: int
    ended: Ended
    files: dict[str, bytes]


def samples() -> dict[str, Sample]:
    """{format: (kind, format, files, further fields)}; made in a process of its own, which uses GDAL and Arrow."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_made)


def _made() -> dict[str, Sample]:
    from tests.hostile import samples as made

    return made.samples()


def mutated(body: bytes, rng: random.Random) -> bytes:
    """One to four changes of the kinds that length fields, offsets and compressed blocks take worst."""
    data = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(max(1, len(data)))
        kind = rng.randrange(7)
        if kind == 0 and data:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 2:
            word = rng.choice((0, 1, 0x7F, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, rng.getrandbits(32)))
            data[at : at + 4] = struct.pack(rng.choice("<>") + "L", word)
        elif kind == 3:
            del data[at : at + (rng.randint(1, 64) if rng.random() < 0.7 else len(data))]
        elif kind == 4:
            data[at:at] = data[at : at + rng.randint(1, 64)]
        elif kind == 5:
            size, other = rng.randint(1, 16), rng.randrange(max(1, len(data)))
            data[at : at + size], data[other : other + size] = data[other : other + size], data[at : at + size]
        else:
            data[at : at + rng.randint(1, 32)] = bytes(rng.randint(1, 32))
    return bytes(data)


def mutants(name: str, sample: Sample, seed: int) -> Iterator[dict[str, bytes]]:
    """Without end; of a dataset of several files one is changed."""
    rng = random.Random(f"{seed} {name}")  # noqa: S311 # the same each time is what is wanted
    _, _, files, _ = sample
    while True:
        chosen = rng.choice(sorted(files))
        yield {key: mutated(body, rng) if key == chosen else body for key, body in files.items()}


def is_wrong(ended: Ended, documented: set[str]) -> bool:
    if ended.how == "rows":
        return not isinstance(ended.what, int) or not 0 < ended.what < 1_000_000
    return ended.how != "refused" or ended.what not in documented


def run(seed: int, most: int, seconds: float) -> tuple[Counter[str], list[Wrong]]:
    """`most` mutants, of each format in turn, until the time is over; what came of them, and what must not be."""
    found: list[Wrong] = []
    ends: Counter[str] = Counter()
    documented = documented_codes()
    made = samples()
    streams = {name: mutants(name, sample, seed) for name, sample in made.items()}
    until = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as directory:
        for number in range(most):
            if time.monotonic() > until:
                break
            name = list(made)[number % len(made)]
            kind, fmt, _, more = made[name]
            files = next(streams[name])
            ended = read(files, kind, fmt, more, Path(directory, str(number)), SECONDS)
            ends[ended.how if ended.how != "refused" else str(ended.what)] += 1
            if is_wrong(ended, documented):
                found.append(Wrong(name, number, ended, files))
    return ends, found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--mutants", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=1_800)
    parser.add_argument("--keep", type=Path, help="Where files that must not be are written.")
    wanted = parser.parse_args()
    ends, found = run(wanted.seed, wanted.mutants, wanted.seconds)
    print(f"{ends.total()} mutants of seed {wanted.seed}: {dict(ends.most_common())}")
    for wrong in found:
        ended = wrong.ended
        print(f"{wrong.name} {wrong.number}: {ended.how} {str(ended.what)[-800:]} {ended.detail[:200]}")
        if wanted.keep:
            for name, body in wrong.files.items():
                target = wanted.keep / f"{wrong.name}-{wrong.number}" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(body)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
