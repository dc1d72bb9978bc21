"""How the S3 client is set up: the endpoint as people write it, time limits, retries, checksums."""

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
    """The endpoint as scheme and host. Without a scheme: https without a port and on port 443, http on any other one.

    Raises StoreUnavailable naming the setting; what it holds is not repeated, because it may hold a password.
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


def client_config(settings: ObjectsSettings, *, patient: bool) -> AioConfig:
    """patient: retry with growing pauses; the other kind is for health checks, which have to answer soon."""
    return AioConfig(
        connect_timeout=_CONNECT_SECONDS,
        read_timeout=_READ_SECONDS if patient else _CONNECT_SECONDS,
        retries={"mode": "standard", "total_max_attempts": _TRIES if patient else 1},
        max_pool_connections=max(32, 4 * settings.concurrency),
        signature_version="s3v4",
        # Names of buckets are seldom host names where the endpoint is one's own.
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
        # Older servers refuse the newer checksums; the signature carries the body's sha256, which every server checks.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )


def client_arguments(settings: ObjectsSettings) -> dict[str, Any]:
    """What every client of these settings is made with. Raises StoreUnavailable when only one key is set."""
    if (settings.access_key is None) != (settings.secret_key is None):
        raise StoreUnavailable(
            "Only one of SPATIAL_ETL_OBJECTS__ACCESS_KEY and SPATIAL_ETL_OBJECTS__SECRET_KEY is set.",
            "Set both, or neither to use the chain of credentials of AWS.",
        )
    arguments: dict[str, Any] = {"region_name": settings.region}
    if settings.access_key is not None and settings.secret_key is not None:
        arguments["aws_access_key_id"] = settings.access_key.get_secret_value()
        arguments["aws_secret_access_key"] = settings.secret_key.get_secret_value()
    if settings.endpoint:
        arguments["endpoint_url"] = endpoint_url(settings.endpoint, "SPATIAL_ETL_OBJECTS__ENDPOINT")
        if arguments["endpoint_url"].startswith("http://"):
            # No TLS, nothing to verify; to read the certificates of the system takes longer than a request.
            arguments["verify"] = False
    return arguments
