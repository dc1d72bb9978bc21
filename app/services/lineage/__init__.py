"""The graph of a version's inputs and products, and its encodings."""
