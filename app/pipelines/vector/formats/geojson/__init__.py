"""A GeoJSON reader that keeps every value as it is written."""
