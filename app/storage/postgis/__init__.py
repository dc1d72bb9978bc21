"""Schemas, COPY and statements on a PostGIS server."""
