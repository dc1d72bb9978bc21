"""The object store in a local directory."""
