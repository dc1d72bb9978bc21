"""Single files of the local object store: unfinished uploads, stored hashes, and the meaning of an OSError."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from app.errors import InvalidKey, ObjectExists, StoreFull, StoreUnavailable
from app.objects import ObjectInfo
from app.storage.shared.object_names import is_a_folder
from app.system.disks import FULL, free_bytes

CHUNK_BYTES = 1024 * 1024
_SHA256_ATTRIBUTE = "user.spatial_etl.sha256"


class HashedFile:
    """A new file that is hashed while it is written.

    The thread of a canceled task may still use the file when it is discarded: the lock makes `discard` wait for it, and
    the flag stops a thread that comes later.
    """

    def __init__(self, path: Path) -> None:
        self.size = 0
        self._path = path
        self._hash = hashlib.sha256()
        self._file: BinaryIO | None = None
        self._discarded = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Create the file, unless it was discarded."""
        with self._lock:
            if not self._discarded:
                self._file = self._path.open("wb", buffering=0)

    def write(self, data: bytes | bytearray) -> None:
        """Append data."""
        with self._writable() as file:
            self._hash.update(data)
            self.size += len(data)
            view = memoryview(data)
            try:
                while view:
                    view = view[file.write(view) :]
            except OSError as error:
                # Python adds the name to errors of opening only.
                error.filename = str(self._path)
                raise

    def close(self) -> str:
        """Close the file and return its sha256."""
        with self._writable() as file:
            file.close()
            return self._hash.hexdigest()

    def discard(self) -> None:
        """Close and remove the file."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                self._path.unlink(missing_ok=True)

    @contextmanager
    def _writable(self) -> Iterator[BinaryIO]:
        with self._lock:
            if self._file is None or self._discarded:
                raise RuntimeError(f"{self._path} is not open.")
            yield self._file


class Upload(HashedFile):
    """A file in a bucket's partial folder, locked (flock) for as long as its writer lives, then moved into place."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / uuid4().hex)

    def open(self) -> None:
        """Create and lock the file."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        super().open()
        with self._writable() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def seal(self, key: str) -> ObjectInfo:
        """Store the hash in the extended attribute, and sync the file to disk."""
        with self._writable() as file:
            digest, status = self._hash.hexdigest(), os.fstat(file.fileno())
            with suppress(OSError):  # the file system has no such attributes, or no room for one
                os.setxattr(file.fileno(), _SHA256_ATTRIBUTE, _mark(digest, status).encode())
            os.fsync(file.fileno())
            return replace(describe(key, file.fileno(), status), sha256=digest)

    def move(self, folder: int, name: str, *, create_only: bool) -> None:
        """Move the file to its place. Raises FileExistsError when create_only and the name exists."""
        with self._writable() as file:
            if create_only:
                os.link(self._path, name, dst_dir_fd=folder, follow_symlinks=False)
                self._path.unlink()
            else:
                os.rename(self._path, name, dst_dir_fd=folder)
            os.fsync(folder)
            file.close()


def copy_chunk(source: BinaryIO, target: HashedFile) -> bool:
    """Copy up to one chunk; False at the end of the source."""
    chunk = source.read(CHUNK_BYTES)
    target.write(chunk)
    return bool(chunk)


def remove_stale_uploads(folder: Path, before: float, dry_run: bool) -> int:
    """Remove uploads of dead writers last written before that time, or only count them; return how many."""
    removed = 0
    for path in folder.glob("*"):
        with suppress(OSError), path.open("rb") as file:
            if os.fstat(file.fileno()).st_mtime < before:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError: its writer is alive
                if not dry_run:
                    path.unlink()
                removed += 1
    return removed


def describe(key: str, descriptor: int | None, status: os.stat_result) -> ObjectInfo:
    """Describe a file without reading it. descriptor None: this user may not open it."""
    digest = None
    if descriptor is not None:
        with suppress(OSError, UnicodeDecodeError):
            stored = os.getxattr(descriptor, _SHA256_ATTRIBUTE).decode()
            digest = stored.partition(" ")[0]
            digest = digest if stored == _mark(digest, status) else None
    etag = digest[:32] if digest else f"{status.st_size:x}-{status.st_mtime_ns:x}-{status.st_ino:x}"
    modified_at = datetime.fromtimestamp(status.st_mtime_ns // 1000 / 1_000_000, UTC)
    return ObjectInfo(key, status.st_size, etag, modified_at, digest)


def describe_path(key: str, path: Path) -> ObjectInfo:
    """Describe a file that no other process uses."""
    try:
        with path.open("rb") as file:
            return describe(key, file.fileno(), os.fstat(file.fileno()))
    except PermissionError:
        return describe(key, None, path.lstat())


def _mark(digest: str, status: os.stat_result) -> str:
    return f"{digest} {status.st_size} {status.st_mtime_ns}"


def check_name(folder: int, name: str, key: str, *, create_only: bool) -> None:
    """Check that an object may have this name.

    Raises:
        KeyConflict: a folder has it.
        InvalidKey: a link or device has it.
        ObjectExists: an object has it, and `create_only` is set.
    """
    try:
        mode = os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise is_a_folder(key)
    if not stat.S_ISREG(mode):
        raise InvalidKey(f"{key!r} is a symbolic link or a device.", "Remove it, or choose another key.")
    if create_only:
        raise object_exists(key)


def object_exists(key: str) -> ObjectExists:
    """Return the error for a key that may not be overwritten."""
    return ObjectExists(f"The object {key!r} exists already.", "Choose another key, or delete the object first.")


def object_changed(key: str) -> StoreUnavailable:
    """Return the error for an object that was edited while it was read."""
    fix = "Try again when it is complete. Copy a file under another name and rename it, so that it is never read half."
    return StoreUnavailable(f"The object {key!r} changed while it was read.", fix)


def to_domain_error(error: OSError) -> StoreUnavailable:
    """Return the domain error, with a fix, for an error of the file system."""
    if error.errno in FULL:
        folder = Path(error.filename).parent if error.filename else None
        free = free_bytes(folder) if folder is not None else None
        at = f"below {folder} ({free} bytes are free)" if free is not None else "there"
        fix = f"The disk is full: free space {at}, or move the data directory to a larger disk."
        return StoreFull(f"The object store has no room left: {error.strerror}.", fix)
    fixes = {
        errno.EFBIG: "The file is larger than the file system or a process limit allows: raise that limit.",
        errno.EROFS: "The file system is mounted read-only: mount it writable.",
        errno.EACCES: "Give the user of this service read and write access to the data directory.",
        errno.EPERM: "Give the user of this service the data directory, on a file system with hard links.",
        errno.EOPNOTSUPP: "Put the data directory on a file system with hard links and file locks.",
        errno.EXDEV: "Mount the whole object directory, not a single bucket: uploads are renamed into their bucket.",
        errno.EMFILE: "Too many files are open: raise the limit (ulimit -n).",
        errno.EIO: "The disk reports an error: check the system log.",
    }
    fix = fixes.get(error.errno or 0, "Check the data directory and the system log.")
    return StoreUnavailable(f"The object store's file system refused: {error}.", fix)
