"""Real servers for the tests: private ones on free ports, or those that environment variables name.

Each module starts one kind of server once per test process, and says as a skip reason what is missing when it cannot.
With `pytest --no-servers` none is started: the tests that need one are skipped.
"""

from __future__ import annotations

import pytest

_forbidden: list[str] = []


def forbid_servers(reason: str) -> None:
    """From now on, `require_servers` skips its test with that reason."""
    _forbidden.append(reason)


def require_servers() -> None:
    """Call this before a server is started for a test. Skips the test where no servers are wanted."""
    if _forbidden:
        pytest.skip(_forbidden[0])
