"""Waiting for a new primary. An operation that meets an election is repeated for a few seconds.

The driver repeats an operation once by itself, and only on a replica set. An election takes longer than that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from pymongo.errors import AutoReconnect, NotPrimaryError, OperationFailure, PyMongoError, ServerSelectionTimeoutError

# From the start of the operation. Clients of the API wait so long before they are answered 503.
ELECTION_SECONDS = 6.0
_PAUSE_SECONDS = 0.1
# NotWritablePrimary, NotPrimaryNoSecondaryOk, and the one of old servers: refused before anything was done.
_REFUSED_AT_ONCE = frozenset({10107, 13435, 10058})
# Those, PrimarySteppedDown, InterruptedDueToReplStateChange, NotPrimaryOrSecondary, both of a shutdown, and
# ReadConcernMajorityNotAvailableYet of a new primary. They also come as the error of a write concern, after the write.
_NO_PRIMARY = _REFUSED_AT_ONCE | {189, 11602, 13436, 91, 11600, 134}

T = TypeVar("T")


class Patience:
    """How long one operation waits for a new primary; the time begins with the object."""

    def __init__(self) -> None:
        self._until = time.monotonic() + ELECTION_SECONDS

    async def pause(self, err: PyMongoError, *, repeatable: bool) -> bool:
        """Wait a moment, if the operation is to be repeated.

        Args:
            err: with which it failed.
            repeatable: it may be repeated although the server may have done it.

        Returns:
            False: do not repeat it, because the error has another cause or the time is over.
        """
        if not _is_election(err) or not (repeatable or nothing_was_done(err)):
            return False
        if time.monotonic() + _PAUSE_SECONDS >= self._until:
            return False
        await asyncio.sleep(_PAUSE_SECONDS)
        return True


async def with_patience(operation: Callable[[], Awaitable[T]], *, repeatable: bool = True) -> T:
    """Return what the operation returns, which is repeated while there is no primary; see `Patience`."""
    patience = Patience()
    while True:
        try:
            return await operation()
        except PyMongoError as err:
            if not await patience.pause(err, repeatable=repeatable):
                raise


def _is_election(err: PyMongoError) -> bool:
    """A lost connection is one too: a primary that steps down closes its connections."""
    if isinstance(err, ServerSelectionTimeoutError):
        # Members answer, and none of them is the primary. Otherwise the servers are away, which takes longer.
        return "available for writes" in str(err) or "match selector" in str(err)
    return isinstance(err, AutoReconnect) or (isinstance(err, OperationFailure) and err.code in _NO_PRIMARY)


def nothing_was_done(err: PyMongoError) -> bool:
    """Whether the error proves that the server did not do the operation."""
    if isinstance(err, ServerSelectionTimeoutError):
        return True
    # An answer with the error of a write concern has its code in another place.
    return (
        isinstance(err, NotPrimaryError)
        and isinstance(err.details, Mapping)
        and err.details.get("code") in _REFUSED_AT_ONCE
    )
