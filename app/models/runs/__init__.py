"""Runs: their state, attempts, counts and history."""
