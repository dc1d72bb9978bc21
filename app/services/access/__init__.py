"""API keys, and which keys of the object store each of them may use."""
