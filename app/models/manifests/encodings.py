"""The character encodings that a manifest or a file may name: Python's own, in a table that is made once.

`codecs.lookup` keeps every unknown name that it was ever asked for, so a name from outside never reaches it.
"""

from __future__ import annotations

import codecs
import encodings
import pkgutil
import re
from encodings.aliases import aliases

_MAX_CHARACTERS = 64
_PARTS = re.compile("[A-Za-z0-9.]+")
# Modules of the package that are no encodings of text, and encodings that depend on the host or are for domain names.
_NOT_FOR_FILES = frozenset({"aliases", "charmap", "idna", "mbcs", "oem", "punycode", "undefined"})


def _standard() -> dict[str, str]:
    """{normalized name or alias: name of the codec}, for example {"latin_1": "iso8859-1"}."""
    modules = {module.name for module in pkgutil.iter_modules(encodings.__path__)} - _NOT_FOR_FILES
    codecs_of = {}
    for module in sorted(modules):
        try:
            found = codecs.lookup(module)
        except LookupError:
            continue
        if getattr(found, "_is_text_encoding", True):
            codecs_of[module] = found.name
    spelled = {alias: codecs_of[module] for alias, module in aliases.items() if module in codecs_of}
    return {_normalized(name): name for name in codecs_of.values()} | spelled | codecs_of


def _normalized(name: str) -> str:
    return "_".join(_PARTS.findall(name)).lower()


_NAMES = _standard()


def encoding_name(name: str) -> str | None:
    """Python's name of a character encoding (`utf-8`, `iso8859-1`) for any spelling of it; None if it is unknown."""
    if len(name) > _MAX_CHARACTERS or not name.isascii():
        return None
    key = _normalized(name)
    return _NAMES.get(key) or _NAMES.get(key.replace(".", "_"))
