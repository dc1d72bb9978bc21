"""The process of one attempt or plan: it prepares, runs a pipeline, commits, and reports how it ended."""
