"""Pieces of local files on their way to and from S3, and running several of them at once."""

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
_TELL_EVERY = 0.2


class FileSlice(io.RawIOBase):
    """Some bytes of a file as a request's body: read as they are sent, and again when the request is retried.

    The thread of a cancelled request may still be reading when this is closed: the lock of the buffered file makes
    `close` wait for it.
    """

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb")
        self._start, self._size, self._position = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        left = self._size - self._position
        wanted = left if size is None or size < 0 else min(size, left)
        self._file.seek(self._start + self._position)
        data = self._file.read(wanted)
        if len(data) < wanted:
            raise EOFError(f"{self._file.name} became shorter while it was uploaded.")
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()
        super().close()


class PartFile:
    """A new file that is written in several places at once; the lock makes `close` wait for a write under way."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("w+b", buffering=0)
        self._lock = threading.Lock()

    def write_at(self, offset: int, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            with self._lock:
                written = os.pwrite(self._file.fileno(), view, offset)
            view, offset = view[written:], offset + written

    def hash_range(self, start: int, end: int, into: Iterable[Any]) -> None:
        """Feed bytes start to end to the hashes."""
        while start < end:
            with self._lock:
                data = os.pread(self._file.fileno(), min(CHUNK_BYTES, end - start), start)
            if not data:
                raise EOFError(f"{self._path} became shorter while it was downloaded.")
            for each in into:
                each.update(data)
            start += len(data)

    def close(self) -> None:
        with self._lock:
            self._file.close()

    def discard(self) -> None:
        self.close()
        self._path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def together(*jobs: Coroutine[Any, Any, T]) -> list[T]:
    """Results in order. The first error cancels the others, waits for them, and leaves as it is."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*tasks, return_exceptions=True)


async def told(job: Coroutine[Any, Any, T], progress: Progress | None, done: Callable[[], int]) -> T:
    """Await the job, telling `progress` what `done` says, also while nothing moves; what it raises ends the job."""
    if progress is None:
        return await job
    task = asyncio.ensure_future(job)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=_TELL_EVERY)
            progress(done())
        return task.result()
    finally:
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(task, return_exceptions=True)
