"""The CRS of a raster: in the file, in the .prj beside it, or declared by the manifest.

rasterio and pyproj bring two versions of the PROJ database, in which CRSs of one code have different names and datums.
So a definition that rasterio's database has under a code is looked up by that code in pyproj's.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio.crs
from pyproj import CRS
from pyproj.exceptions import CRSError
from rasterio.errors import CRSError as RasterioCRSError
from rasterio.io import DatasetReader

from app.messages.raster import PRJ_CONFLICT, VERTICAL_CRS_UNKNOWN
from app.models.manifests.manifest import ManifestFile
from app.models.runs.run import RunWarning
from app.pipelines.common.crs import (
    authority_code,
    check_around,
    crs_name,
    metres_per_unit,
    parse_crs,
    resolve_crs,
    same_crs,
)

# The name that GDAL gives to the ellipsoid of a GeoTIFF that says nothing about its datum.
_NO_DATUM = "unretrievable - using WGS84"


@dataclass(frozen=True, slots=True)
class FoundCrs:
    """The CRS of a raster. carried: whether the file, or the .prj beside it, declares it."""

    crs: CRS
    carried: bool
    warnings: tuple[RunWarning, ...]

    @property
    def metres_per_unit(self) -> float:
        """See `app.pipelines.common.crs`."""
        return metres_per_unit(self.crs)


def find_crs(dataset: DatasetReader, declared: ManifestFile, beside: Path) -> FoundCrs:
    """The CRS of an opened raster.

    A GeoTIFF whose keys have a unit or a citation at most declares none. Of a horizontal CRS and one that has heights
    besides, the latter counts; so does the one that names its datum, or has a code, if the other does not.

    Args:
        dataset: the opened raster.
        declared: its entry in the manifest.
        beside: the fetched file; a .prj lies next to it.

    Raises:
        RunRefused: crs_missing, crs_unknown, crs_conflict.
    """
    file = declared.key
    warnings: list[RunWarning] = []
    found = crs_of(dataset.crs, file, "in the source") if dataset.crs else None
    if found is not None and found.is_compound and found.sub_crs_list[1].name in ("", "unknown"):
        found = found.sub_crs_list[0]
        warnings.append(VERTICAL_CRS_UNKNOWN(file=file, crs=crs_name(found)))
    prj = beside.with_suffix(".prj")
    if prj.is_file():
        text = prj.read_bytes()[: 1 << 16].decode("utf-8", "replace").strip("\ufeff\x00 \r\n")
        in_prj = _by_code(parse_crs(text, file, "in its .prj"), text)
        both = in_prj if found is None else _agreed(found, in_prj)
        if found is not None and both is None:
            raise PRJ_CONFLICT(file=file, inside=crs_name(found), beside=crs_name(in_prj))
        found = both
    wanted = parse_crs(declared.crs, file, "declared in files[].crs") if declared.crs else None
    both = _agreed(found, wanted) if found is not None and wanted is not None else None
    fix = "Declare it in files[].crs, or upload its .prj beside it."
    crs = both or resolve_crs(found, declared.crs, file, fix)
    return FoundCrs(crs, found is not None, tuple(warnings))


def check_attribute(text: str, file: str) -> None:
    """Check the text of an attribute that may be a CRS. Raises RunRefused crs_unknown where it names a file."""
    check_around(text, file)


def crs_of(crs: rasterio.crs.CRS, file: str, where: str) -> CRS | None:
    """The CRS of a raster that rasterio opened; None where the file names none. Raises RunRefused crs_unknown."""
    text = crs.to_wkt()
    found = parse_crs(text, file, where)
    if _NO_DATUM in text or (found.type_name == "Engineering CRS" and _code(found) is None):
        return None
    return _by_code(found, text)


def rasterio_crs(crs: CRS) -> rasterio.crs.CRS:
    """The same CRS for rasterio: by its code where there is one, so that every reader knows it; else as WKT."""
    try:
        return rasterio.crs.CRS.from_user_input(authority_code(crs) or crs.to_wkt())
    except RasterioCRSError:
        return rasterio.crs.CRS.from_wkt(crs.to_wkt())


def _by_code(found: CRS, text: str) -> CRS:
    """The CRS of the code in a definition, if rasterio's database has the same definition under that code."""
    code = _code(found)
    if code is None:
        return found
    try:
        official, stated = rasterio.crs.CRS.from_user_input(code), rasterio.crs.CRS.from_wkt(text)
        # Some definitions lose a detail as WKT, which is what the file was read as.
        if stated not in (official, rasterio.crs.CRS.from_wkt(official.to_wkt())):
            return found
        return CRS.from_user_input(code)
    except (RasterioCRSError, CRSError):
        return found


def _code(crs: CRS) -> str | None:
    found = crs.to_json_dict().get("id")
    return f"{found['authority']}:{found['code']}" if found else None


def _agreed(a: CRS, b: CRS) -> CRS | None:
    """What two declarations of the CRS of one raster mean together; None where they contradict each other."""
    if same_crs(a, b):
        return b if authority_code(a) is None and authority_code(b) is not None else a
    if a.is_compound != b.is_compound:
        high, flat = (a, b) if a.is_compound else (b, a)
        return high if same_crs(high.sub_crs_list[0], flat) else None
    return b if _is_without_datum(a) and _is_same_but_datum(a, b) else None


def _is_without_datum(crs: CRS) -> bool:
    """Whether its datum has no name, as in netCDF files that give the ellipsoid only."""
    name = crs.geodetic_crs.datum.name.lower() if crs.geodetic_crs and crs.geodetic_crs.datum else ""
    return name in ("unknown", "unnamed") or name.startswith(("unknown based on", "not specified"))


def _is_same_but_datum(a: CRS, b: CRS) -> bool:
    """Whether two CRSs have the same ellipsoid, prime meridian, units and projection."""
    if a.type_name != b.type_name or a.ellipsoid is None or b.ellipsoid is None:
        return False
    ours, theirs = _numbers(a), _numbers(b)
    if _method(a) != _method(b) or len(ours) != len(theirs):
        return False
    return bool(np.allclose(ours, theirs, rtol=1e-9, atol=1e-9))


def _method(crs: CRS) -> str:
    return crs.coordinate_operation.method_name if crs.coordinate_operation else ""


def _numbers(crs: CRS) -> list[float]:
    meridian, ellipsoid, operation = crs.prime_meridian, crs.ellipsoid, crs.coordinate_operation
    return [
        ellipsoid.semi_major_metre if ellipsoid else 0.0,
        ellipsoid.inverse_flattening if ellipsoid else 0.0,
        meridian.longitude if meridian else 0.0,
        crs.axis_info[0].unit_conversion_factor,
        *(float(each.value) for each in sorted(operation.params if operation else [], key=lambda each: each.code)),
    ]
