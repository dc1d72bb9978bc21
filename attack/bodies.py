"""Bodies of requests that cost their reader much, by kind and size."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from attack.manifests import JSON_TYPE, MiB
from tests.service import manifest

KiB = 1024
# Some below the largest numbers of values and files, some above them.
SIZES = (64 * KiB, 256 * KiB, 352 * KiB, 448 * KiB, MiB)
SHORT_SIZES = (448 * KiB, MiB)
_PLAIN = {"Content-Type": JSON_TYPE}


@dataclass(frozen=True, slots=True)
class Body:
    """closes: the service may close the connection instead of reading all of it."""

    name: str
    content: bytes | Callable[[], Iterable[bytes]]
    headers: Mapping[str, str] = field(default_factory=lambda: _PLAIN)
    closes: bool = False


def repeated(unit: str, size: int, *, before: str = "", after: str = "") -> bytes:
    """As many of the unit, separated by commas, as fit."""
    count = (size - len(before) - len(after)) // (len(unit.encode()) + 1)
    return f"{before}{','.join([unit] * count)}{after}".encode()


def numbered(unit: str, size: int, *, before: str = "", after: str = "") -> bytes:
    """The same, with a number in place of each `#`."""
    count = (size - len(before) - len(after)) // (len(unit.replace("#", "123456")) + 1)
    return f"{before}{','.join(unit.replace('#', str(n)) for n in range(count))}{after}".encode()


def _good(**metadata: object) -> dict[str, object]:
    document = manifest("attack", ("a.csv", "CSV"), intent="ingest_tabular")
    document["files"][0]["type"] = "tabular"
    document["metadata"] |= metadata
    return document


def _within(place: str) -> tuple[str, str]:
    """The text of a good manifest before and after the list or object of that place."""
    before, _, after = json.dumps(_good(keywords="@") if place == "keywords" else _good()).partition(
        {"keywords": '"@"', "files": '[{"path"', "tags": '{"dataset_id": "attack"}'}[place]
    )
    return before, after.partition("}]")[2] if place == "files" else after


def _file() -> str:
    return json.dumps({"path": "s3://landing-zone/#.csv", "type": "tabular", "format": "CSV"})


# Each makes a body of about that many bytes.
KINDS: dict[str, Callable[[int], bytes]] = {
    "one name repeated": lambda size: repeated('"a":1', size, before="{", after="}"),
    "one name repeated in a file": lambda size: repeated('"path":1', size, before='{"files":[{', after="}]}"),
    "half of the names repeated": lambda size: b"{%b,%b}" % ((numbered('"n#":1', size // 2),) * 2),
    "unknown names": lambda size: numbered('"fles#":1', size, before="{", after="}"),
    "a long name": lambda size: b'{"%b":1}' % (b"x" * (size - 6)),
    "files that are {}": lambda size: repeated("{}", size, before='{"files":[', after="]}"),
    "files that are []": lambda size: repeated("[]", size, before='{"files":[', after="]}"),
    "files that are null": lambda size: repeated("null", size, before='{"files":[', after="]}"),
    "files without paths": lambda size: repeated('{"type":"x"}', size, before='{"files":[', after="]}"),
    "good files": lambda size: numbered(
        _file(), size, before=f"{_within('files')[0]}[", after=f"]{_within('files')[1]}"
    ),
    "one file many times": lambda size: repeated(
        _file(), size, before=f"{_within('files')[0]}[", after=f"]{_within('files')[1]}"
    ),
    "keywords": lambda size: numbered(
        '"k#"', size, before=f"{_within('keywords')[0]}[", after=f"]{_within('keywords')[1]}"
    ),
    "tags": lambda size: numbered('"t#":1', size, before=f"{_within('tags')[0]}{{", after=f"}}{_within('tags')[1]}"),
    "a long title": lambda size: json.dumps(_good(title="x" * (size - 600))).encode(),
    "a title of escapes": lambda size: json.dumps(_good(title="é" * (size // 6 - 100))).encode(),
    "a title of lone surrogates": lambda size: json.dumps(_good(title="\ud800" * (size // 6 - 100))).encode(),
    "nested lists": lambda size: b"[" * (size // 2) + b"]" * (size // 2),
    "nested objects": lambda size: b'{"a":' * (size // 6) + b"1" + b"}" * (size // 6),
    "nested lists without an end": lambda size: b"[" * size,
    "quotes without an end": lambda size: b'"' * (size - 1),
    "backslashes without an end": lambda size: b'{"a":"' + b"\\" * size,
    "one number": lambda size: b'{"a":%b}' % (b"9" * (size - 6)),
    "numbers of 4,300 digits": lambda size: repeated("9" * 4300, size, before='{"a":[', after="]}"),
    "numbers with many decimals": lambda size: repeated(f"0.{'1' * 9000}", size, before='{"a":[', after="]}"),
    "numbers beyond all bounds": lambda size: repeated("1e999", size, before='{"files":[', after="]}"),
    "NaN": lambda size: repeated("NaN", size, before='{"files":[', after="]}"),
    "invalid UTF-8": lambda size: b'{"a":"%b"}' % (b"\xff" * (size - 8)),
    "UTF-16": lambda size: json.dumps(_good(title="x" * (size // 2 - 600))).encode("utf-16"),
    "zeros": lambda size: b"\0" * size,
    "spaces": lambda size: b" " * size,
}


def bodies(sizes: Iterable[int]) -> Iterator[Body]:
    for size in sizes:
        for name, make in KINDS.items():
            yield Body(f"{name}, {size // KiB} KiB", make(size))
    yield from _otherwise()


def _otherwise() -> Iterator[Body]:
    """Compressed, too large, or of another type."""
    bomb = b'{"a":"%b"}' % (b"x" * (64 * MiB))
    yield Body("gzip that unpacks to 64 MiB", gzip.compress(bomb, 9), {**_PLAIN, "Content-Encoding": "gzip"})
    yield Body("deflate that unpacks to 64 MiB", zlib.compress(bomb, 9), {**_PLAIN, "Content-Encoding": "deflate"})
    ten = gzip.compress(json.dumps(_good()).encode())
    yield Body("gzip of a good manifest", ten, {**_PLAIN, "Content-Encoding": "gzip"})
    yield Body("one byte too many", KINDS["a long title"](MiB) + b" " * MiB, closes=True)
    yield Body("64 MiB", b" " * (64 * MiB), closes=True)
    yield Body("64 MiB without a length", lambda: (b" " * MiB for _ in range(64)), closes=True)
    yield Body("many small chunks", lambda: (b"[" for _ in range(20_000)))
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "\xff", ""):
        yield Body(f"files that are {{}} as {kind!r}", KINDS["files that are {}"](MiB), {"Content-Type": kind})
