"""Raster files become one COG."""
