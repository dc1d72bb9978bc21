"""Shapefiles: the .shp with its index, attributes and sidecars."""
