"""Each peer is one small script: SOURCE CRS TARGET → read, EPSG:4326, valid, simplified, GeoParquet with zstd."""
