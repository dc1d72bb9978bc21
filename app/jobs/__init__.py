"""The process of a job seen from outside: its limits, its sandbox, its watch, and why it died."""
