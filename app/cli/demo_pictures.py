"""What the demo shows of a version: a map, or the first rows of a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from app.cli.client import Client
from app.cli.show import rows_table

Json = dict[str, Any]

_ROWS = 5
_FACE, _EDGE, _NO_VALUE = "#b7d3c6", "#2f5d50", "#e4e4e4"


def first_rows(client: Client, asset: Json, directory: Path) -> Table | None:
    """The first rows of a tabular version; None for other kinds."""
    if asset["kind"] != "tabular":
        return None
    import pyarrow.parquet as pq

    path = _downloaded(client, asset, asset["links"]["download"], directory, ".parquet")
    with pq.ParquetFile(path) as parquet:
        names = parquet.schema_arrow.names
        batch = next(parquet.iter_batches(_ROWS))
    return rows_table(names, [list(row.values()) for row in batch.to_pylist()])


def draw(client: Client, asset: Json, directory: Path) -> Path | None:
    """A PNG of the version; None for tables, and without the `demo` extra."""
    if asset["kind"] == "raster":
        return _downloaded(client, asset, asset["links"]["preview"], directory, ".png")
    if asset["kind"] == "tabular":
        return None
    try:
        import geopandas
        import matplotlib as mpl
    except ImportError:
        return None
    mpl.use("Agg")
    from matplotlib import pyplot

    data = _downloaded(client, asset, asset["links"]["download"], directory, ".parquet")
    frame = geopandas.read_parquet(data)
    figure, axes = pyplot.subplots(figsize=(10, 5.5), layout="constrained")
    column = _first_decimal(asset)
    if asset["kind"] == "joined" and column is not None:
        frame = frame[frame.geometry.notna()].astype({column: float})
        frame.plot(
            ax=axes, column=column, scheme=None, cmap="YlGnBu", edgecolor=_EDGE, linewidth=0.3, legend=True,
            missing_kwds={"color": _NO_VALUE}, norm=mpl.colors.LogNorm(),
            legend_kwds={"label": asset["metadata"]["column_schema"][column]["title"], "shrink": 0.7},
        )  # fmt: skip
    else:
        frame.plot(ax=axes, facecolor=_FACE, edgecolor=_EDGE, linewidth=0.5)
    axes.set_title(f"{asset['metadata']['manifest']['title']}: {len(frame):,} features, {asset['crs']}")
    axes.set_xlabel("longitude (°)")
    axes.set_ylabel("latitude (°)")
    picture = data.with_suffix(".png")
    figure.savefig(picture, dpi=110)
    pyplot.close(figure)
    return picture


def _first_decimal(asset: Json) -> str | None:
    columns = asset["metadata"]["column_schema"].items()
    return next((name for name, column in columns if column["type_name"].startswith("decimal")), None)


def _downloaded(client: Client, asset: Json, link: str, directory: Path, suffix: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{asset['dataset_id']}_v{asset['version']}{suffix}"
    path.write_bytes(client.request("GET", link).content)
    return path
