"""An error with what it was raised from."""

from __future__ import annotations

from collections.abc import Iterator


def chain(err: BaseException) -> Iterator[BaseException]:
    """The error with all its causes and contexts, suppressed ones too."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [err]
    while waiting:
        each = waiting.pop()
        if each is not None and id(each) not in seen:
            seen.add(id(each))
            yield each
            waiting += [each.__context__, each.__cause__]
