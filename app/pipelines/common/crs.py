"""The CRS of a source: from the source itself, or from the manifest for a source without one."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError, ProjError

from app.errors import RunRefused
from app.messages.common import CRS_CONFLICT, CRS_MISSING, CRS_NAMES_FILE, CRS_TOO_LONG, CRS_UNKNOWN

Box: TypeAlias = tuple[float, float, float, float]

# WKT of real CRSs has a few thousand characters; PROJ reads nested ones by recursion.
_MOST_TEXT = 1 << 16
# A grid or an init file by its path, which PROJ would open: in PROJ strings, and in WKT, where names are quoted.
# Names without a path are fine: PROJ looks them up in its own directory.
_FILE_IN_TEXT = re.compile(r'(?:grids|init|file)"?\s*[=,]\s*"?[^\s,"]*[/\\~]', re.IGNORECASE)
# The same within longer text.
_FILE_AMONG_TEXT = re.compile(
    r'(?:(?:nad|geoid)grids|\+(?:grids|init|file))\s*=\s*[^\s,"]*[/\\~]'
    r'|(?:PROJ4_GRIDS"|PARAMETERFILE\s*[\[(]\s*"[^"]*")\s*,\s*"[^"]*[/\\~]',
    re.IGNORECASE,
)


def parse_crs(text: str, file: str, where: str) -> CRS:
    """Parse a CRS.

    Args:
        text: authority code, WKT, PROJJSON or PROJ string.
        file: the key of the source, for messages.
        where: where the text was found, for messages: "in its .prj".

    Raises:
        RunRefused: crs_unknown.
    """
    check_text(text, file, where)
    try:
        found = CRS.from_user_input(text)
    except CRSError:
        raise CRS_UNKNOWN(file=file, crs=_short(text), where=where) from None
    check_files(found, file, where)
    return found


def check_text(text: str, file: str, where: str) -> None:
    """Check the text of a CRS before PROJ sees it. Raises RunRefused crs_unknown where it refers to a file by path."""
    if len(text) > _MOST_TEXT or _FILE_IN_TEXT.search(text):
        raise _names_files(text, file, where)


def check_around(text: str, file: str) -> None:
    """The same for longer text that may contain a CRS."""
    found = _FILE_AMONG_TEXT.search(text)
    if found is not None:
        raise _names_files(text[found.start() : found.end() + 20], file, "in the source")


def check_files(crs: CRS, file: str, where: str) -> None:
    """Raises RunRefused crs_unknown for a CRS that refers to a file by path, such as a grid of its datum."""
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
    if len(text) > _MOST_TEXT:
        return CRS_TOO_LONG(file=file, crs=_short(text), where=where, length=len(text), limit=_MOST_TEXT)
    return CRS_NAMES_FILE(file=file, crs=_short(text), where=where)


def resolve_crs(found: CRS | None, declared: str | None, file: str, fix: str = "") -> CRS:
    """The CRS of a source. Pipelines use its coordinates as x before y, even if it declares another axis order.

    Args:
        found: the CRS in the source.
        declared: files[].crs of the manifest.
        file: the key of the source, for messages.
        fix: what to do when neither has one, for formats that have a special way.

    Raises:
        RunRefused: crs_missing when neither has one, crs_unknown when the manifest's cannot be parsed, crs_conflict
            when the two are different CRSs (axis order ignored).
    """
    wanted = parse_crs(declared, file, "declared in files[].crs") if declared else None
    if found is None:
        if wanted is None:
            raise CRS_MISSING(file=file, fix=fix or "Declare it in files[].crs, for example EPSG:25832.")
        return wanted
    if wanted is not None and not same_crs(found, wanted):
        raise CRS_CONFLICT(file=file, found=crs_name(found), declared=crs_name(wanted))
    return found


def same_crs(a: CRS, b: CRS) -> bool:
    """Whether two CRSs are the same for coordinates with x before y: axis order and spelling (WKT1) are ignored."""
    if a.equals(b, ignore_axis_order=True):
        return True
    code = a.to_authority(min_confidence=70)
    return code is not None and code == b.to_authority(min_confidence=70)


def crs_name(crs: CRS) -> str:
    """`EPSG:25832` where there is a code, `EPSG:26910+6360` where its two parts have one; else the name of the CRS."""
    return authority_code(crs) or _compound_code(crs) or crs.name


def _compound_code(crs: CRS) -> str | None:
    codes = [authority_code(each) or "" for each in crs.sub_crs_list] if crs.is_compound else []
    if not codes or not all(each.startswith("EPSG:") for each in codes):
        return None
    return f"EPSG:{'+'.join(each.removeprefix('EPSG:') for each in codes)}"


def authority_code(crs: CRS) -> str | None:
    """`EPSG:25832`: the code that the CRS gives itself, if it has that definition; else one with the same definition.

    A definition may have several codes, of which PROJ would name another one, for example for deprecated codes.
    """
    stated = crs.to_json_dict().get("id")
    if stated is not None:
        code = f"{stated['authority']}:{stated['code']}"
        try:
            if CRS.from_user_input(code).equals(crs, ignore_axis_order=True):
                return code
        except CRSError:
            pass
    found = crs.to_authority(min_confidence=100)
    return ":".join(found) if found else None


def metres_per_unit(crs: CRS) -> float:
    """Metres of one unit of the horizontal axes. Of an angle: the most that it spans anywhere on the ellipsoid."""
    flat = crs.sub_crs_list[0] if crs.is_compound else crs
    flat = flat.source_crs if flat.is_bound and flat.source_crs is not None else flat
    factor = float(flat.axis_info[0].unit_conversion_factor) if flat.axis_info else 1.0
    if not flat.is_geographic:
        return factor
    ellipsoid = flat.ellipsoid
    major, minor = (ellipsoid.semi_major_metre, ellipsoid.semi_minor_metre) if ellipsoid else (6_378_137.0, 6_356_752.0)
    # The radius of curvature of the meridian at the poles: no other is larger.
    return factor * major * major / minor


def area_of_use(crs: CRS) -> Box | None:
    """(west, south, east, north) in degrees. WKT of sources rarely has it, so it is looked up by the CRS's code."""
    crs = crs.sub_crs_list[0] if crs.is_compound and crs.area_of_use is None else crs
    code = crs.to_authority(min_confidence=70)
    found = crs.area_of_use or (CRS.from_authority(*code).area_of_use if code else None)
    return found.bounds if found else None


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


@dataclass(slots=True)
class ThreadTransformer:
    """PROJ's transformation between two CRSs, x before y, made once for each thread."""

    source: CRS
    target: CRS
    _local: threading.local = field(init=False, default_factory=threading.local)

    def get(self) -> Transformer | None:
        """That of this thread; None where PROJ has no transformation."""
        if not hasattr(self._local, "transformer"):
            try:
                self._local.transformer = Transformer.from_crs(self.source, self.target, always_xy=True)
            except ProjError:
                self._local.transformer = None
        found: Transformer | None = self._local.transformer
        return found
