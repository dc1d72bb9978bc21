"""The readers of vector formats."""
