"""Each peer is one small script: SOURCE CRS TARGET → read, EPSG:4326, valid, GeoParquet with zstd."""
