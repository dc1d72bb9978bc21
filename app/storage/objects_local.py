"""Object store in a local directory: one folder a bucket, one file an object, no database beside them.

A file that somebody copies into a bucket by hand is an object like any other. Symbolic links, devices and names that
are no valid keys are not objects: they are neither followed nor listed. Folders closed to the service are passed over.

An upload is written beside its bucket in `.{bucket}.partial/` (same file system, never listed), synced, and then
renamed or linked into place: readers have the whole old object or the whole new one. The sha256 of an upload is
remembered in an extended attribute, together with the size and time of the file: an edit by hand makes it void. Without
one (a file copied by hand, a file system without attributes) the etag is made of size, modification time and inode.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, TypeVarTuple
from uuid import uuid4

import anyio
from anyio import to_thread

from app.errors import BodyTooLarge, InvalidKey, NotFound, RangeNotSatisfiable, StoreUnavailable
from app.models.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.objects import Listing, ObjectInfo, PresignedUrl, Progress, check_key
from app.storage.local_files import (
    CHUNK_BYTES,
    HashedFile,
    Upload,
    changed,
    check_free,
    copy_chunk,
    describe,
    describe_path,
    exists,
    refusal,
    remove_stale,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_BUCKETS = (LANDING_BUCKET, LAKE_BUCKET)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block the open
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG})
_MOVE_TRIES = 100


class LocalObjectStore:
    """`app.objects.ObjectStore` over `root`; any number of processes may use the same root at once."""

    def __init__(self, root: Path) -> None:
        self._root = root

    async def put(
        self,
        bucket: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        create_only: bool = False,
        max_bytes: int | None = None,
    ) -> ObjectInfo:
        await _off_loop(self._check_place, bucket, key, create_only)
        upload = Upload(self._partial_folder(bucket))
        try:
            await _off_loop(upload.open)
            waiting, total = bytearray(), 0
            async for chunk in body:
                total += len(chunk)
                if max_bytes is not None and total > max_bytes:
                    raise _too_large(key, f"more than {max_bytes}", max_bytes)
                waiting += chunk
                if len(waiting) >= CHUNK_BYTES:
                    await _off_loop(upload.write, waiting)
                    waiting = bytearray()
            await _off_loop(upload.write, waiting)
            return await _off_loop(self._place, upload, bucket, key, create_only)
        except BaseException:
            await _shielded(upload.discard)
            raise

    async def put_file(
        self, bucket: str, key: str, path: Path, *, create_only: bool = False, progress: Progress | None = None
    ) -> ObjectInfo:
        await _off_loop(self._check_place, bucket, key, create_only)
        upload = Upload(self._partial_folder(bucket))
        try:
            await _off_loop(upload.open)
            source = await _off_loop(lambda: path.open("rb"))
            try:
                while await _off_loop(copy_chunk, source, upload):
                    if progress is not None:
                        progress(upload.size)
            finally:
                await _shielded(source.close)
            return await _off_loop(self._place, upload, bucket, key, create_only)
        except BaseException:
            await _shielded(upload.discard)
            raise

    async def fetch(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        source, info = await _off_loop(self._open, bucket, key)
        target = HashedFile(path)
        try:
            if max_bytes is not None and info.size > max_bytes:
                raise _too_large(key, str(info.size), max_bytes)
            await _off_loop(target.open)
            while await _off_loop(copy_chunk, source, target) and target.size <= info.size:
                if progress is not None:
                    progress(target.size)
            await _off_loop(_check_unchanged, source, info, target)
            return replace(info, sha256=await _off_loop(target.close))
        except BaseException:
            await _shielded(target.discard)
            raise
        finally:
            await _shielded(source.close)

    async def read(self, bucket: str, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        source, info = await _off_loop(self._open, bucket, key)
        try:
            stop = info.size if end is None else min(end, info.size)
            if start < 0 or (end is not None and end < start) or start >= max(info.size, 1):
                detail = (
                    f"Bytes {start} to {'the end' if end is None else end} of {key!r}, which has {info.size} bytes."
                )
                raise RangeNotSatisfiable(detail, "Ask for a range that starts inside the object.")
            await _off_loop(source.seek, start)
            while start < stop:
                chunk = await _off_loop(source.read, min(CHUNK_BYTES, stop - start))
                if not chunk:
                    raise changed(key)
                start += len(chunk)
                yield chunk
        finally:
            await _shielded(source.close)

    async def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        self._bucket(bucket)
        try:
            return await _off_loop(self._look, bucket, key)
        except NotFound:
            return None

    async def list_objects(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        def look() -> Listing:
            infos: list[ObjectInfo] = []
            last = None
            for seen, key in enumerate(self._walk(bucket, prefix, after)):
                if seen == limit:
                    return Listing(tuple(infos), next_after=last)
                with suppress(NotFound):  # deleted since its folder was read
                    infos.append(self._look(bucket, key))
                last = key
            return Listing(tuple(infos))

        self._bucket(bucket)
        return await _off_loop(look)

    async def delete(self, bucket: str, key: str, *, etag: str | None = None) -> bool:
        """As the protocol."""
        self._bucket(bucket)
        return await _off_loop(self._delete, bucket, key, etag)

    async def presign(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> PresignedUrl | None:  # noqa: ARG002 # the protocol's
        self._bucket(bucket)
        check_key(key)
        return None

    async def presign_post(self, bucket: str, key: str, max_bytes: int) -> PresignedUrl | None:  # noqa: ARG002 # as above
        self._bucket(bucket)
        check_key(key)
        return None

    async def make_buckets(self) -> tuple[str, ...]:
        def make() -> tuple[str, ...]:
            made = tuple(bucket for bucket in _BUCKETS if not self._bucket(bucket).is_dir())
            for bucket in made:
                self._bucket(bucket).mkdir(parents=True, exist_ok=True)
            return made

        return await _off_loop(make)

    async def ping(self) -> dict[str, str]:
        """As the protocol; also makes the buckets, so that files can be copied into them."""

        def check() -> dict[str, str]:
            for bucket in _BUCKETS:
                self._bucket(bucket).mkdir(parents=True, exist_ok=True)
                trial = Upload(self._partial_folder(bucket))
                try:
                    trial.open()
                    trial.write(b"ping")
                finally:
                    trial.discard()
            space = os.statvfs(self._root)
            return {"backend": "local", "root": str(self._root), "free_bytes": str(space.f_bavail * space.f_frsize)}

        return await _off_loop(check)

    async def remove_stale_uploads(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove what dead writers have left behind; how many. The upload of a living writer stays, however old."""
        before = time.time() - older_than_seconds
        folders = [self._partial_folder(bucket) for bucket in _BUCKETS]
        return sum([await _off_loop(remove_stale, folder, before, dry_run) for folder in folders])

    # What follows is synchronous, runs in a thread, and lets OSError out where the file system refuses.

    def _bucket(self, bucket: str) -> Path:
        if bucket not in _BUCKETS:
            raise NotFound(f"There is no bucket {bucket!r}.", f"The buckets are {' and '.join(_BUCKETS)}.")
        return self._root / bucket

    def _partial_folder(self, bucket: str) -> Path:
        return self._root / f".{bucket}.partial"

    @contextmanager
    def _folder(self, bucket: str, folders: list[str], *, create: bool = False) -> Iterator[int]:
        """Descriptor of a folder of the bucket, reached part by part without following a symbolic link."""
        if create:
            self._bucket(bucket).mkdir(parents=True, exist_ok=True)
        folder = os.open(self._bucket(bucket), _FOLDER)
        try:
            for name in folders:
                try:
                    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                except FileNotFoundError:
                    if not create:
                        raise
                    with suppress(FileExistsError):
                        os.mkdir(name, dir_fd=folder)
                        os.fsync(folder)
                    inner = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=folder)
                os.close(folder)
                folder = inner
            yield folder
        finally:
            os.close(folder)

    def _open(self, bucket: str, key: str) -> tuple[BinaryIO, ObjectInfo]:
        self._bucket(bucket)
        *folders, name = check_key(key).split("/")
        try:
            with self._folder(bucket, folders) as folder:
                descriptor = os.open(name, _OBJECT, dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                raise _missing(bucket, key) from None
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _missing(bucket, key)
            # Buffered, for its lock: closing waits for a read that a cancelled task has left running in its thread.
            return os.fdopen(descriptor, "rb"), describe(key, descriptor, status)
        except BaseException:
            os.close(descriptor)
            raise

    def _look(self, bucket: str, key: str) -> ObjectInfo:
        try:
            source, info = self._open(bucket, key)
        except PermissionError:
            *folders, name = key.split("/")
            with self._folder(bucket, folders) as folder:
                return describe(key, None, os.stat(name, dir_fd=folder, follow_symlinks=False))
        source.close()
        return info

    def _check_place(self, bucket: str, key: str, create_only: bool) -> None:
        """Refuse what is bound to fail before the first byte is read."""
        self._bucket(bucket)
        *folders, name = check_key(key).split("/")
        try:
            with self._folder(bucket, folders) as folder:
                check_free(folder, name, key, create_only=create_only)
        except FileNotFoundError:
            return
        except OSError as error:
            raise _misplaced(error, key) from error

    def _place(self, upload: Upload, bucket: str, key: str, create_only: bool) -> ObjectInfo:
        info = upload.seal(key)
        *folders, name = key.split("/")
        for _ in range(_MOVE_TRIES):
            try:
                with self._folder(bucket, folders, create=True) as folder:
                    check_free(folder, name, key, create_only=create_only)
                    upload.move(folder, name, create_only=create_only)
                    return info
            except FileNotFoundError:
                continue  # a concurrent delete has taken the empty folder away
            except FileExistsError:
                raise exists(key) from None
            except OSError as error:
                raise _misplaced(error, key) from error
        raise StoreUnavailable(
            f"The folder of {key!r} vanishes again and again.", "Look for a program that removes it."
        )

    def _delete(self, bucket: str, key: str, etag: str | None) -> bool:
        *folders, name = check_key(key).split("/")
        try:
            if etag is not None and self._look(bucket, key).etag != etag:
                return False
            with self._folder(bucket, folders) as folder:
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    return False
                if etag is None:
                    os.unlink(name, dir_fd=folder)
                elif not self._unlink_content(bucket, key, folder, etag):
                    return False
                os.fsync(folder)
        except NotFound:
            return False
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return False
            raise
        with suppress(OSError):  # not empty, or gone already; a put that has just entered one starts over
            while folders:
                *folders, last = folders
                with self._folder(bucket, folders) as outer:
                    os.rmdir(last, dir_fd=outer)
        return True

    def _unlink_content(self, bucket: str, key: str, folder: int, etag: str) -> bool:
        """Take the file out of everybody's reach, look at it there, and put it back when it is not that content: one
        that was overwritten since the look before stays."""
        name, aside = key.rpartition("/")[2], self._partial_folder(bucket) / uuid4().hex
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(name, aside, src_dir_fd=folder)
        if describe_path(key, aside).etag != etag:
            with suppress(FileExistsError):  # a still newer one has the place
                os.link(aside, name, dst_dir_fd=folder, follow_symlinks=False)
            aside.unlink()
            return False
        aside.unlink()
        return True

    def _walk(self, bucket: str, prefix: str, after: str) -> Iterator[str]:
        """Keys in order; reads only the folders that can hold a key with the prefix and behind `after`."""
        top = prefix.rpartition("/")[0]
        if top and not _is_key(top):
            return
        pending = [f"{top}/" if top else ""]
        while pending:
            place = pending.pop()
            if place and not place.endswith("/"):
                yield place
                continue
            found = [place + name for name in self._names(bucket, place)]
            # A folder before `after` holds keys behind it only if `after` lies in that folder.
            pending += sorted(
                (f for f in found if f.startswith(prefix) and (f > after or (f[-1] == "/" and after.startswith(f)))),
                reverse=True,
            )

    def _names(self, bucket: str, place: str) -> Iterator[str]:
        """What is in a folder: files, and folders with a slash behind, which sorts them as the keys in them sort."""
        try:
            with self._folder(bucket, place.split("/")[:-1]) as folder, os.scandir(folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if (is_folder or entry.is_file(follow_symlinks=False)) and _is_key(place + entry.name):
                        yield entry.name + "/" * is_folder
        except PermissionError:
            return
        except OSError as error:
            if error.errno not in _NO_OBJECT:
                raise


async def _off_loop(work: Callable[[*Ts], T], *args: *Ts) -> T:
    try:
        return await to_thread.run_sync(work, *args)
    except OSError as error:
        raise refusal(error) from error


async def _shielded(work: Callable[[], object]) -> None:
    """Clean up, cancelled or not. What cannot be removed now is left to `remove_stale_uploads`."""
    with anyio.CancelScope(shield=True), suppress(OSError):
        await to_thread.run_sync(work)


def _check_unchanged(source: BinaryIO, info: ObjectInfo, target: HashedFile) -> None:
    now = describe(info.key, None, os.fstat(source.fileno()))
    if (now.size, now.modified_at) != (info.size, info.modified_at) or target.size != info.size:
        raise changed(info.key)


def _is_key(text: str) -> bool:
    try:
        return bool(check_key(text))
    except InvalidKey:
        return False


def _missing(bucket: str, key: str) -> NotFound:
    return NotFound(f"There is no object {key!r} in {bucket}.", f"Look at what is there: list {bucket}.")


def _too_large(key: str, size: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"{key!r} has {size} bytes; the limit is {limit}.", "Split the file, or raise the limit.")


def _misplaced(error: OSError, key: str) -> Exception:
    """A part of the key that is no folder, as a domain error; any other refusal as it is."""
    if error.errno in (errno.ENOTDIR, errno.ELOOP):
        return InvalidKey(f"A folder of {key!r} is an object or a symbolic link.", "Choose another key.")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return InvalidKey(f"The file system cannot hold the name {key!r}.", "Choose a shorter, plainer key.")
    return error
