"""Frozen domain models. They know no storage, no HTTP and no GDAL."""
