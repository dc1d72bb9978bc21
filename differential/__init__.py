"""A campaign that reads generated files by this service and by others, and compares every value."""
