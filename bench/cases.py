"""What is measured, and where it lies. Imports nothing heavy: the runner must stay small (see bench.measure)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(".bench")
BIG_VERTICES = 5_000


@dataclass(frozen=True, slots=True)
class Case:
    """One input. kind: `buildings` (about 8.5 vertices each) or `big` (5,000 vertices each); crs: its own."""

    kind: str
    driver: str
    crs: str
    rows: int

    @property
    def path(self) -> Path:
        suffix = {"GPKG": "gpkg", "GeoJSON": "geojson"}[self.driver]
        return FOLDER / "data" / f"{self.kind}-{self.rows}.{suffix}"

    @property
    def title(self) -> str:
        what = "building-like polygons" if self.kind == "buildings" else f"polygons of {BIG_VERTICES:,} vertices"
        return f"{self.rows:,} {what}, {self.driver}, {self.crs}"


def speed_cases(rows: int, big_rows: int) -> dict[str, Case]:
    return {
        "gpkg": Case("buildings", "GPKG", "EPSG:25832", rows),
        "geojson": Case("buildings", "GeoJSON", "EPSG:4326", rows),
        "big": Case("big", "GPKG", "EPSG:25832", big_rows),
    }
