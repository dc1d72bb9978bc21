"""Tables: opens them in any format, cleans the headers, finds the types of the columns, writes Parquet."""
