"""Configuration of the S3 clients: endpoint, time limits, retries, checksums, credentials."""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any
from urllib.parse import urlsplit

from aiobotocore.config import AioConfig

from app.errors import StoreUnavailable
from app.settings import ObjectsSettings

_CONNECT_SECONDS = 5
_READ_SECONDS = 60
_TRIES = 5


def endpoint_url(text: str, setting: str) -> str:
    """Return an endpoint as scheme and host.

    Without a scheme it is https when there is no port or port 443, and http on any other port.

    Args:
        text: as a user writes it, for example `minio:9000`.
        setting: its name, for the error. The error does not quote `text`, which may contain a password.

    Raises:
        StoreUnavailable: `text` is not an endpoint.
    """
    fix = f"Set {setting} to a host and a port such as minio:9000, or to a URL such as https://s3.example.com."
    text = text.strip()
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "", text
    rest = rest.removesuffix("/")
    if _is_ipv6(rest):
        rest = f"[{rest}]"
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port
    except ValueError:
        raise StoreUnavailable(f"{setting} is not a host, a host and a port, or a URL.", fix) from None
    if parts.username is not None or parts.path or parts.query or parts.fragment or not parts.hostname:
        raise StoreUnavailable(f"{setting} has more than a scheme, a host and a port.", fix)
    if any(char.isspace() or ord(char) < 32 for char in rest) or scheme.lower() not in ("", "http", "https"):
        raise StoreUnavailable(f"{setting} is not an http or https endpoint.", fix)
    return f"{scheme.lower() or ('https' if port in (None, 443) else 'http')}://{rest}"


def _is_ipv6(text: str) -> bool:
    try:
        return bool(IPv6Address(text))
    except ValueError:
        return False


def addressing_style(settings: ObjectsSettings) -> str:
    """Return how a request names its bucket: `path`, `virtual` (in the host name), or `auto`, as AWS wants it."""
    if settings.addressing != "auto":
        return settings.addressing
    # Self-hosted servers rarely have a host name for each bucket.
    return "path" if settings.endpoint else "auto"


def client_config(settings: ObjectsSettings, *, retry: bool) -> AioConfig:
    """Return the configuration of a client. retry: False for health checks, which must be fast."""
    return AioConfig(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS if retry else _CONNECT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES if retry else 1},
        max_pool_connections=max(32, 4 * settings.concurrency),
        signature_version="s3v4",
        s3={"addressing_style": addressing_style(settings)},
        # Older servers refuse the newer checksums. The signature has the sha256 of the body, which every server checks.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def client_arguments(settings: ObjectsSettings) -> dict[str, Any]:
    """Return the arguments of every client of these settings. Raises StoreUnavailable when only one key is set."""
    if (settings.access_key is None) != (settings.secret_key is None):
        raise StoreUnavailable(
            "Only one of SPATIAL_ETL_OBJECTS__ACCESS_KEY and SPATIAL_ETL_OBJECTS__SECRET_KEY is set.",
            "Set both, or neither to use the default AWS credentials.",
        )
    arguments: dict[str, Any] = {"region_name": settings.region}
    if settings.access_key is not None and settings.secret_key is not None:
        arguments["aws_access_key_id"] = settings.access_key.get_secret_value()
        arguments["aws_secret_access_key"] = settings.secret_key.get_secret_value()
    if settings.endpoint:
        arguments["endpoint_url"] = endpoint_url(settings.endpoint, "SPATIAL_ETL_OBJECTS__ENDPOINT")
        if arguments["endpoint_url"].startswith("http://"):
            # Without TLS there is nothing to verify, and reading the system's certificates takes longer than a request.
            arguments["verify"] = False
    return arguments
