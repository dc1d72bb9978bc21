"""Recipes: what happens to vector data."""
