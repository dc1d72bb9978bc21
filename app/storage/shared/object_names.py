"""Names that an object may not have because of other objects, and the errors that say so; the same for every store."""

from __future__ import annotations

from app.errors import KeyConflict


def folders_of(key: str) -> list[str]:
    """Return the folders that a key lies in, from the outermost: `a` and `a/b` for `a/b/c`."""
    parts = key.split("/")[:-1]
    return ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]


def lies_below_an_object(key: str, folder: str) -> KeyConflict:
    """Return the error for a key one of whose folders is an object."""
    detail = f"There is an object {folder!r}, so there can be no object {key!r} below it."
    return KeyConflict(detail, f"Choose another key, or delete {folder!r} first.")


def is_a_folder(key: str) -> KeyConflict:
    """Return the error for a key that is the name of a folder."""
    detail = f"{key!r} is a folder: there are objects below {key + '/'!r}, so {key!r} itself cannot be one."
    return KeyConflict(detail, "Choose another key.")
