"""What the settings say of the places that a job must reach: directories, ports and files of our own servers."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from app.settings import Settings

_PORTS = {"redis": 6379, "rediss": 6379, "postgresql": 5432, "postgres": 5432}


def linked_places(settings: Settings) -> list[Path]:
    """Directories of ours that lie outside the data directory: links in it lead there, or the ledger's URL."""
    found = [path.resolve() for folder in (settings.data_dir, settings.objects_dir) for path in _links(folder)]
    scheme, _, path = settings.ledger_url.partition(":///")
    if scheme.startswith("sqlite"):
        found.append(Path(unquote(path.partition("?")[0])).absolute().parent)
    return found


def needed_variables(settings: Settings) -> list[str]:
    """Beginnings of the names of variables that clients of ours may take their credentials from."""
    found = []
    if settings.objects.backend == "s3" and settings.objects.access_key is None:
        found.append("AWS_")
    if any(url.startswith("postgres") for url in (settings.ledger_url, _postgis(settings))):
        found.append("PG")
    return found


def server_ports(settings: Settings) -> list[int]:
    """TCP ports of the servers that the thread of the readers itself talks to: the queue and PostGIS."""
    redis = settings.queue.redis_url.get_secret_value() if settings.queue.redis_url else ""
    return [port for url in (redis, _postgis(settings)) if (port := _port(url)) is not None]


def server_files(settings: Settings) -> list[Path]:
    """What a client of PostGIS reads to connect: certificates that its URL names, and the usual places."""
    url = _postgis(settings)
    if not url:
        return []
    named = [Path(value) for _, value in parse_qsl(urlsplit(url).query) if value.startswith("/")]
    return [*named, Path.home() / ".pgpass", Path.home() / ".postgresql"]


def _links(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_symlink()] if folder.is_dir() else []


def _postgis(settings: Settings) -> str:
    if settings.engine.name != "postgis" or settings.engine.postgis_url is None:
        return ""
    return settings.engine.postgis_url.get_secret_value()


def _port(url: str) -> int | None:
    scheme = url.partition(":")[0].partition("+")[0]
    try:
        return urlsplit(url).port or _PORTS.get(scheme)
    except ValueError:  # a password that is not quoted: whoever connects says so
        return None
