"""Checks before publishing."""
