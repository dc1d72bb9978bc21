"""Where the features of each source lie: a wrong CRS or axis order is refused, data outside an area are warned of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from pyproj import CRS

from app.messages.common import MISREAD, NOWHERE_ON_EARTH
from app.messages.message import Notice
from app.messages.vector import OUTSIDE_AREA_OF_USE, RESULT_OUTSIDE_AREA_OF_USE
from app.pipelines.common.area_check import AS_DEGREES, AS_SWAPPED, NOWHERE, OUTSIDE, RESULT_OUTSIDE
from app.pipelines.common.areas import WORLD, known_area, shown_area, shown_distance
from app.pipelines.common.crs import crs_name
from app.pipelines.common.findings import Findings
from app.pipelines.contract.watch import Watch
from app.pipelines.vector.source import VectorSource

_READINGS = {AS_DEGREES: "as degrees", AS_SWAPPED: "y before x"}


@dataclass(slots=True)
class _Group:
    """What was found of sources of one CRS. placed: features with coordinates."""

    crs: CRS
    placed: int = 0
    findings: Findings = field(default_factory=Findings)


@dataclass(slots=True)
class Places:
    """Takes what was found in each chunk, and says it after the last.

    Attributes:
        result: the CRS of the result.
    """

    result: CRS
    _sources: dict[str, tuple[VectorSource, _Group]] = field(default_factory=dict)

    def add(self, source: VectorSource, findings: Findings, boxes: npt.NDArray[np.float64]) -> None:
        """Take what was found of places out of the findings of a chunk. boxes: (n, 4), NaN without coordinates."""
        _, group = self._sources.setdefault(source.name, (source, _Group(source.crs)))
        group.placed += int(np.isfinite(boxes[:, 0]).sum())
        group.findings.merge(findings.take(OUTSIDE, RESULT_OUTSIDE, NOWHERE, AS_DEGREES, AS_SWAPPED), source.name)

    def merge(self, other: Places) -> None:
        """Add what was found of other sources."""
        self._sources |= other._sources

    def check(self) -> None:
        """Raises RunRefused outside_area_of_use for a source of which most coordinates have no place or another one."""
        for source, group in self._sources.values():
            refuse_misread(source.file, source.crs, group.findings, group.placed)

    def counts(self) -> dict[str, int]:
        """How many features lie outside the areas of use, of all sources, where any does."""
        total = {
            name: sum(group.findings.counts[name] for _, group in self._sources.values())
            for name in (OUTSIDE, RESULT_OUTSIDE)
        }
        return {name: number for name, number in total.items() if number}

    def warn(self, watch: Watch) -> None:
        """One warning for each CRS of the sources, and one for that of the result."""
        by_crs: dict[str, _Group] = {}
        whole = _Group(self.result)
        for source, group in self._sources.values():
            if source.ignores_area:
                continue
            of_crs = by_crs.setdefault(crs_name(source.crs), _Group(source.crs))
            for each in (of_crs, whole):
                each.placed += group.placed
                each.findings.merge(group.findings)
        for group in by_crs.values():
            _warn(OUTSIDE_AREA_OF_USE, group, watch)
        _warn(RESULT_OUTSIDE_AREA_OF_USE, whole, watch)


def _warn(notice: Notice, group: _Group, watch: Watch) -> None:
    name, findings, area = notice.code, group.findings, known_area(group.crs)
    count = findings.counts[name]
    if not count or area is None:
        return
    watch.warn(
        notice(
            count=count,
            samples=findings.samples[name],
            total=group.placed,
            share=count / group.placed,
            crs=crs_name(group.crs),
            area=shown_area(area),
            distance=shown_distance(findings.largest[name]),
        )
    )


def refuse_misread(file: str, crs: CRS, findings: Findings, placed: int) -> None:
    """Refuse a source of which most features have no place on Earth, or lie inside the area of use if read otherwise.

    Args:
        file: the key of the source.
        crs: of the source.
        findings: with the counts of NOWHERE, AS_DEGREES and AS_SWAPPED.
        placed: how many features have coordinates.

    Raises:
        RunRefused: outside_area_of_use.
    """
    found: Mapping[str, int] = findings.counts
    name = next((each for each in (NOWHERE, *_READINGS) if found.get(each, 0) * 2 > placed), None)
    if name is None:
        return
    sample = next((f", for example row {each['row']}" for each in findings.samples.get(name, [])), "")
    values = {"count": found[name], "total": placed, "crs": crs_name(crs), "example": sample}
    if name == NOWHERE:
        raise NOWHERE_ON_EARTH(file=file, **values)
    raise MISREAD(file=file, area=shown_area(known_area(crs) or WORLD), reading=_READINGS[name], **values)
