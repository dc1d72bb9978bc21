"""Counts everything that a process writes to the ledger and to the object store, and ends it before one of them.

Outside of the product: transactions of SQL, single documents of MongoDB, requests to S3, and the steps of the local
store as the file system is told to do them (an audit hook). A death after a write leaves what a death before the next
one leaves, because nothing is kept in between: so every `before`, and the whole way to its end, is all there is.
"""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

DIED = 86
_MONGO_WRITES = ("insert_one", "replace_one", "delete_one", "find_one_and_update")
_S3_WRITES = ("PutObject", "DeleteObject", "CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload")
_MUST_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Tape:
    """The writes of this process by name. die_before: the number of the write, from 0, that it does not live to do."""

    def __init__(self, die_before: int) -> None:
        self.names: list[str] = []
        self._die_before = die_before
        self._lock = threading.Lock()

    def write(self, name: str) -> None:
        with self._lock:
            if len(self.names) == self._die_before:
                os.write(2, f"died before {name}\n".encode())
                os._exit(DIED)
            self.names.append(name)


def record(tape: Tape, objects_dir: Path) -> None:
    """From now on, and in this process for ever: it is a forked child."""
    _record_sql(tape)
    _record_mongo(tape)
    _record_s3(tape)
    _record_files(tape, str(objects_dir))


def _record_sql(tape: Tape) -> None:
    from app.storage.sql import engine as sql_engine

    original = sql_engine.Database.write

    async def write(self: Any, body: Any) -> Any:
        def whole(connection: Any) -> Any:
            result = body(connection)
            # The transaction is done but for its commit.
            tape.write("commit")
            return result

        return await original(self, whole)

    sql_engine.Database.write = write  # type: ignore[method-assign]


def _record_mongo(tape: Tape) -> None:
    from app.storage.mongo import database as mongo_database

    original = mongo_database.Collection.__init__

    def init(self: Any, database: Any, name: str) -> None:
        original(self, database, name)
        self._driver = _Recorded(self._driver, name, tape)

    mongo_database.Collection.__init__ = init  # type: ignore[method-assign]


class _Recorded:
    """A driver's collection."""

    def __init__(self, driver: Any, name: str, tape: Tape) -> None:
        self._driver, self._name, self._tape = driver, name, tape

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._driver, name)
        if name not in _MONGO_WRITES:
            return found

        async def write(*args: Any, **kwargs: Any) -> Any:
            self._tape.write(f"{name} {self._name}")
            return await found(*args, **kwargs)

        return write


def _record_s3(tape: Tape) -> None:
    from aiobotocore.client import AioBaseClient

    original = AioBaseClient._make_api_call

    async def call(self: Any, operation: str, parameters: Any) -> Any:
        if operation in _S3_WRITES:
            tape.write(f"{operation} {parameters.get('Bucket', '')}")
        return await original(self, operation, parameters)

    AioBaseClient._make_api_call = call


def _record_files(tape: Tape, root: str) -> None:
    def inside(path: object) -> bool:
        return isinstance(path, str | os.PathLike) and os.fspath(path).startswith(root)

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & _MUST_WRITE and inside(path):
                tape.write("file opened")
        elif event in ("os.rename", "os.link"):
            source, target, source_folder, target_folder = args
            if source_folder != -1 or target_folder != -1 or inside(source) or inside(target):
                tape.write(event)
        elif event in ("os.remove", "os.mkdir", "os.rmdir"):
            # Names beside a folder's descriptor are the store's: scratch is removed with them too, and not counted.
            path, folder = args[0], args[-1]
            if inside(path) or (folder != -1 and inside(_folder(folder))):
                tape.write(event)
        elif event == "os.setxattr":
            tape.write(event)

    sys.addaudithook(hook)


def _folder(descriptor: int) -> str:
    try:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())
    except OSError:
        return ""
