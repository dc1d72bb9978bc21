"""The COG with rio-cogeo, compressed as ours is: python -m bench.peers.with_riocogeo SOURCE CRS TARGET."""

from __future__ import annotations

import sys

from rio_cogeo import cog_profiles, cog_translate


def main(source: str, target: str) -> None:
    profile = {**cog_profiles.get("zstd"), "ZSTD_LEVEL": 1, "PREDICTOR": 2}
    config = {"GDAL_NUM_THREADS": "ALL_CPUS", "GDAL_TIFF_OVR_BLOCKSIZE": "512"}
    cog_translate(source, target, profile, overview_resampling="average", config=config, quiet=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[3])
