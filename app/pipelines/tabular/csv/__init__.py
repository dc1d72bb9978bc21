"""CSV and TSV: dialect, records, and blocks that are parsed in parallel."""
