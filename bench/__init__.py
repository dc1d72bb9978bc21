"""Benchmarks: this service's pipeline beside other tools on the same recipe. Run `python -m bench --help`."""
