"""Which CRS a source has: what it says itself, and what the manifest declares for a source that says nothing."""

from __future__ import annotations

from pyproj import CRS
from pyproj.exceptions import CRSError

from app.errors import RunRefused


def parse_crs(text: str, file: str, where: str) -> CRS:
    """The CRS that `text` names (EPSG code, WKT, PROJJSON). Raises RunRefused `crs_unknown`."""
    try:
        return CRS.from_user_input(text)
    except CRSError:
        raise RunRefused(
            f"{file}: the CRS {_short(text)} {where} is not one that PROJ knows.",
            "Use an authority code such as EPSG:25832, or WKT.",
            reason="crs_unknown",
            file=file,
        ) from None


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
