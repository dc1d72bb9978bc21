"""Implementations of the ledger and the object store, and the PostGIS server. Drivers are used only here."""
