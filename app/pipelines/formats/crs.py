"""Which CRS a source has: what it says itself, and what the manifest declares for a source that says nothing."""

from __future__ import annotations

import re
from typing import Any

from pyproj import CRS
from pyproj.exceptions import CRSError

from app.errors import RunRefused

# WKT of real systems has some thousand characters; PROJ follows nested ones by recursion.
_MOST_TEXT = 1 << 16
# A grid or an init file by its path, which PROJ would open: in PROJ's own strings, and in WKT, where names are quoted.
# Those by name only are looked up in PROJ's own directory.
_FILE_IN_TEXT = re.compile(r'(?:grids|init|file)"?\s*[=,]\s*"?[^\s,"]*[/\\~]', re.IGNORECASE)
# The same within other text.
_FILE_AMONG_TEXT = re.compile(
    r'(?:(?:nad|geoid)grids|\+(?:grids|init|file))\s*=\s*[^\s,"]*[/\\~]'
    r'|(?:PROJ4_GRIDS"|PARAMETERFILE\s*[\[(]\s*"[^"]*")\s*,\s*"[^"]*[/\\~]',
    re.IGNORECASE,
)


def parse_crs(text: str, file: str, where: str) -> CRS:
    """The CRS that `text` names (EPSG code, WKT, PROJJSON). Raises RunRefused `crs_unknown`."""
    check_text(text, file, where)
    try:
        found = CRS.from_user_input(text)
    except CRSError:
        raise RunRefused(
            f"{file}: the CRS {_short(text)} {where} is not one that PROJ knows.",
            "Use an authority code such as EPSG:25832, or WKT.",
            reason="crs_unknown",
            file=file,
        ) from None
    check_files(found, file, where)
    return found


def check_text(text: str, file: str, where: str) -> None:
    """Before anything reads it as a CRS. Raises RunRefused crs_unknown where it leads to a file by its path."""
    if len(text) > _MOST_TEXT or _FILE_IN_TEXT.search(text):
        raise _names_files(text, file, where)


def check_around(text: str, file: str) -> None:
    """The same for text of which only some may be a CRS."""
    found = _FILE_AMONG_TEXT.search(text)
    if found is not None:
        raise _names_files(text[found.start() : found.end() + 20], file, "in the source")


def check_files(crs: CRS, file: str, where: str) -> None:
    """Raises RunRefused crs_unknown for a CRS that leads to a file by its path, a grid of its datum for example."""
    waiting: list[Any] = [crs.to_json_dict()] if crs.is_bound or crs.is_compound or crs.is_derived else []
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = value.get("value", value.get("parameter_file"))
            if isinstance(name, str) and re.search(r"[/\\~]", name):
                raise _names_files(name, file, where)
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and _FILE_IN_TEXT.search(value):
            raise _names_files(value, file, where)


def _names_files(text: str, file: str, where: str) -> RunRefused:
    found = f"has {len(text)} characters" if len(text) > _MOST_TEXT else "leads to another file"
    return RunRefused(
        f"{file}: the CRS {_short(text)} {where} {found}.",
        "Use an authority code such as EPSG:25832, or WKT without grids of your own.",
        reason="crs_unknown",
        file=file,
    )


def resolve_crs(found: CRS | None, declared: str | None, file: str, fix: str = "") -> CRS:
    """The CRS of a source, x before y in all that follows.

    Raises RunRefused: `crs_missing` when neither the source nor the manifest names one, `crs_unknown` when the
    manifest's is unparsable, `crs_conflict` when the two are not the same CRS (axis order aside).
    """
    wanted = parse_crs(declared, file, "declared in files[].crs") if declared else None
    if found is None and wanted is None:
        raise RunRefused(
            f"{file} does not say its CRS.",
            fix or "Declare it in files[].crs, for example EPSG:25832.",
            reason="crs_missing",
            file=file,
        )
    if found is None or wanted is None:
        return found or wanted or CRS.from_epsg(4326)
    if not same_crs(found, wanted):
        raise RunRefused(
            f"{file} is in {crs_name(found)}, the manifest declares {crs_name(wanted)}.",
            "Remove files[].crs (it is for sources that carry no CRS), or correct the source.",
            reason="crs_conflict",
            file=file,
        )
    return found


def same_crs(a: CRS, b: CRS) -> bool:
    """Whether coordinates in `a`, x before y, are coordinates in `b`: axis order and spelling (WKT1, .prj) aside."""
    if a.equals(b, ignore_axis_order=True):
        return True
    code = a.to_authority(min_confidence=70)
    return code is not None and code == b.to_authority(min_confidence=70)


def crs_name(crs: CRS) -> str:
    """`EPSG:25832` where there is a code; else the CRS's own name."""
    code = crs.to_authority(min_confidence=100)
    return ":".join(code) if code else crs.name


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")
