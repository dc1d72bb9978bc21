"""`python -m app` is the command line."""

import sys

# Python puts the current directory first for `-m`: a file there could replace any module.
if not sys.flags.safe_path:
    del sys.path[0]

from app.cli import app

app()
