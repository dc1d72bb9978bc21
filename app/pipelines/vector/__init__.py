"""Vector files become one GeoParquet."""
