"""Joins a tabular version and a spatial version by keys that are compared as text."""
