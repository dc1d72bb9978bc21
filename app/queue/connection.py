"""Connections to the Redis of the queue: the one of the settings, or the private one of `serve`."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

from redis import CredentialProvider, Redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError, RedisError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from app.errors import QueueUnavailable
from app.settings import Settings

# The longest path of a Unix socket, without its terminating zero byte.
_MAX_SOCKET_PATH = 107
_PLAIN_PATH = re.compile(r"[\w./+-]+", re.ASCII)
PRIVATE_USER = "spatial-etl"
_FROM_FILE = "?password_file="


def private_redis_socket(data_dir: Path) -> Path:
    """Return the socket of the private Redis: in the data directory if possible, else in the temporary folder.

    The path in the data directory cannot be used when it is too long for a socket, or has characters with a meaning in
    Redis URLs and client lists.
    """
    inside = data_dir / "redis" / "redis.sock"
    if len(os.fsencode(inside)) <= _MAX_SOCKET_PATH and _PLAIN_PATH.fullmatch(str(inside)):
        return inside
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"spatial-etl-{os.getuid()}-{digest}" / "redis.sock"


def private_redis_password(data_dir: Path) -> Path:
    """Return the file with the password of the private Redis, which changes with every start of `serve`."""
    return data_dir / "redis" / "password"


def redis_url(settings: Settings) -> str:
    """Return the URL of the queue: of the settings, or of the private Redis.

    That of the private Redis names the file of its password, for `connect`.
    """
    if settings.queue.redis_url is not None:
        return settings.queue.redis_url.get_secret_value()
    password = quote(str(private_redis_password(settings.data_dir)))
    return f"unix://{private_redis_socket(settings.data_dir)}{_FROM_FILE}{password}"


class _PasswordFile(CredentialProvider):
    """Reads the password for every new connection, so that a client goes on when `serve` was started again."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._last = ""

    def get_credentials(self) -> tuple[str, str]:
        try:
            self._last = self._path.read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            # While `serve` is stopped: the connection then fails as to a server that is away, and is tried again.
            if not self._last:
                raise AuthenticationError(f"cannot read {self._path}") from None
        return PRIVATE_USER, self._last


def connect(url: str, *, patient: bool) -> Redis:
    """Return a Redis client.

    Args:
        url: of Redis.
        patient: True for a worker, which waits while Redis restarts; False for the API, which must answer soon.

    Raises:
        QueueUnavailable: the URL is not a Redis URL.
    """
    retry = Retry(ExponentialBackoff(cap=5, base=0.5), 30) if patient else Retry(NoBackoff(), 1)
    url, _, password = url.partition(_FROM_FILE)
    try:
        client: Redis = Redis.from_url(
            url,
            retry=retry,
            credential_provider=_PasswordFile(Path(unquote(password))) if password else None,
            retry_on_error=[RedisConnectionError, RedisTimeoutError],
            socket_connect_timeout=2 if patient else 1,
            socket_timeout=None if patient else 1,
        )
    except ValueError:
        # The error may quote a part of the password, if that has an unquoted # or /.
        fix = "Use redis://:PASSWORD@HOST:PORT/0, with the password percent-encoded."
        raise QueueUnavailable("SPATIAL_ETL_QUEUE__REDIS_URL is not a Redis URL.", fix) from None
    return client


def check_connection(url: str) -> None:
    """Raise QueueUnavailable when Redis does not answer."""
    client = connect(url, patient=False)
    try:
        client.ping()
    except RedisError as err:
        raise unavailable(err, client) from err
    finally:
        client.close()


def location(client: Redis) -> str:
    """The address of Redis, without password."""
    found = client.connection_pool.connection_kwargs
    return str(found["path"]) if "path" in found else f"{found.get('host')}:{found.get('port')}/{found.get('db') or 0}"


def unavailable(err: RedisError, client: Redis) -> QueueUnavailable:
    fix = "Start Redis, or check SPATIAL_ETL_QUEUE__REDIS_URL. Accepted runs wait in the ledger."
    if isinstance(err, AuthenticationError | NoPermissionError) or str(err).startswith(("NOAUTH", "WRONGPASS")):
        fix = "Check user and password in SPATIAL_ETL_QUEUE__REDIS_URL. Accepted runs wait in the ledger."
        if client.connection_pool.connection_kwargs.get("credential_provider") is not None:
            fix = "Start `spatial-etl serve` again, which makes a new password. Accepted runs wait in the ledger."
    elif isinstance(err, ReadOnlyError):
        fix = "Set SPATIAL_ETL_QUEUE__REDIS_URL to the primary, not a replica. Accepted runs wait in the ledger."
    return QueueUnavailable(f"The queue ({location(client)}) does not answer ({type(err).__name__}).", fix)
