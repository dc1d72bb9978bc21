"""The files of the buckets: opened, described, moved into place, deleted and listed, in threads.

Symbolic links, devices and names that are not valid keys are not objects: they are neither followed nor listed. Folders
that the service may not read are skipped.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from app.errors import InvalidKey, NotFound, StoreUnavailable
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET, MANIFEST_PREFIX
from app.objects import ObjectInfo, begins_a_key, check_key, is_key
from app.storage.local.files import Upload, check_name, describe, describe_path, object_exists
from app.storage.shared.object_names import folders_of, lies_below_an_object

BUCKETS = (LANDING_BUCKET, LAKE_BUCKET)
# Stays when it is empty: people copy manifests into it.
_DROP_FOLDER = (LANDING_BUCKET, [MANIFEST_PREFIX.rstrip("/")])
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_OBJECT = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # a FIFO must not block the open
_NO_OBJECT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.ENAMETOOLONG})
_MOVE_TRIES = 100
# Names in a folder from which on they are kept, and in how many folders.
_LARGE_FOLDER, _FOLDERS_KEPT = 1000, 4
# Two changes of a folder may have the same time; of one that was last changed longer ago, the next has another.
_SETTLED_NS = 2_000_000_000


class BucketFiles:
    """The buckets below `root`. Methods block, and raise OSError where the file system refuses."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._kept: dict[tuple[str, str], tuple[tuple[int, int, int], list[str]]] = {}

    def bucket_folder(self, bucket: str) -> Path:
        """Return the folder of a bucket. Raises NotFound when there is no such bucket."""
        if bucket not in BUCKETS:
            raise NotFound(f"There is no bucket {bucket!r}.", f"The buckets are {' and '.join(BUCKETS)}.")
        return self.root / bucket

    def make_bucket(self, bucket: str) -> None:
        """Create the folder of a bucket, and the one into which people copy manifests."""
        self.bucket_folder(bucket).mkdir(parents=True, exist_ok=True)
        if bucket == _DROP_FOLDER[0]:
            with suppress(FileExistsError):  # an object has that name
                (self.bucket_folder(bucket) / _DROP_FOLDER[1][0]).mkdir(exist_ok=True)

    def partial_folder(self, bucket: str) -> Path:
        """Return the folder of uploads that are not finished."""
        return self.root / f".{bucket}.partial"

    @contextmanager
    def _folder(self, bucket: str, folders: list[str], *, create: bool = False) -> Iterator[int]:
        """Open a folder of the bucket part by part, so that no symbolic link is followed; yield its descriptor."""
        if create:
            self.bucket_folder(bucket).mkdir(parents=True, exist_ok=True)
        folder = os.open(self.bucket_folder(bucket), _FOLDER)
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

    def open(self, bucket: str, key: str) -> tuple[BinaryIO, ObjectInfo]:
        """Open an object for reading. Raises NotFound."""
        self.bucket_folder(bucket)
        *folders, name = check_key(key).split("/")
        try:
            with self._folder(bucket, folders) as folder:
                descriptor = os.open(name, _OBJECT, dir_fd=folder)
        except OSError as error:
            if error.errno in _NO_OBJECT:
                raise _not_found(bucket, key) from None
            raise
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise _not_found(bucket, key)
            # Buffered, because its lock makes `close` wait for a read that a canceled task left running in its thread.
            return os.fdopen(descriptor, "rb"), describe(key, descriptor, status)
        except BaseException:
            os.close(descriptor)
            raise

    def stat(self, bucket: str, key: str) -> ObjectInfo:
        """Describe an object, also one that this user may not read. Raises NotFound."""
        try:
            source, info = self.open(bucket, key)
        except PermissionError:
            *folders, name = key.split("/")
            with self._folder(bucket, folders) as folder:
                return describe(key, None, os.stat(name, dir_fd=folder, follow_symlinks=False))
        source.close()
        return info

    def check_target(self, bucket: str, key: str, create_only: bool) -> None:
        """Raise the errors of `move_into_place` that can be known before the first byte is read."""
        self.bucket_folder(bucket)
        *folders, name = check_key(key).split("/")
        try:
            with self._folder(bucket, folders) as folder:
                check_name(folder, name, key, create_only=create_only)
        except FileNotFoundError:
            return
        except OSError as error:
            raise self._refused_name(error, bucket, key) from error

    def move_into_place(self, upload: Upload, bucket: str, key: str, create_only: bool) -> ObjectInfo:
        """Make an upload the object of this key. Raises ObjectExists or InvalidKey."""
        info = upload.seal(key)
        *folders, name = key.split("/")
        for _ in range(_MOVE_TRIES):
            try:
                with self._folder(bucket, folders, create=True) as folder:
                    check_name(folder, name, key, create_only=create_only)
                    upload.move(folder, name, create_only=create_only)
                    return info
            except FileNotFoundError:
                continue  # a concurrent delete removed the empty folder
            except FileExistsError:
                raise object_exists(key) from None
            except OSError as error:
                raise self._refused_name(error, bucket, key) from error
        raise StoreUnavailable(
            f"The folder of {key!r} was removed {_MOVE_TRIES} times during the upload.",
            "Find the program that removes it.",
        )

    def _refused_name(self, error: OSError, bucket: str, key: str) -> Exception:
        """The domain error for a key that the file system cannot have; other errors unchanged."""
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            for folder in folders_of(key):
                with suppress(NotFound):
                    self.stat(bucket, folder)
                    return lies_below_an_object(key, folder)
            return InvalidKey(f"A folder of {key!r} is a symbolic link or a device.", "Choose another key.")
        if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
            fix = "Choose a shorter key of plain characters."
            return InvalidKey(f"The file system cannot hold the name {key!r}.", fix)
        return error

    def delete(self, bucket: str, key: str, etag: str | None) -> bool:
        """Delete an object, and folders that become empty; see `ObjectStore.delete`."""
        *folders, name = check_key(key).split("/")
        try:
            if etag is not None and self.stat(bucket, key).etag != etag:
                return False
            with self._folder(bucket, folders) as folder:
                if not stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    return False
                if etag is None:
                    os.unlink(name, dir_fd=folder)
                elif not self._delete_if_unchanged(bucket, key, folder, etag):
                    return False
                os.fsync(folder)
        except NotFound:
            return False
        except OSError as error:
            if error.errno in _NO_OBJECT:
                return False
            raise
        with suppress(OSError):  # not empty, or removed already; a put that has just opened one starts over
            while folders and (bucket, folders) != _DROP_FOLDER:
                *folders, last = folders
                with self._folder(bucket, folders) as outer:
                    os.rmdir(last, dir_fd=outer)
        return True

    def _delete_if_unchanged(self, bucket: str, key: str, folder: int, etag: str) -> bool:
        """Move the file out of the bucket, and back if its content is another one by now.

        A content that was written after the check before is so not deleted.
        """
        name, aside = key.rpartition("/")[2], self.partial_folder(bucket) / uuid4().hex
        aside.parent.mkdir(parents=True, exist_ok=True)
        os.rename(name, aside, src_dir_fd=folder)
        if describe_path(key, aside).etag != etag:
            with suppress(FileExistsError):  # there is a still newer one
                os.link(aside, name, dst_dir_fd=folder, follow_symlinks=False)
            aside.unlink()
            return False
        aside.unlink()
        return True

    def keys(self, bucket: str, prefix: str, after: str) -> Iterator[str]:
        """Yield the keys in order. Reads only folders that can contain a key with the prefix that is after `after`."""
        if not begins_a_key(prefix):
            return
        top = prefix.rpartition("/")[0]
        walk = [self._children(bucket, f"{top}/" if top else "", prefix, after)]
        while walk:
            path = next(walk[-1], None)
            if path is None:
                walk.pop()
            elif not is_key(path.removesuffix("/")):
                continue
            elif path.endswith("/"):
                walk.append(self._children(bucket, path, prefix, after))
            else:
                yield path

    def _children(self, bucket: str, path: str, prefix: str, after: str) -> Iterator[str]:
        """The files and folders in a folder that can be or contain a key with the prefix after `after`, in order."""
        names = self._names(bucket, path)
        # A folder that sorts before `after` contains later keys only if `after` is in that folder.
        inner, slash, _ = after.removeprefix(path).partition("/")
        around = f"{path}{inner}/"
        if slash and after.startswith(path) and around.startswith(prefix):
            place = bisect_left(names, around)
            if place < len(names) and names[place] == around:
                yield around
        for place in range(max(bisect_left(names, prefix), bisect_right(names, after)), len(names)):
            if not names[place].startswith(prefix):
                return
            yield names[place]

    def _names(self, bucket: str, path: str) -> list[str]:
        """The files and folders in a folder, in order. Folders end in a slash, so that they sort as their keys do.

        The names of a large folder are kept until it changes, so that its next page does not read all of it again.
        """
        try:
            with self._folder(bucket, path.split("/")[:-1]) as folder:
                status = os.fstat(folder)
                mark, kept = (status.st_dev, status.st_ino, status.st_mtime_ns), self._kept.get((bucket, path))
                if kept is not None and kept[0] == mark:
                    return kept[1]
                settled = time.time_ns() - status.st_mtime_ns > _SETTLED_NS
                names = sorted(_named(path, folder))
        except PermissionError:
            return []
        except OSError as error:
            if error.errno not in _NO_OBJECT:
                raise
            return []
        self._kept.pop((bucket, path), None)
        if settled and len(names) > _LARGE_FOLDER:
            self._kept[bucket, path] = (mark, names)
            for old in list(self._kept)[:-_FOLDERS_KEPT]:
                self._kept.pop(old, None)
        return names


def _named(path: str, folder: int) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if is_folder or entry.is_file(follow_symlinks=False):
                yield f"{path}{entry.name}{'/' * is_folder}"


def _not_found(bucket: str, key: str) -> NotFound:
    return NotFound(f"There is no object {key!r} in {bucket}.", f"List {bucket} to see its keys.")
