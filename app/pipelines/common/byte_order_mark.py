"""The encoding that a text shows by its first bytes: a byte order mark, or the zeros of wide characters."""

from __future__ import annotations

import codecs

from app.models.manifests.encodings import encoding_name

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Where the zeros are in the first four bytes of a text that begins with two ASCII characters.
_ZEROS: dict[tuple[bool, ...], str] = {
    (False, True, True, True): "utf-32-le",
    (True, True, True, False): "utf-32-be",
    (False, True, False, True): "utf-16-le",
    (True, False, True, False): "utf-16-be",
}


def find_mark(head: bytes) -> tuple[bytes, str] | None:
    """(byte order mark, encoding) of a text that begins so; None without a mark."""
    return next(((mark, name) for mark, name in _MARKS if head.startswith(mark)), None)


def find_zeros(head: bytes) -> str | None:
    """The encoding of a text without a mark whose first two characters are ASCII; None if it may be any other."""
    return _ZEROS.get(tuple(byte == 0 for byte in head[:4]))


def is_same_encoding(declared: str, name: str) -> bool:
    """Whether a declared encoding is that of a byte order mark: UTF-16 stands for both of its orders."""
    declared = encoding_name(declared) or declared
    return declared in (name, f"{name}-sig") or (name[:6] == declared and declared in ("utf-16", "utf-32"))
