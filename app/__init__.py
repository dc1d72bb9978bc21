"""spatial-etl: files dropped into an object store become clean, versioned, traceable datasets."""

__version__ = "0.1.0"
