"""The table of product formats: what a run writes to the lake, and under which suffix and media type it is served.

To add one, extend `ProductFormat` and add its row to `PRODUCT_TYPES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

ProductKind: TypeAlias = Literal["spatial", "raster", "tabular", "joined"]
ProductFormat: TypeAlias = Literal["geoparquet", "cog", "parquet"]
# The column of the geometries in a GeoParquet product.
GEOMETRY = "geom"


@dataclass(frozen=True, slots=True)
class ProductType:
    """How a product of one format is stored and served. suffix: of its file, without the dot."""

    suffix: str
    media_type: str


PRODUCT_TYPES: Mapping[ProductFormat, ProductType] = {
    "geoparquet": ProductType("parquet", "application/vnd.apache.parquet"),
    "parquet": ProductType("parquet", "application/vnd.apache.parquet"),
    "cog": ProductType("tif", "image/tiff; application=geotiff; profile=cloud-optimized"),
}

# By the suffix of a companion, a further file of a version beside its data.
COMPANION_MEDIA_TYPES: Mapping[str, str] = {
    "parquet": PRODUCT_TYPES["parquet"].media_type,
    "png": "image/png",
}
