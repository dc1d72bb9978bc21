"""Parts of local files for uploads and downloads, concurrency, and progress reports."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import threading
from collections.abc import Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, TypeVar

import anyio

from app.objects import Progress

T = TypeVar("T")

CHUNK_BYTES = 1024 * 1024
_PROGRESS_SECONDS = 0.2


class FileSlice(io.RawIOBase):
    """A byte range of a file as the body of a request: read while it is sent, and again when the request is retried.

    The thread of a canceled request may still read when this is closed: the lock of the buffered file makes `close`
    wait for it.
    """

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._start, self._size, self._position = start, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the range."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position within the range, and return it."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Read up to `size` bytes. Raises EOFError when the file became shorter."""
        left = self._size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        self._file.seek(self._start + self._position)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise EOFError(f"{self._file.name} became shorter while it was uploaded.")
        self._position += len(data)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class PartFile:
    """A new file that several tasks write in different places. The lock makes `close` wait for a write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._lock = threading.Lock()

    def write_at(self, offset: int, data: bytes | bytearray) -> None:
        """Write data at this offset."""
        view = memoryview(data)
        while view:
            with self._lock:
                written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[written:], offset + written

    def hash_range(self, start: int, end: int, into: Iterable[Any]) -> None:
        """Update the hashes with bytes start (inclusive) to end (exclusive)."""
        while start < end:
            with self._lock:
                data = os.pread(self._file.fileno(), min(CHUNK_BYTES, end - start), start)
            if not data:
                raise EOFError(f"{self._path} became shorter while it was downloaded.")
            for each in into:
                each.update(data)
            start += len(data)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        self.close()
        self._path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def gather_or_cancel(*jobs: Coroutine[Any, Any, T]) -> list[T]:
    """Run coroutines at once and return their results in order. The first error cancels the others and is raised."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)


async def with_progress(job: Coroutine[Any, Any, T], progress: Progress | None, bytes_done: Callable[[], int]) -> T:
    """Await a job and report `bytes_done()` to `progress` regularly. An error of `progress` cancels the job."""
    if progress is None:
        return await job
    task = asyncio.ensure_future(job)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_PROGRESS_SECONDS)
            progress(bytes_done())
        return task.result()
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(task, return_exceptions=True)
