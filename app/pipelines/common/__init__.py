"""What several kinds of data use: CRSs, GDAL's settings, shapes, archives, profiles, the GeoParquet writer."""
