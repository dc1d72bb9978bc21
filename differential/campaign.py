"""Makes the files one after the other, has them read by everyone, and keeps the books."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from differential.case import FileKind, Found, Unreadable, Written
from differential.compare import differences, listed
from differential.reasons import SERVICE, reason_for
from differential.service import read_by_service
from differential.shapes import shapes
from differential.values import columns
from tests.place import Place

_MOST_ROWS = 25


@dataclass(frozen=True, slots=True)
class Wrong:
    """A file that a reader reads otherwise for no known reason. number: of the file, by which it is made again."""

    number: int
    format: str
    reader: str
    lines: tuple[str, ...]


@dataclass
class Books:
    """What was compared.

    Attributes:
        files: by format.
        readings: by (format, reader).
        values: by (format, reader): those that were compared.
        explained: by (format, reader, reason): differences.
        warnings: of the service, by (format, code): files.
        wrong: what nothing explains.
    """

    files: Counter[str] = field(default_factory=Counter)
    readings: Counter[tuple[str, str]] = field(default_factory=Counter)
    values: Counter[tuple[str, str]] = field(default_factory=Counter)
    explained: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    warnings: Counter[tuple[str, str]] = field(default_factory=Counter)
    wrong: list[Wrong] = field(default_factory=list)


def made(seed: int, number: int, kinds: Sequence[FileKind], folder: Path) -> tuple[FileKind, Written]:
    """The file of this number: the same one each time."""
    kind = kinds[number % len(kinds)]
    rng = random.Random(f"{seed}/{number}")
    rows = rng.randint(1, _MOST_ROWS)
    table = columns(rng, rows, kind.limits)
    geometries = None
    if kind.shapes:
        heights, missing = kind.heights and rng.random() < 0.3, kind.missing and rng.random() < 0.3
        geometries = shapes(rng, rows, rng.choice(kind.shapes), heights=heights, missing=missing)
    folder.mkdir(parents=True)
    return kind, kind.write(rng, table, geometries, folder)


def campaign(
    place: Place, seed: int, numbers: Sequence[int], kinds: Sequence[FileKind], folder: Path
) -> Iterator[Books]:
    """The books after each file."""
    books = Books()
    for number in numbers:
        into = folder / f"file{number}"
        kind, written = made(seed, number, kinds, into)
        books.files[kind.format] += 1
        before = len(books.wrong)
        _by_service(books, place, number, kind, written)
        for name, read in kind.readers.items():
            try:
                found = read(written)
            except Unreadable as err:
                books.explained[kind.format, name, f"files that it cannot read: {err}"] += 1
                continue
            except Exception as err:  # another library raised it
                _keep(books, number, kind, name, [f"{type(err).__name__}: {str(err)[:300]}"])
                continue
            _compare(books, number, kind, name, written, found)
        if len(books.wrong) == before:
            shutil.rmtree(into, ignore_errors=True)
        yield books


def _by_service(books: Books, place: Place, number: int, kind: FileKind, written: Written) -> None:
    reading = read_by_service(place, kind, written, f"file-{number}")
    for code in reading.warnings:
        books.warnings[kind.format, code] += 1
    if reading.found is None:
        _keep(books, number, kind, SERVICE, [f"refused: {reading.refusal}"])
    else:
        _compare(books, number, kind, SERVICE, written, reading.found)


def _compare(books: Books, number: int, kind: FileKind, reader: str, written: Written, found: Found) -> None:
    books.readings[kind.format, reader] += 1
    found = replace(found, columns={name: v for name, v in found.columns.items() if name not in written.adds})
    if written.any_order and found.columns.keys() == written.holds.columns.keys():
        found = replace(found, columns={name: found.columns[name] for name in written.holds.columns})
    held = [*written.holds.columns.values(), written.holds.shapes or ()]
    books.values[kind.format, reader] += sum(map(len, held))
    unknown = []
    for each in differences(written, found):
        reason = reason_for(reader, kind.format, each, written)
        if reason is None:
            unknown.append(each)
        else:
            books.explained[kind.format, reader, reason] += 1
    if unknown:
        _keep(books, number, kind, reader, [*listed(unknown), f"written with {dict(written.about)}"])


def _keep(books: Books, number: int, kind: FileKind, reader: str, lines: Sequence[str]) -> None:
    books.wrong.append(Wrong(number, kind.format, reader, tuple(lines)))
