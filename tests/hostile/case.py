"""What a hostile file is: how it is made, what it tries, and what has to come of it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["vector", "raster", "tabular"]
Files = Mapping[str, bytes]

# What a canary file holds, and what the worker's environment holds: neither may come out anywhere.
CANARY = "canary-that-nobody-may-read"
SECRET = "secret-that-nobody-may-see"  # noqa: S105 # a bait


@dataclass(frozen=True, slots=True)
class Bait:
    """url: of a server that counts its visitors; path: of a file that holds CANARY."""

    url: str
    path: str


Maker = Callable[[Bait], bytes | Files]


@dataclass(frozen=True, slots=True)
class Hostile:
    """make: the file, or several by name of which the first is the source. outcome: the code of its refusal, or the
    number of rows that come of it when it is read as if nothing were wrong."""

    name: str
    kind: Kind
    format: str
    tries: str
    make: Maker
    outcome: str | int
    more: Mapping[str, Any] = field(default_factory=dict)

    def files(self, bait: Bait) -> dict[str, bytes]:
        made = self.make(bait)
        return {"x": made} if isinstance(made, bytes) else dict(made)


def always(body: bytes | str | Callable[[], bytes]) -> Maker:
    """The same file whatever the bait. Large ones are functions, called by their test, so that imports stay quick."""

    def make(_: Bait) -> bytes:
        made = body() if callable(body) else body
        return made.encode() if isinstance(made, str) else made

    return make


def zipped(files: Mapping[str, bytes | str], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return out.getvalue()
